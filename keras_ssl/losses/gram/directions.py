"""The Epps-Pulley statistic, averaged over all directions in closed form, on pairs of samples.

Along one direction a, with x = z a, the statistic compares the characteristic function of the
samples with that of the normal distribution:

    N integral |1/N sum_i exp(i t x_i) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt
    = N sqrt(2 pi) [mean_ij exp(-(x_i - x_j)^2 / 2) - sqrt(2) mean_i exp(-x_i^2 / 4) + 1 / sqrt(3)]

The mean of exp(-(v . a)^2 / 2) over all unit vectors a depends on the length of v alone, because
(v . a)^2 = |v|^2 B with B of the Beta(1/2, (M - 1)/2) distribution:

    K(s) = E exp(-s B) = 1F1(1/2; M/2; -s) at s = |v|^2 / 2

So the mean of the statistic over all directions is a mean over pairs of samples, as exact as the
arithmetic: nothing is drawn, and nothing is cut off.

How K is computed: B is close to a square of a normal variable divided by M, for which
K(s) = (1 + 2 s / M)^(-1/2). The ratio of the two is a smooth function of u = s / (s + M / 2), which
goes from 0 to 1. Its Chebyshev series has 5 terms for 1024 dimensions in float32, 7 in float64, and
34 and 78 in the worst case, M = 2. The same holds for the derivative, -K'(s) = E B exp(-s B).
"""

import functools
import math
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ssl._tensors import Tensor, at_least
from keras_ssl.losses.gram.blocks import RowBlocks
from keras_ssl.losses.normalization import centered
from keras_ssl.replicas import batch_size, custom_gradient, gather_batch, sum_over_replicas

# What a series may leave out, relative to 1.
_TOLERANCE = {"float64": 1e-13}
_FLOAT32_TOLERANCE = 1e-8


def epps_pulley(z: Tensor, block_size: int | None = None) -> Tensor:
    """Returns the mean of the Epps-Pulley statistic of z (N, M) over all directions, a scalar.

    `N sqrt(2 pi) [mean_ij K(|z_i - z_j|^2 / 2) - sqrt(2) mean_i K(|z_i|^2 / 4) + 1 / sqrt(3)]`

    Args:
        z: Float (N, M). M must be known, also in a graph.
        block_size: Rows of the matrix of pairs, (N, N), at a time; see `RowBlocks`. They are
            visited once for the value, and once for the gradient.
    """
    if not isinstance(z.shape[1], int):
        raise ValueError(
            f"The number of dimensions must be known. Received: embeddings of shape {z.shape}"
        )
    kernel = Kernel(z.shape[1], keras.backend.standardize_dtype(z.dtype))
    # For normal samples of many dimensions, K is about 1 / sqrt(3) in the first mean and
    # sqrt(2 / 3) in the second. Less is lost by rounding without these, and with fractions that
    # have no rounding error.
    usual = 591 / 1024, 836 / 1024
    rest = usual[0] - math.sqrt(2) * usual[1] + 1 / math.sqrt(3)

    @custom_gradient
    def statistic(z: Tensor) -> Tensor:
        z = ops.stop_gradient(z)
        n = ops.cast(batch_size(z), z.dtype)
        # Distances do not depend on the mean, but what rounding makes of them does.
        x = centered(z)
        y = gather_batch(x)
        blocks = RowBlocks(x, y, block_size)
        halves = [ops.sum(ops.square(rows), axis=1) / 2 for rows in (x, y)]
        own = ops.sum(ops.square(z), axis=1) / 4

        def distances(start: Tensor, size: Tensor) -> Tensor:
            """Returns |x_i - y_j|^2 / 2 of a block of rows."""
            s = blocks.rows(halves[0], start, size)[:, None] + halves[1]
            return at_least(s - blocks.products(start, size), 0)

        def add(start: Tensor, size: Tensor, total: Tensor) -> tuple[Tensor]:
            return (total + ops.sum(kernel.value(distances(start, size)) - usual[0]),)

        (pairs,) = blocks.visit(add, [ops.zeros((), z.dtype)])
        alone = ops.sum(kernel.value(own) - usual[1])
        pairs, alone = sum_over_replicas(pairs), sum_over_replicas(alone)
        scale = math.sqrt(2 * math.pi)
        value = scale * (pairs / n - math.sqrt(2) * alone + rest * n)

        def gradient(upstream: Tensor) -> Tensor:
            def pull(start: Tensor, size: Tensor, of_x: Tensor) -> tuple[Tensor]:
                w = kernel.slope(distances(start, size))
                rows = blocks.rows(x, start, size)
                part = ops.sum(w, axis=1, keepdims=True) * rows - w @ y
                return (blocks.put(of_x, start, part),)

            (of_pairs,) = blocks.visit(pull, [ops.zeros_like(x)])
            of_own = kernel.slope(own)[:, None] * z
            return (
                scale * sum_over_replicas(upstream) * (2 * of_pairs / n - math.sqrt(0.5) * of_own)
            )

        return value, gradient

    return statistic(z)


class Kernel:
    """K(s) = E exp(-s B), the mean of exp(-(v . a)^2 / 2) over all directions a of M dimensions.

    Args:
        dimensions: M, at least 2.
        dtype: The dtype that it is computed in.
    """

    def __init__(self, dimensions: int, dtype: str):
        self.half = dimensions / 2
        self.series = _series(dimensions, _TOLERANCE.get(dtype, _FLOAT32_TOLERANCE))

    def value(self, s: Tensor) -> Tensor:
        """Returns K(s), in (0, 1], for s of at least 0, |v|^2 / 2."""
        w = self.half / (s + self.half)  # 1 / (1 + 2 s / M)
        root = ops.sqrt(w)
        return root + root * _sum_of_series(self.series.value, 1 - 2 * w)

    def slope(self, s: Tensor) -> Tensor:
        """Returns K'(s), below 0."""
        w = self.half / (s + self.half)
        series = _sum_of_series(self.series.slope, 1 - 2 * w)
        return -0.5 / self.half * w * ops.sqrt(w) * (1 + series)


class _Series(NamedTuple):
    """Coefficients of Chebyshev polynomials in 2 u - 1, with u = s / (s + M / 2)."""

    value: tuple[float, ...]  # of K(s) (1 + 2 s / M)^(1/2) - 1
    slope: tuple[float, ...]  # of -M K'(s) (1 + 2 s / M)^(3/2) - 1


def _sum_of_series(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Returns the sum of a Chebyshev series at x in [-1, 1] (Clenshaw)."""
    last, before = 0.0, 0.0
    for coefficient in reversed(coefficients[1:]):
        last, before = 2 * x * last - before + coefficient, last
    return x * last - before + coefficients[0]


@functools.lru_cache
def _series(dimensions: int, tolerance: float) -> _Series:
    """Fits both series to quadratures in float64."""
    points = 128
    x = np.cos(np.pi * (np.arange(points) + 0.5) / points)
    s = (1 + x) / (1 - x) * dimensions / 2
    stretch = 1 + 2 * s / dimensions
    kernel, slope = (_beta_mean(s, dimensions, power) for power in (0, 1))

    def fit(values: np.ndarray) -> tuple[float, ...]:
        found: Any = np.polynomial.chebyshev.chebfit(x, values, points - 1)
        (large,) = np.nonzero(np.abs(found) > tolerance)
        return tuple(found[: large.max(initial=0) + 1].tolist())

    return _Series(fit(kernel * stretch**0.5 - 1), fit(dimensions * slope * stretch**1.5 - 1))


def _beta_mean(s: np.ndarray, dimensions: int, power: int) -> np.ndarray:
    """Returns E B^power exp(-s B), float64, by Gauss and Legendre.

    sqrt(B) is the sine of an angle whose density is proportional to cos^(M - 2).
    """
    nodes, weights = np.polynomial.legendre.leggauss(80)

    def integral(s: np.ndarray, power: int) -> np.ndarray:
        end = np.minimum(np.pi / 2, 9 / np.sqrt(s + dimensions / 2))  # Beyond, it is below 1e-17.
        angle = (nodes + 1) / 2 * end[:, None]
        b = np.sin(angle) ** 2
        values = b**power * np.exp(-s[:, None] * b) * np.cos(angle) ** (dimensions - 2)
        return values @ weights * end / 2

    return integral(s, power) / integral(np.zeros(1), 0)
