"""Normalization of embeddings before they are compared, sample by sample or dimension by dimension.

Rows are samples: z is (N, M). Means over the batch are means over all replicas.
"""

from keras import ops

from keras_ssl._tensors import Tensor, at_least, mean
from keras_ssl.replicas import batch_mean, custom_gradient

# The smallest norm to divide by. A shorter vector is mostly rounding error.
_SMALLEST_NORM = 1e-6

# Added to a variance before its square root is taken. It is the epsilon of batch normalization, as
# in the published code of Barlow Twins.
EPSILON = 1e-5


def unit_embeddings(z: Tensor, smallest_norm: float = _SMALLEST_NORM) -> Tensor:
    """Divides every embedding by its norm, or by `smallest_norm` if that is larger; 0 stays 0."""
    # First divide by the largest entry, a constant for the gradient: squares overflow beyond 1e19.
    scale = ops.max(ops.absolute(z), axis=1, keepdims=True)
    scale = at_least(ops.stop_gradient(scale), smallest_norm)
    z = z / scale
    squared_norm = ops.sum(ops.square(z), axis=1, keepdims=True)
    return z * ops.rsqrt(at_least(squared_norm, ops.square(smallest_norm / scale)))


def unit_dimensions(z: Tensor) -> Tensor:
    """Divides every dimension by its root mean square over the batch, and by sqrt(M).

    z^T z / N then has trace 1, as for embeddings of norm 1, unless a dimension is 0, which stays 0.
    """
    mean_square = batch_mean(ops.square(z), axis=0)
    m = ops.cast(ops.shape(z)[1], z.dtype)
    # A square that overflows must not become a dimension of zeros: infinity times 0 is NaN.
    return z * (ops.rsqrt(at_least(mean_square, _SMALLEST_NORM**2) * m) + 0 * mean_square)


def centered(z: Tensor, axis: int = 0) -> Tensor:
    """Subtracts the mean of z over `axis`; by default, centers every dimension over the batch."""
    return z - (batch_mean(z, axis=0) if axis == 0 else mean(z, axis=axis, keepdims=True))


def standard_dimensions(z: Tensor) -> Tensor:
    """Scales every dimension to mean 0 and (biased) variance 1 over the batch."""

    # The gradient is written out, as in batch normalization. This halves the passes over the batch.
    @custom_gradient
    def standardize(z: Tensor) -> Tensor:
        # Centered twice: the rounding error of the mean could be as large as the deviations of a
        # nearly constant dimension.
        x = centered(centered(z))
        variance = batch_mean(ops.square(x), axis=0)
        # A square that overflows must not become a dimension of zeros: infinity times 0 is NaN.
        scale = ops.rsqrt(variance + EPSILON) + 0 * variance
        x = x * scale

        def gradient(upstream: Tensor) -> Tensor:
            along = batch_mean(upstream * x, axis=0)
            return scale * (upstream - batch_mean(upstream, axis=0) - along * x)

        return x, gradient

    return standardize(z)
