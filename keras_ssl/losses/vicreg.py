"""VICReg, VICReg-exp and VICReg-ctr, one family with two choices: the matrix and the penalty.

| | squares | log-sum-exp |
|---|---|---|
| dimensions, (M, M) | `VICRegLoss` | `VICRegExpLoss` |
| samples, (N, N) | the paper's L_c: `VICRegFamilyLoss("samples", "squares")` | `VICRegCtrLoss` |

References:
    - Bardes, Ponce, LeCun: VICReg, ICLR 2022 (and its published code).
    - Garrido et al.: On the duality between contrastive and non-contrastive self-supervised
      learning, ICLR 2023: section 4, supplement L.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor, mean
from keras_ssl._validation import (
    check_choice,
    check_non_negative,
    check_optional_count,
    check_positive,
)
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import (
    SIDES,
    Side,
    dimension_energy,
    dimension_log_sum_exp,
    sample_energy,
    sample_log_sum_exp,
    select_energy_side,
    select_log_sum_exp_side,
)
from keras_ssl.losses.normalization import centered
from keras_ssl.replicas import batch_mean, batch_size

# Added to a variance before its square root is taken, as in VICReg's published code and
# supplement L.
_EPSILON = 1e-4


# For each contrast: the axis that C(x) sums over, and the two penalties on its off-diagonal.
_CONTRASTS: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "dimensions": (0, dimension_energy, dimension_log_sum_exp),
    "samples": (1, sample_energy, sample_log_sum_exp),
}


def variance_hinge(x: Tensor, axis: int) -> Tensor:
    """Returns the mean of max(0, 1 - standard deviation) of x, which is centered over `axis`.

    The variance is unbiased, and the result is a scalar: v(x) of VICReg.
    """
    n = ops.cast((batch_size(x), ops.shape(x)[1])[axis], x.dtype)
    mean_square = (batch_mean if axis == 0 else mean)(ops.square(x), axis=axis)
    deviation = ops.sqrt(mean_square * n / (n - 1) + _EPSILON)
    return (mean if axis == 0 else batch_mean)(ops.relu(1 - deviation))


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegFamilyLoss(Criterion):
    """The general form of VICReg, VICReg-exp, VICReg-ctr, and the fourth combination.

    Let x (n, m) be z for `contrast="dimensions"`, and z^T for `contrast="samples"`. The terms are:

    - invariance: `mean over all N M entries of (z_1 - z_2)^2`
    - variance: `mean over columns j of max(0, 1 - sqrt(Var(x)_j + 1e-4))`, with the unbiased
      variance, averaged over the two views
    - covariance: a penalty on the off-diagonal entries of `C(x) = xc^T xc / divisor`, where xc is x
      minus the mean of each column:
      `squares`: `1/m sum_{i != j} C_ij^2`, *summed* over the two views (VICReg's code);
      `log_sum_exp`: `1/m sum_i log sum_{j != i} exp(C_ij / temperature)`, *averaged* over the two
      views (the paper's supplement L). Entries keep their signs: there is no square and no absolute
      value.

    Loss = invariance_weight * invariance + variance_weight * variance
    + covariance_weight * covariance.

    The equations of both papers have sums where their codes have means. The published weights
    belong to the codes, so we follow the codes.

    Args:
        contrast: "dimensions" for a dimension-contrastive loss, on the covariance matrix (M, M);
            "samples" for a sample-contrastive one, on the Gram matrix (N, N). The latter centers
            and regularizes each embedding over its own features.
        penalty: "squares" or "log_sum_exp".
        invariance_weight: Weight of the invariance term, lambda, at least 0.
        variance_weight: Weight of the variance term, mu, at least 0.
        covariance_weight: Weight of the covariance term, nu, at least 0.
        temperature: tau of the log-sum-exp, positive. The squares do not use it.
        divisor: The divisor of `C`. "features" is the length of the centered axis minus 1 (N - 1
            for dimensions, M - 1 for samples). "batch" is N - 1 for both, as supplement L has it
            to the letter. For dimensions the two are equal.
        side: The matrix that the squares are computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the cheaper one (see `select_side`). The value and the gradient are the same.
        block_size: Rows of the matrix of products that the log-sum-exp holds at a time, at
            least 1. Default: all rows of a matrix of up to 2^24 entries, otherwise enough rows for
            about 2^22 entries.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the contrast, penalty, divisor or side is unknown, a weight is negative, the
            temperature is not positive, the block size is below 1, or the embeddings are invalid
            (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> loss = VICRegFamilyLoss("samples", "squares", invariance_weight=1.0,
        ...                         variance_weight=1.0, covariance_weight=1.0)
        >>> z = np.random.RandomState(0).randn(8, 5)
        >>> float(loss(z, z)) > 0
        True
    """

    # Bardes et al. tried weights from 1 to 50. Only two of the three weights are free, because all
    # three together act as a learning rate. (The weight of the variance is fixed. AdamW and LARS
    # ignore the scale of the loss, so nothing is lost.)
    search_ranges = {
        "invariance_weight": (1.0, 50.0),
        "covariance_weight": (0.1, 25.0),
    }

    def __init__(
        self,
        contrast: str = "dimensions",
        penalty: str = "squares",
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        temperature: float = 0.1,
        divisor: str = "features",
        side: str = "auto",
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.contrast = check_choice("contrast", contrast, ("dimensions", "samples"))
        self.penalty = check_choice("penalty", penalty, ("squares", "log_sum_exp"))
        self.invariance_weight = check_non_negative("invariance_weight", invariance_weight)
        self.variance_weight = check_non_negative("variance_weight", variance_weight)
        self.covariance_weight = check_non_negative("covariance_weight", covariance_weight)
        self.temperature = check_positive("temperature", temperature)
        self.divisor = check_choice("divisor", divisor, ("features", "batch"))
        self.side = check_choice("side", side, SIDES)
        self.block_size = check_optional_count("block_size", block_size)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {
            "invariance": self.invariance_weight,
            "variance": self.variance_weight,
            "covariance": self.covariance_weight,
        }

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        return {"invariance": 0.0}

    @property
    def variance_terms(self) -> tuple[str, ...]:  # noqa: D102
        return ("variance",) if self.contrast == "dimensions" else ()

    @property
    def settings_against_collapse(self) -> dict[str, str]:  # noqa: D102
        # The squares do not use the temperature.
        temperature = {"temperature": "lower"} if self.penalty == "log_sum_exp" else {}
        return {**super().settings_against_collapse, **temperature}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return (
            select_energy_side(self.contrast, samples, dimensions, side=self.side)
            if self.penalty == "squares"
            else select_log_sum_exp_side(self.contrast)
        )

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted invariance, variance and covariance."""
        axis, _, _ = _CONTRASTS[self.contrast]
        # Centered twice: the rounding error of a mean far from 0 would be part of every deviation.
        x_1, x_2 = (centered(centered(z, axis), axis) for z in (z_1, z_2))
        return {
            "invariance": batch_mean(ops.square(z_1 - z_2)),
            "variance": (variance_hinge(x_1, axis) + variance_hinge(x_2, axis)) / 2,
            "covariance": self.penalize(x_1) + self.penalize(x_2),
        }

    def penalize(self, x: Tensor) -> Tensor:
        """Returns a view's part of the covariance term.

        Args:
            x: Embeddings of a view (N, M), centered over the batch, or over their features if the
                contrast is of samples.
        """
        axis, energy, log_sum_exp = _CONTRASTS[self.contrast]
        shape = [ops.cast(size, x.dtype) for size in (batch_size(x), ops.shape(x)[1])]
        n, m = shape[axis], shape[1 - axis]
        divisor = (n if self.divisor == "features" else shape[0]) - 1
        if self.penalty == "squares":
            return energy(x, side=self.side) / (m * ops.square(divisor))
        temperature = self.temperature * divisor
        log_sums = log_sum_exp(x, temperature=temperature, block_size=self.block_size)
        # VICReg's code sums over the views; supplement L averages over them.
        return (mean if axis == 0 else batch_mean)(log_sums) / 2


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegLoss(VICRegFamilyLoss):
    """The VICReg loss: invariance, variance, and the squares of the off-diagonal covariances.

    It is `VICRegFamilyLoss("dimensions", "squares")` with the weights of the published code, 25, 25
    and 1 (the variance is averaged over the views, the covariance is summed). Table S6 of the
    duality paper tunes the covariance weight to 4 for M = 256, to 2 for M from 512 to 2048, and to
    0.5 for M = 8192: see `keras_ssl.recipes`.

    Args:
        invariance_weight: lambda, at least 0.
        variance_weight: mu, at least 0.
        covariance_weight: nu, at least 0.
        side: The matrix that the covariances are computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the cheaper one (see `select_side`). The value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if a weight is negative, the side is unknown, or the embeddings are invalid
            (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> random = np.random.RandomState(0)
        >>> z_1 = random.randn(8, 5)
        >>> z_2 = z_1 + 0.5 * random.randn(8, 5)
        >>> print(f"{float(VICRegLoss()(z_1, z_2)):.4f}")  # as lightly 1.5.26
        10.3710

    References:
        - Bardes et al., VICReg, ICLR 2022, and its published code.
    """

    def __init__(
        self,
        invariance_weight: float = 25.0,
        variance_weight: float = 25.0,
        covariance_weight: float = 1.0,
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "dimensions",
            "squares",
            invariance_weight,
            variance_weight,
            covariance_weight,
            side=side,
            name=name,
            dtype=dtype,
        )


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegExpLoss(VICRegFamilyLoss):
    """The VICReg-exp loss: VICReg with a log-sum-exp as covariance penalty, as in SimCLR.

    It is `VICRegFamilyLoss("dimensions", "log_sum_exp")`, equations 11 and 12 of the duality paper.
    The weights and the temperature are those of Table S6. They belong to the means of supplement L,
    which are used here.

    Args:
        invariance_weight: lambda, at least 0.
        variance_weight: mu, at least 0.
        covariance_weight: nu, at least 0.
        temperature: tau, positive.
        block_size: Rows of the matrix of products to hold at a time, at least 1. Default: all rows
            of a matrix of up to 2^24 entries, otherwise enough rows for about 2^22 entries. The
            value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if a weight is negative, the temperature is not positive, the block size is
            below 1, or the embeddings are invalid (see `Criterion`).

    Example:
        Two equal dimensions have a covariance of 4/3 here, so the loss is 2 * (4/3) / 0.1.

        >>> import numpy as np
        >>> a, b = np.array([1.0, 1.0, -1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0])
        >>> independent, equal = np.stack([a, b], axis=1), np.stack([a, a], axis=1)
        >>> [round(float(VICRegExpLoss()(z, z)), 2) for z in (independent, equal)]
        [0.0, 26.67]

    References:
        - Garrido et al., ICLR 2023, equations 11 and 12, supplement L, Table S6.
    """

    # Table S6 has a temperature of 0.1.
    search_ranges = {
        **VICRegFamilyLoss.search_ranges,
        "temperature": (0.02, 1.0),
    }

    def __init__(
        self,
        invariance_weight: float = 1.0,
        variance_weight: float = 1.0,
        covariance_weight: float = 2.0,
        temperature: float = 0.1,
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "dimensions",
            "log_sum_exp",
            invariance_weight,
            variance_weight,
            covariance_weight,
            temperature,
            block_size=block_size,
            name=name,
            dtype=dtype,
        )


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegCtrLoss(VICRegFamilyLoss):
    """The VICReg-ctr loss: VICReg-exp on transposed embeddings, which makes it contrastive.

    It is `VICRegFamilyLoss("samples", "log_sum_exp")`, equation 13 of the duality paper and
    supplement L, with the weights and the temperature of Table S6. The variance term acts on the
    features of each sample, and thus on the norm of its embedding. The penalty is that of DCL with
    same-view negatives.

    Args:
        invariance_weight: lambda, at least 0.
        variance_weight: mu, at least 0.
        covariance_weight: nu, at least 0.
        temperature: tau, positive.
        divisor: The divisor of the Gram matrix. "features" is M - 1: if the variance term is
            satisfied, the diagonal is then 1 for every M, which agrees with Table 1 (embedding norm
            1) and with one temperature for all M. "batch" is N - 1, as supplement L has it to the
            letter; the temperature of Table S6 would then mean something different for every M.
        block_size: Rows of the matrix of products to hold at a time, at least 1. Default: all rows
            of a matrix of up to 2^24 entries, otherwise enough rows for about 2^22 entries. The
            value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if a weight is negative, the temperature is not positive, the divisor is
            unknown, the block size is below 1, or the embeddings are invalid (see `Criterion`).

    Example:
        It is VICReg-exp of the transpose, with the same weights and the same temperature.

        >>> import numpy as np
        >>> z = np.random.RandomState(0).randn(8, 5)
        >>> transposed = VICRegExpLoss(covariance_weight=1.0, temperature=0.15)(z.T, z.T)
        >>> bool(np.isclose(float(VICRegCtrLoss()(z, z)), float(transposed)))
        True

    References:
        - Garrido et al., ICLR 2023, equation 13, supplement L, Table S6. Table 1 lists dimension
          centering for this method, but supplement L centers each sample over its features. We
          follow supplement L.
    """

    # Table S6 has a temperature of 0.15.
    search_ranges = {
        **VICRegFamilyLoss.search_ranges,
        "temperature": (0.02, 1.0),
    }

    def __init__(
        self,
        invariance_weight: float = 1.0,
        variance_weight: float = 1.0,
        covariance_weight: float = 1.0,
        temperature: float = 0.15,
        divisor: str = "features",
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            "samples",
            "log_sum_exp",
            invariance_weight,
            variance_weight,
            covariance_weight,
            temperature,
            divisor,
            block_size=block_size,
            name=name,
            dtype=dtype,
        )
