"""Matrices of products, on samples or on dimensions, and what is done with their off-diagonals.

Both families of the paper penalise the off-diagonal entries of a square matrix of products of one
batch of embeddings, and differ in which matrix: (N, N) of samples or (M, M) of dimensions.
"""

from typing import Any

from keras import ops

# Smallest squared norm that is divided by. Its -3/2 power, in the gradient, must stay well inside
# float32: XLA turns Keras' own 1e-24 into NaN where an embedding is zero.
_SMALLEST_SQUARED_NORM = 1e-12


def unit_rows(x: Any) -> Any:
    """The rows of x (A, D) scaled to norm 1; those of a norm below 1e-6 stay shorter, 0 stays 0."""
    squared_norm = ops.sum(ops.square(x), axis=1, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squared_norm, _SMALLEST_SQUARED_NORM))


def products(x: Any, y: Any) -> Any:
    """All products of the rows of x (A, D) with the rows of y (B, D): x y^T, (A, B)."""
    return ops.matmul(x, ops.transpose(y))


def _diagonal_mask(a: Any) -> Any:
    return ops.eye(ops.shape(a)[0], dtype="bool")


def off_diagonal(a: Any, fill: float = 0.0) -> Any:
    """A square matrix with its diagonal replaced by `fill`.

    Masked, not subtracted: the off-diagonal part is what training makes small, and a difference of
    two large numbers would lose it.
    """
    return ops.where(_diagonal_mask(a), ops.cast(fill, a.dtype), a)


def off_diagonal_energy(a: Any) -> Any:
    """Sum of the squared off-diagonal entries of a square matrix, scalar."""
    return ops.sum(ops.square(off_diagonal(a)))


def off_diagonal_log_sum_exp(*matrices: Any) -> Any:
    """Row by row, log of the sum of exp over the off-diagonal entries of square matrices.

    Args:
        *matrices: One or more matrices of shape (n, n), taken as blocks beside each other.

    Returns:
        Tensor of shape (n,).
    """
    blocks = [off_diagonal(a, fill=float("-inf")) for a in matrices]
    return ops.logsumexp(ops.concatenate(blocks, axis=1), axis=1)
