"""How far the cross-correlation of two views is from the identity, without standardized copies."""

from typing import Any

from keras import ops

from keras_ssl._tensors import Tensor, at_least
from keras_ssl.losses.gram.matrices import Batch, gram_matrix, mix, mix_transposed, off_diagonal
from keras_ssl.replicas import batch_mean, batch_size, custom_gradient, sum_over_replicas


def distance_from_identity(z_1: Tensor, z_2: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """Returns `sum_i (1 - C_ii)^2` and `sum_{i != j} C_ij^2`, where `C = s(z_1)^T s(z_2) / N`.

    s gives every dimension mean 0 and (biased) variance 1 over the batch. C is computed of centered
    embeddings, and its rows and columns are scaled: that is less work where C is not much larger
    than they are.

    Args:
        z_1: Float (N, M).
        z_2: Float (N, M).
        epsilon: What is added to a variance before its square root is taken.
    """

    # With x and y centered and r, q the scales, C_ij = r_i q_j (x^T y)_ij / N. If G is the gradient
    # at C, that at x is y H^T - x b, where H_ij = G_ij r_i q_j / N and b_i = r_i^2 (G C^T)_ii / N.
    @custom_gradient
    def distances(z_1: Tensor, z_2: Tensor) -> Any:
        z_1, z_2 = ops.stop_gradient(z_1), ops.stop_gradient(z_2)
        (x, rest_x, r), (y, rest_y, q) = (_centered(z, epsilon) for z in (z_1, z_2))
        n = ops.cast(batch_size(x), x.dtype)
        scales = r[:, None] * (q / n)
        batch_x, batch_y = Batch(x, None), Batch(y, None)
        c = gram_matrix(batch_x, batch_y, axis=0) * scales
        c = c - (rest_x * r)[:, None] * (rest_y * q)
        c_ii = ops.diagonal(c)
        c = off_diagonal(c)

        def gradients(of_diagonal: Tensor, of_rest: Tensor) -> tuple[Tensor, Tensor]:
            of_diagonal, of_rest = map(sum_over_replicas, (of_diagonal, of_rest))
            g_ii = 2 * of_diagonal * (c_ii - 1)
            g = 2 * of_rest * c
            along = g * c
            b_x = ops.square(r) * (ops.sum(along, axis=1) + g_ii * c_ii) / n
            b_y = ops.square(q) * (ops.sum(along, axis=0) + g_ii * c_ii) / n
            h = off_diagonal(g, value=g_ii) * scales
            # What is left of the means is subtracted from rows of numbers, not from x and y.
            g_x = mix(h, batch_y, 0) + (rest_x * b_x - ops.matmul(h, rest_y)) - x * b_x
            g_y = mix_transposed(h, batch_x, 0) + (rest_y * b_y - ops.matmul(rest_x, h)) - y * b_y
            return g_x, g_y

        return (ops.sum(ops.square(1 - c_ii)), ops.sum(ops.square(c))), gradients

    return distances(z_1, z_2)


def _centered(z: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns z without its mean over the batch, what is left of the mean, and the scale, (M,)."""
    x = z - batch_mean(z, axis=0)
    # The rounding error of the mean may be as large as the deviations of a constant dimension.
    rest = batch_mean(x, axis=0)
    variance = batch_mean(ops.square(x), axis=0) - ops.square(rest)
    # A square that overflows must not become a dimension of zeros: infinity times 0 is NaN.
    scale = ops.rsqrt(at_least(variance, 0) + epsilon) + 0 * variance
    return x, rest, scale
