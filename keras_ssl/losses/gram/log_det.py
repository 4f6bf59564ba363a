"""The log-determinant of a batch of embeddings, computed on the smaller of the two matrices."""

from typing import Any

import keras
from keras import ops

from keras_ssl._backend import float64_allowed
from keras_ssl._tensors import Tensor
from keras_ssl.losses.gram.matrices import (
    LARGE_ENOUGH,
    Batch,
    gram_matrix,
    mix,
    on_smaller,
    products,
)
from keras_ssl.replicas import alone, gather_batch, own_rows

# An inverse is trusted unless an eigenvalue is known to exceed this. The smallest one is 1.
_LARGEST_EIGENVALUE = 500.0


def log_det(z: Tensor, side: str = "auto") -> Tensor:
    """Returns log det(I + z z^T) = log det(I + z^T z) of z (N, M), a scalar.

    Args:
        z: Float (N, M).
        side: The matrix to factor: "gram" (N, N), "covariance" (M, M), or the smaller, "auto".
    """
    return on_smaller(z, side, _log_det_through)


def _log_det_through(z: Batch, axis: int) -> tuple[Tensor, Tensor]:
    """The log-determinant of I + P, with P the products over `axis`, and its gradient.

    The gradient is 2 (I + P)^-1 z. The factorization is Cholesky's. Its pivots are what remains of
    the diagonal after subtracting the rows above, which loses digits if the embeddings lie in few
    directions. Everything is computed in float64 in three cases: if a pivot is less than a
    sixteenth of its diagonal entry, if rounding could make a pivot negative, or if an eigenvalue,
    which is at least ||P||_F^2 / tr P, makes the inverse lose three digits. On the larger of the
    two matrices the gradient is exact only to 1e-4.
    """

    def plus_identity(matrix: Tensor) -> Tensor:
        return matrix + ops.eye(ops.shape(matrix)[0], dtype=matrix.dtype)

    def finish(factor: Any) -> tuple[Tensor, Tensor]:
        identity = ops.eye(ops.shape(factor)[0], dtype=factor.dtype)
        inverse = ops.solve_triangular(factor, identity, lower=True)
        inverse = ops.cast(products(inverse, inverse, axis=0), z.own.dtype)
        value = 2 * ops.sum(ops.log(ops.diagonal(factor)))
        inverse = own_rows(inverse) if axis == 1 else inverse
        return ops.cast(value, z.own.dtype), 2 * mix(inverse, z, axis)

    matrix = gram_matrix(z, z, axis)
    matrix = plus_identity(gather_batch(matrix) if axis == 1 else matrix)
    diagonal = ops.diagonal(matrix)
    largest = ops.max(diagonal)

    def as_it_is() -> tuple[Tensor, Tensor]:
        factor = ops.cholesky(matrix)
        has_pivots = ops.all(ops.square(ops.diagonal(factor)) >= LARGE_ENOUGH * diagonal)
        eigenvalue = ops.sum(ops.square(matrix)) / ops.sum(diagonal)
        is_trusted = ops.logical_and(has_pivots, eigenvalue < _LARGEST_EIGENVALUE)
        return ops.cond(is_trusted, lambda: finish(factor), in_float64)

    def in_float64() -> tuple[Tensor, Tensor]:
        # TensorFlow fails to factor a matrix that is not finite; the loss should be NaN instead.
        is_finite = largest < float("inf")
        with float64_allowed():
            whole = ops.cast(ops.where(is_finite, z.all, 0), "float64")
            with alone():
                matrix = plus_identity(gram_matrix(Batch(whole, whole), Batch(whole, whole), axis))
            value, slope = finish(ops.cholesky(matrix))
        return value + 0 * largest, slope + 0 * largest

    rounding = largest * ops.cast(ops.shape(matrix)[0], z.own.dtype) * keras.config.epsilon()
    return ops.cond(rounding < LARGE_ENOUGH, as_it_is, in_float64)
