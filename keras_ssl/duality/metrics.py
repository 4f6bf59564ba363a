"""The paper's quantities as Keras metrics: exact over any number of batches, in constant memory.

All but one follow from four sums over the samples, accumulated in float64 (on JAX in float32,
unless its option `jax_enable_x64` is set): the number of samples, sum K_i, sum ||K_i||^4 and K^T K,
(M, M). Their value is that of all batches as one matrix K, which includes pairs of samples from
different batches: by Theorem 3.3, L_c needs no (N, N) matrix. For the value of an epoch, replicas
of `tf.distribute` add up their sums (after every step, Keras shows the mean of the values of the
replicas).

In any model they measure its embeddings:

    model.compile(optimizer, metrics=[duality.RankMe(dimensions=256)])

A model of `keras_ssl.models` passes the embeddings of the first views, and any other model passes
its output. Each step costs a matrix product, N M^2 operations, and a result, because Keras asks for
one after every step: M^2 operations, or M^3 for `RankMe`. If M is large, evaluate a sample from
time to time instead.

References:
    - Garrido et al., ICLR 2023: Definition 3.2, Proposition 3.1, Theorem 3.3, Lemma 3.4.
    - Garrido et al.: RankMe, ICML 2023.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._backend import widest
from keras_ssl._tensors import Tensor, at_least, real_tensor
from keras_ssl._validation import check_count
from keras_ssl.duality.quantities import theorem_3_3
from keras_ssl.losses.normalization import unit_embeddings

# RankMe adds this to every normalized singular value.
_EPSILON = 1e-7


class _EmbeddingMetric(keras.metrics.Metric):
    """Base class: takes embeddings as its only argument, or as the second of Keras' two."""

    # Of several pairs of embeddings, a method shows it the first: each image counts once.
    is_of_first_embeddings = True

    def __init__(self, dimensions: int, name: str | None = None, dtype: Any = "float64") -> None:
        super().__init__(name=name, dtype=widest(dtype) if isinstance(dtype, str) else dtype)
        self._given_dtype = dtype
        self.dimensions = check_count("dimensions", dimensions)

    def update_state(
        self, y_true: Tensor, y_pred: Tensor = None, sample_weight: Any = None
    ) -> None:
        """Adds a batch.

        Args:
            y_true: Embeddings, float (N, M). Ignored if `y_pred` is given, as by `compile`.
            y_pred: Embeddings, float (N, M).
            sample_weight: Must be None, because these are quantities of a set of samples.
        """
        if sample_weight is not None:
            raise ValueError("`sample_weight` has no meaning for quantities of a set of samples.")
        k = real_tensor(
            "Embeddings", y_true if y_pred is None else y_pred, f"a matrix (N, {self.dimensions})"
        )
        if len(k.shape) != 2 or k.shape[1] != self.dimensions or k.shape[0] == 0:
            raise ValueError(
                f"Embeddings must be a matrix (samples, {self.dimensions}), as `dimensions` of "
                f"{self.name!r} says. Received: shape={tuple(k.shape)}"
            )
        self._add(ops.cast(ops.stop_gradient(k), self.dtype))

    def _sum(self, shape: tuple[int, ...], name: str) -> Tensor:
        return self.add_variable(shape, "zeros", dtype=self.dtype, name=name)

    def _add(self, k: Tensor) -> None:
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        config = {**super().get_config(), "dimensions": self.dimensions}
        if isinstance(self._given_dtype, str):
            config["dtype"] = self._given_dtype  # Another backend may have wider sums.
        return config


class _SumMetric(_EmbeddingMetric):
    """Base class of the metrics that follow from the four sums."""

    # Whether to scale embeddings to norm 1 first.
    _unit = False

    def __init__(self, dimensions: int, name: str | None = None, dtype: Any = "float64") -> None:
        super().__init__(dimensions, name, dtype)
        m = self.dimensions
        self.count = self._sum((), "count")
        self.total = self._sum((m,), "total")  # sum K_i
        self.fourth_powers = self._sum((), "fourth_powers")  # sum ||K_i||^4
        self.products = self._sum((m, m), "products")  # K^T K

    def _add(self, k: Tensor) -> None:
        if self._unit:
            k = unit_embeddings(k, smallest_norm=1e-30)
        squared_norms = ops.sum(ops.square(k), axis=1)
        self.count.assign_add(ops.cast(ops.shape(k)[0], self.dtype))
        self.total.assign_add(ops.sum(k, axis=0))
        self.fourth_powers.assign_add(ops.sum(ops.square(squared_norms)))
        self.products.assign_add(ops.transpose(k) @ k)

    def _energy(self) -> Tensor:
        return ops.sum(ops.square(self.products))  # ||K^T K||_F^2

    def _l_c(self) -> Tensor:
        return self._energy() - self.fourth_powers

    def _l_nc(self) -> Tensor:
        return self._energy() - ops.sum(ops.square(ops.diagonal(self.products)))

    def _squared_norm(self) -> Tensor:
        return ops.sum(ops.diagonal(self.products))  # ||K||_F^2

    def _sample_norm_profile(self) -> dict[str, Tensor]:
        upper = ops.square(self._squared_norm())
        return {
            "sample_norm_profile": ops.convert_to_tensor(self.fourth_powers),
            "sample_norm_profile_lower": upper / at_least(self.count, 1),
            "sample_norm_profile_upper": upper,
        }

    def _dimension_norm_profile(self) -> dict[str, Tensor]:
        upper = ops.square(self._squared_norm())
        return {
            "dimension_norm_profile": ops.sum(ops.square(ops.diagonal(self.products))),
            "dimension_norm_profile_lower": upper / self.dimensions,
            "dimension_norm_profile_upper": upper,
        }

    def _pair_mean(self) -> Tensor:
        pairs = at_least(self.count * (self.count - 1), 1)
        return (ops.sum(ops.square(self.total)) - self._squared_norm()) / pairs

    def _pair_variance(self) -> Tensor:
        pairs = at_least(self.count * (self.count - 1), 1)
        return self._l_c() / pairs - ops.square(self._pair_mean())

    def _rankme(self) -> Tensor:
        # TensorFlow fails if the matrix is not finite; the result is NaN instead.
        products = ops.convert_to_tensor(self.products)
        is_finite = ops.all(ops.isfinite(products))
        eigenvalues, _ = ops.eigh(ops.where(is_finite, products, 0))  # rising
        if self.dtype == "float32":
            # The root of what is rounded from 0 would be a ten-thousandth of the largest. Measured,
            # it is up to 0.4 of float32's rounding error.
            eigenvalues = ops.where(eigenvalues > 1.2e-7 * eigenvalues[-1], eigenvalues, 0)
        singular_values = ops.sqrt(at_least(eigenvalues, 0))
        total = ops.sum(singular_values)
        p = singular_values / ops.where(total > 0, total, 1) + _EPSILON
        ranks = ops.arange(self.dimensions, 0, -1, dtype=self.dtype)
        entropy = -ops.sum(ops.where(ranks <= self.count, p * ops.log(p), 0))
        rank = ops.where(total > 0, ops.exp(entropy), 1)
        return ops.where(is_finite, rank, float("nan"))


_ARGUMENTS = """

    Args:
        dimensions: M, at least 1.
        name: Name of the metric.
        dtype: Precision of the sums, float64 by default; see the module.

    Raises:
        ValueError: if `dimensions` is below 1, the embeddings have another shape, or there are
            sample weights.
"""


def _metric(cls: type) -> Any:
    """Completes the docstring and registers the class."""
    cls.__doc__ = f"{(cls.__doc__ or '').rstrip()}{_ARGUMENTS}"
    return keras.saving.register_keras_serializable(package="keras_ssl")(cls)


@_metric
class SampleContrastiveEnergy(_SumMetric):
    """L_c, the sum of squared products of different samples: `||K K^T - diag(K K^T)||_F^2`.

    It is computed as `||K^T K||_F^2 - sum_i ||K_i||^4` (Theorem 3.3).

    Example:
        Pairs of samples from different batches count, too.

        >>> import numpy as np
        >>> metric = SampleContrastiveEnergy(dimensions=2)
        >>> metric.update_state(np.array([[1.0, 2.0], [3.0, 4.0]]))  # the product is 11
        >>> metric.update_state(np.array([[5.0, 6.0]]))  # the products are 17 and 39
        >>> float(metric.result())  # 2 * (11^2 + 17^2 + 39^2)
        3862.0
    """

    def result(self) -> Tensor:  # noqa: D102
        return self._l_c()


@_metric
class DimensionContrastiveEnergy(_SumMetric):
    """L_nc, the sum of squared products of different dimensions: `||K^T K - diag(K^T K)||_F^2`.

    Example:
        >>> import numpy as np
        >>> metric = DimensionContrastiveEnergy(dimensions=2)
        >>> metric.update_state(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> metric.update_state(np.array([[5.0, 6.0]]))
        >>> float(metric.result())  # 2 * (1 * 2 + 3 * 4 + 5 * 6)^2
        3872.0
    """

    def result(self) -> Tensor:  # noqa: D102
        return self._l_nc()


@_metric
class SampleNormProfile(_SumMetric):
    """The sum of the fourth powers of the samples' norms, and its bounds.

    The result is a dictionary of `sample_norm_profile`, `..._lower` and `..._upper`. The bounds are
    those of Lemma 3.4 for the transpose,
    `t^2 / N <= sum_i ||K_i||^4 <= t^2` with `t = ||K||_F^2`.

    Example:
        >>> import numpy as np
        >>> metric = SampleNormProfile(dimensions=2)
        >>> metric.update_state(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> profile, lower, upper = metric.result().values()
        >>> float(lower), float(profile), float(upper)  # the profile is 5^2 + 25^2
        (450.0, 650.0, 900.0)
    """

    def result(self) -> Tensor:  # noqa: D102
        return self._sample_norm_profile()


@_metric
class DimensionNormProfile(_SumMetric):
    """The sum of the fourth powers of the dimensions' norms, and its bounds.

    The result is a dictionary of `dimension_norm_profile`, `..._lower` and `..._upper`. The bounds
    are those of Lemma 3.4, `t^2 / M <= sum_j ||K_j||^4 <= t^2` with `t = ||K||_F^2`. If every
    sample has norm a, as the lemma assumes, t is `N a^2`.

    Example:
        >>> import numpy as np
        >>> metric = DimensionNormProfile(dimensions=2)
        >>> metric.update_state(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> profile, lower, upper = metric.result().values()
        >>> float(lower), float(profile), float(upper)  # the profile is 10^2 + 20^2
        (450.0, 500.0, 900.0)
    """

    def result(self) -> Tensor:  # noqa: D102
        return self._dimension_norm_profile()


@_metric
class NegativePairMean(_SumMetric):
    """The mean cosine of all pairs of different samples, which is 0 in Proposition 3.1.

    Example:
        >>> import numpy as np
        >>> metric = NegativePairMean(dimensions=2)
        >>> metric.update_state(np.array([[1.0, 0.0], [-2.0, 0.0], [0.0, 3.0]]))
        >>> round(float(metric.result()), 3)  # the mean of -1, 0 and 0
        -0.333
    """

    _unit = True

    def result(self) -> Tensor:  # noqa: D102
        return self._pair_mean()


@_metric
class NegativePairVariance(_SumMetric):
    """The variance of the cosine over all pairs of different samples, 1 / M in Proposition 3.1.

    Example:
        >>> import numpy as np
        >>> metric = NegativePairVariance(dimensions=10)
        >>> for seed in range(5):
        ...     metric.update_state(np.random.RandomState(seed).randn(100, 10))
        >>> print(f"{float(metric.result()):.2f}")  # random directions: 1 / 10
        0.10
    """

    _unit = True

    def result(self) -> Tensor:  # noqa: D102
        return self._pair_variance()


@_metric
class RankMe(_SumMetric):
    """The effective rank of all embeddings, as `keras_ssl.evaluation.rankme` gives it.

    It is `exp(-sum_k p_k log p_k)` with `p_k = s_k / sum_j s_j + 1e-7`, over the min(N, M) largest
    singular values s, which are the square roots of the eigenvalues of K^T K. It lies between 1 and
    min(N, M).

    Example:
        >>> import numpy as np
        >>> metric = RankMe(dimensions=4)
        >>> metric.update_state(np.eye(4)[:2])
        >>> metric.update_state(np.eye(4)[2:])  # two more directions
        >>> print(f"{float(metric.result()):.3f}")
        4.000
    """

    def result(self) -> Tensor:  # noqa: D102
        return self._rankme()


@_metric
class Theorem33Residual(_EmbeddingMetric):
    """The relative difference between the two sides of Theorem 3.3: rounding error, about 1e-16.

    It is `|D - S| / D` with `D = L_nc + sum_j ||K_j||^4` and `S = L_c + sum_i ||K_i||^4`. Each side
    is computed on its own matrix, (M, M) or (N, N), for each batch, and summed over the batches.

    Example:
        >>> import numpy as np
        >>> metric = Theorem33Residual(dimensions=2)
        >>> metric.update_state(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> float(metric.result())  # whole numbers are not rounded
        0.0
    """

    def __init__(self, dimensions: int, name: str | None = None, dtype: Any = "float64") -> None:
        super().__init__(dimensions, name, dtype)
        self.of_dimensions = self._sum((), "of_dimensions")
        self.of_samples = self._sum((), "of_samples")

    def _add(self, k: Tensor) -> None:
        sides = theorem_3_3(k)
        self.of_dimensions.assign_add(sides.dimensions)
        self.of_samples.assign_add(sides.samples)

    def result(self) -> Tensor:  # noqa: D102
        difference = ops.absolute(self.of_dimensions - self.of_samples)
        whole = ops.convert_to_tensor(self.of_dimensions)
        return difference / ops.where(whole > 0, whole, 1)


@_metric
class DualityMonitor(_EmbeddingMetric):
    """A dictionary of all these quantities at once, which costs two matrices (M, M).

    - `l_c`, `l_nc`, `theorem_3_3_residual`
    - `sample_norm_profile`, `dimension_norm_profile`, each also with `_lower` and `_upper`
    - `negative_pair_mean`, 0 in Proposition 3.1; `negative_pair_variance`; and
      `negative_pair_variance_uniform`, which is the variance in Proposition 3.1, 1 / M
    - `rankme`

    Example:
        >>> import numpy as np
        >>> monitor = DualityMonitor(dimensions=2)
        >>> monitor.update_state(np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> quantities = monitor.result()
        >>> {name: float(quantities[name]) for name in ("l_c", "l_nc", "theorem_3_3_residual")}
        {'l_c': 242.0, 'l_nc': 392.0, 'theorem_3_3_residual': 0.0}
    """

    def __init__(self, dimensions: int, name: str | None = None, dtype: Any = "float64") -> None:
        super().__init__(dimensions, name, dtype)
        self.raw = _SumMetric(dimensions, "raw", dtype)
        self.unit = NegativePairMean(dimensions, "unit", dtype)
        self.residual = Theorem33Residual(dimensions, "residual", dtype)

    def _add(self, k: Tensor) -> None:
        for part in (self.raw, self.unit, self.residual):
            part.update_state(k)

    def result(self) -> Tensor:  # noqa: D102
        raw, unit = self.raw, self.unit
        return {
            "l_c": raw._l_c(),
            "l_nc": raw._l_nc(),
            "theorem_3_3_residual": self.residual.result(),
            **raw._sample_norm_profile(),
            **raw._dimension_norm_profile(),
            "negative_pair_mean": unit._pair_mean(),
            "negative_pair_variance": unit._pair_variance(),
            "negative_pair_variance_uniform": ops.cast(1 / self.dimensions, self.dtype),
            "rankme": raw._rankme(),
        }
