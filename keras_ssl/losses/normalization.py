"""How embeddings are normalised before they are compared: one sample, or one dimension, at a time.

Rows are samples: z is (N, M). Means over the batch are those over all replicas.
"""

from typing import Any

from keras import ops

from keras_ssl.distribution import batch_mean, custom_gradient

# Smallest squared norm that is divided by. Its -3/2 power, in the gradient, must stay well inside
# float32: XLA turns Keras' own 1e-24 into NaN where an embedding is zero.
_SMALLEST_SQUARED_NORM = 1e-12

# Under the square root of the standard deviation of a dimension: BatchNorm's, as in Barlow Twins'
# published code.
_EPSILON = 1e-5


def unit_embeddings(z: Any) -> Any:
    """Every embedding scaled to norm 1; those of a norm below 1e-6 stay shorter, 0 stays 0."""
    squared_norm = ops.sum(ops.square(z), axis=1, keepdims=True)
    return z * ops.rsqrt(ops.maximum(squared_norm, _SMALLEST_SQUARED_NORM))


def centered(z: Any, axis: int = 0) -> Any:
    """Takes from z its mean over `axis`: every dimension centred over the batch, by default."""
    return z - (batch_mean(z, axis=0) if axis == 0 else ops.mean(z, axis=axis, keepdims=True))


def standard_dimensions(z: Any) -> Any:
    """Every dimension with mean 0 and (biased) variance 1 over the batch."""

    # Its gradient written out, as batch normalisation's is: half the passes over the batch.
    @custom_gradient
    def standardize(z: Any) -> Any:
        # Twice: where a dimension is nearly constant, its deviations are what rounding of the mean
        # would leave of them.
        x = centered(centered(z))
        scale = ops.rsqrt(batch_mean(ops.square(x), axis=0) + _EPSILON)
        x = x * scale

        def gradient(upstream: Any) -> Any:
            along = batch_mean(upstream * x, axis=0)
            return scale * (upstream - batch_mean(upstream, axis=0) - along * x)

        return x, gradient

    return standardize(z)
