"""Sums of a function over the spectrum of a batch, computed on the smaller of the two matrices.

z z^T and z^T z have the same eigenvalues, the squares of the singular values of z, except for
zeros. So a sum of a function that is 0 at 0 is the same on both.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_ssl._backend import float64_allowed
from keras_ssl._tensors import Tensor, at_least
from keras_ssl.losses.gram.matrices import Batch, gram_matrix, mix, on_smaller
from keras_ssl.replicas import alone, own_rows

# Relative to the largest eigenvalue. What is smaller is rounding, and counts as 0.
_SMALLEST = 1e-13


class SpectralFunction(NamedTuple):
    """A function f of an eigenvalue, with f(0) = 0, and its derivative, for positive ones."""

    value: Callable[[Any], Any]
    slope: Callable[[Any], Any]


SQUARE_ROOT = SpectralFunction(lambda x: x**0.5, lambda x: 0.5 * x**-0.5)


def power_of(order: float) -> SpectralFunction:
    """Returns `x^order`, for an order above 1."""
    return SpectralFunction(lambda x: x**order, lambda x: order * x ** (order - 1))


def entropy_of(order: float) -> SpectralFunction:
    """Returns what Tsallis' entropy adds up: `(x^order - x) / (1 - order)`, or `-x log x` for 1.

    For x that add up to 1, Renyi's entropy is `log1p((1 - order) sum) / (1 - order)`.
    """
    if order == 1:
        return SpectralFunction(lambda x: -x * ops.log(x), lambda x: -ops.log(x) - 1)
    a = order
    return SpectralFunction(
        lambda x: (x**a - x) / (1 - a), lambda x: (a * x ** (a - 1) - 1) / (1 - a)
    )


def spectral_sum(z: Tensor, function: SpectralFunction, side: str = "auto") -> Tensor:
    """Returns `sum_k f(s_k^2)` over the singular values s_k of z (N, M), a scalar.

    Everything is in float64: a rounding error e of an eigenvalue would be one of sqrt(e) in its
    root. The gradient is 2 U f'(S^2) U^T z, where U holds eigenvectors of z z^T, and it is the same
    for equal eigenvalues.

    Args:
        z: Float (N, M).
        function: f.
        side: The matrix whose eigenvalues are computed: "gram" (N, N), "covariance" (M, M), or the
            smaller, "auto".
    """
    return on_smaller(z, side, lambda batch, axis: _through(batch, function, axis))


def _through(z: Batch, function: SpectralFunction, axis: int) -> tuple[Tensor, Tensor]:
    """The sum over the eigenvalues of the products over `axis`, and its gradient."""
    # TensorFlow fails if a matrix is not finite; the loss should be NaN instead.
    largest = ops.max(ops.absolute(z.all))
    is_finite = largest < float("inf")
    with float64_allowed():
        whole = ops.cast(ops.where(is_finite, z.all, 0), "float64")
        with alone():  # Branches cannot communicate.
            batch = Batch(whole, whole)
            eigenvalues, vectors = ops.eigh(gram_matrix(batch, batch, axis))  # rising
            is_large = eigenvalues > at_least(_SMALLEST * eigenvalues[-1], 1e-300)
            known = ops.where(is_large, eigenvalues, 1)
            value = ops.sum(ops.where(is_large, function.value(known), 0))
            slopes = ops.where(is_large, function.slope(known), 0)
            slope = 2 * mix((vectors * slopes) @ ops.transpose(vectors), batch, axis)
        value, slope = (ops.cast(part, z.own.dtype) for part in (value, slope))
    return value + 0 * largest, own_rows(slope) + 0 * largest
