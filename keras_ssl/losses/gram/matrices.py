"""The two matrices of products of a batch of embeddings, and what replicas hold of them.

Private to `losses.gram`, but for `products` and `off_diagonal`.
"""

from typing import Any, NamedTuple

from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl.replicas import own_rows, sum_over_replicas

# A difference, or a pivot, is trusted where at least this part of the whole remains.
LARGE_ENOUGH = 1 / 16

# The axis that products sum over: 1, the dimensions of two samples, for K K^T; 0, the samples of
# two dimensions, for K^T K.


def products(x: Tensor, y: Tensor, axis: int = 1) -> Tensor:
    """All products of samples, x y^T (N, N), or of dimensions, x^T y (M, M), of x and y (N, M)."""
    if axis == 1:
        return ops.matmul(x, ops.swapaxes(y, -1, -2))
    return ops.matmul(ops.swapaxes(x, -1, -2), y)


def off_diagonal(a: Tensor, first: Any = 0, value: float = 0.0) -> Tensor:
    """A square matrix with `value` on its diagonal; or some of its rows, from row `first` on."""
    n = ops.shape(a)[0]
    i = ops.arange(n, dtype="int32")
    # In place, where a mask would be a second matrix (and TensorFlow keep it as a constant).
    update = ops.full((n,), value, dtype=a.dtype)
    return ops.scatter_update(a, ops.stack([i, first + i], axis=1), update)


class Batch(NamedTuple):
    """Embeddings: this replica's rows, and those of all replicas (which one replica has anyway)."""

    own: Any
    all: Any


def gram_matrix(x: Batch, y: Batch, axis: int) -> Tensor:
    """The products of samples, those of this replica's with all, (N, N); or of dimensions, (M, M).

    As batches of one: TensorFlow's batched kernel splits long sums over the cores.
    """
    if axis == 1:
        return products(x.own[None], y.all[None])[0]
    return sum_over_replicas(products(x.own[None], y.own[None], axis=0)[0])


def diagonal(x: Batch, y: Batch, axis: int) -> Tensor:
    """The products x_i . y_i of the same samples, (N, 1), or of the same dimensions, (1, M)."""
    own = ops.sum(x.own * y.own, axis=axis, keepdims=True)
    return own if axis == 1 else sum_over_replicas(own)


def total(a: Tensor, axis: int) -> Tensor:
    """The sum of all entries of a matrix of products, or of its diagonal."""
    return sum_over_replicas(ops.sum(a)) if axis == 1 else ops.sum(a)


def mix(a: Tensor, z: Batch, axis: int) -> Tensor:
    """The samples of z mixed by a (N, N), a z; or its dimensions by a (M, M), z a^T."""
    return ops.matmul(a, z.all) if axis == 1 else ops.matmul(z.own, ops.transpose(a))


def mix_transposed(a: Tensor, z: Batch, axis: int) -> Tensor:
    """The same with the transpose of a, a^T z or z a."""
    if axis == 0:
        return ops.matmul(z.own, a)
    return own_rows(sum_over_replicas(ops.matmul(ops.transpose(a), z.own)))
