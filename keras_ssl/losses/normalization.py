"""How embeddings are normalized before they are compared: one sample, or one dimension, at a time.

Rows are samples: z is (N, M). Means over the batch are those over all replicas.
"""

from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl.replicas import batch_mean, custom_gradient

# Smallest norm that is divided by: what is shorter is mostly rounding.
_SMALLEST_NORM = 1e-6

# Under the square root of the standard deviation of a dimension: BatchNorm's, as in Barlow Twins'
# published code.
_EPSILON = 1e-5


def unit_embeddings(z: Tensor, smallest_norm: float = _SMALLEST_NORM) -> Tensor:
    """Every embedding over its norm, or over `smallest_norm` if that is larger; 0 stays 0."""
    # By the largest entry first, a constant to the gradient: its square would overflow beyond 1e19.
    scale = ops.max(ops.absolute(z), axis=1, keepdims=True)
    scale = ops.maximum(ops.stop_gradient(scale), smallest_norm)
    z = z / scale
    squared_norm = ops.sum(ops.square(z), axis=1, keepdims=True)
    return z * ops.rsqrt(ops.maximum(squared_norm, ops.square(smallest_norm / scale)))


def centered(z: Tensor, axis: int = 0) -> Tensor:
    """Takes from z its mean over `axis`: every dimension centered over the batch, by default."""
    return z - (batch_mean(z, axis=0) if axis == 0 else ops.mean(z, axis=axis, keepdims=True))


def standard_dimensions(z: Tensor) -> Tensor:
    """Every dimension with mean 0 and (biased) variance 1 over the batch."""

    # Its gradient written out, as batch normalization's is: half the passes over the batch.
    @custom_gradient
    def standardize(z: Tensor) -> Tensor:
        # Twice: where a dimension is nearly constant, its deviations are what rounding of the mean
        # would leave of them.
        x = centered(centered(z))
        variance = batch_mean(ops.square(x), axis=0)
        # A square that overflows is not to end as a dimension of zeros: infinity times 0 is NaN.
        scale = ops.rsqrt(variance + _EPSILON) + 0 * variance
        x = x * scale

        def gradient(upstream: Tensor) -> Tensor:
            along = batch_mean(upstream * x, axis=0)
            return scale * (upstream - batch_mean(upstream, axis=0) - along * x)

        return x, gradient

    return standardize(z)
