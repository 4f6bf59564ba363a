"""The two matrices of products of a batch of embeddings, and the parts of them on each replica.

Everything here is private to `losses.gram`, except `products` and `off_diagonal`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl.replicas import (
    batch_size,
    custom_gradient,
    gather_batch,
    own_rows,
    sum_over_replicas,
)

# A difference, or a pivot, is trusted if at least this fraction of the whole remains.
LARGE_ENOUGH = 1 / 16

# `axis` is the one that products sum over: 1 for products of two samples, K K^T, which sum over the
# dimensions; 0 for products of two dimensions, K^T K, which sum over the samples.


def products(x: Tensor, y: Tensor, axis: int = 1) -> Tensor:
    """Returns all products of samples, x y^T (N, N), or of dimensions, x^T y (M, M)."""
    # Not by `ops.matmul`, which computes products of float64 in float32 on PyTorch (Keras 3.15).
    return x @ ops.swapaxes(y, -1, -2) if axis == 1 else ops.swapaxes(x, -1, -2) @ y


def off_diagonal(a: Tensor, first: Any = 0, value: Any = 0.0) -> Tensor:
    """Sets the diagonal of a square matrix, or of its rows from `first` on, to `value`.

    The value is a number, or a vector with an entry for each row.
    """
    n = ops.shape(a)[0]
    i = ops.arange(n, dtype="int32")
    # In place: a mask would be a second matrix (which TensorFlow would keep as a constant).
    update = ops.broadcast_to(ops.cast(value, a.dtype), (n,))
    return ops.scatter_update(a, ops.stack([i, first + i], axis=1), update)


class Batch(NamedTuple):
    """Embeddings: the rows of this replica, and those of all (on one replica they are the same)."""

    own: Any
    all: Any


def gram_matrix(x: Batch, y: Batch, axis: int) -> Tensor:
    """Returns the products of this replica's samples with all samples, or of all dimensions.

    The factors become batches of one matrix, because TensorFlow's batched kernel splits long sums
    over the cores.
    """
    if axis == 1:
        return products(x.own[None], y.all[None])[0]
    return sum_over_replicas(products(x.own[None], y.own[None], axis=0)[0])


def diagonal(x: Batch, y: Batch, axis: int) -> Tensor:
    """Returns the products x_i . y_i of the same samples, (N, 1), or dimensions, (1, M)."""
    own = ops.sum(x.own * y.own, axis=axis, keepdims=True)
    return own if axis == 1 else sum_over_replicas(own)


def total(a: Tensor, axis: int) -> Tensor:
    """Returns the sum of all entries of a matrix of products, or of its diagonal."""
    return sum_over_replicas(ops.sum(a)) if axis == 1 else ops.sum(a)


def mix(a: Tensor, z: Batch, axis: int) -> Tensor:
    """Mixes the samples of z by a (N, N), as a z, or its dimensions by a (M, M), as z a^T."""
    return a @ z.all if axis == 1 else z.own @ ops.transpose(a)


def mix_transposed(a: Tensor, z: Batch, axis: int) -> Tensor:
    """Does the same as `mix` with the transpose of a: a^T z or z a."""
    if axis == 0:
        return z.own @ a
    return own_rows(sum_over_replicas(ops.transpose(a) @ z.own))


def is_on_gram(z: Tensor, side: str) -> Any:
    """Whether a side means z z^T, (N, N), of z (N, M): a boolean, or a tensor if N is not known."""
    return batch_size(z) <= ops.shape(z)[1] if side == "auto" else side == "gram"


def on_smaller(
    z: Tensor, side: str, through: Callable[[Batch, int], tuple[Tensor, Tensor]]
) -> Tensor:
    """Returns a function of z (N, M), a scalar, that is the same on either of its two matrices.

    Args:
        z: Float (N, M).
        side: The matrix: "gram" (N, N), "covariance" (M, M), or the smaller, "auto".
        through: Takes a batch and the axis that products sum over, and returns the value and the
            gradient at this replica's rows. It may run in a branch, so it must not communicate
            there.
    """
    on_gram = is_on_gram(z, side)

    @custom_gradient
    def value(z: Tensor) -> Tensor:
        z = ops.stop_gradient(z)
        batch = Batch(z, gather_batch(z))
        if isinstance(on_gram, bool):
            value, slope = through(batch, int(on_gram))
        else:
            value, slope = ops.cond(on_gram, lambda: through(batch, 1), lambda: through(batch, 0))
        return value, lambda upstream: sum_over_replicas(upstream) * slope

    return value(z)
