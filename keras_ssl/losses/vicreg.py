"""VICReg, VICReg-exp and VICReg-ctr: one family with two switches, which matrix and which penalty.

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

from keras_ssl._tensors import Tensor
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

# Under the square root of the standard deviation: VICReg's published code and supplement L.
_EPSILON = 1e-4


# By what is contrasted: the axis that C(x) sums over, and the two penalties on its off-diagonal.
_CONTRASTS: dict[str, tuple[int, Callable[..., Any], Callable[..., Any]]] = {
    "dimensions": (0, dimension_energy, dimension_log_sum_exp),
    "samples": (1, sample_energy, sample_log_sum_exp),
}


def variance_hinge(x: Tensor, axis: int) -> Tensor:
    """v(x): mean of max(0, 1 - standard deviation) of x, centered over `axis`; unbiased, scalar."""
    n = ops.cast((batch_size(x), ops.shape(x)[1])[axis], x.dtype)
    mean_square = (batch_mean if axis == 0 else ops.mean)(ops.square(x), axis=axis)
    deviation = ops.sqrt(mean_square * n / (n - 1) + _EPSILON)
    return (ops.mean if axis == 0 else batch_mean)(ops.relu(1 - deviation))


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegFamilyLoss(Criterion):
    """The general form of VICReg, VICReg-exp, VICReg-ctr, and their fourth corner.

    With x = z for `contrast="dimensions"`, and x = z^T for `contrast="samples"`, (n, m):

    - invariance: `mean over all N M entries of (z_1 - z_2)^2`
    - variance: `mean over columns j of max(0, 1 - sqrt(Var(x)_j + 1e-4))`, unbiased variance,
      averaged over the two views
    - covariance: a penalty on the off-diagonal entries of `C(x) = xc^T xc / divisor`, xc being x
      minus the mean of each column:
      `squares`: `1/m sum_{i != j} C_ij^2`, *summed* over the two views (VICReg's code);
      `log_sum_exp`: `1/m sum_i log sum_{j != i} exp(C_ij / temperature)`, *averaged* over the two
      views (the paper's supplement L). Entries are signed: no square, no absolute value.

    Loss = invariance_weight * invariance + variance_weight * variance
    + covariance_weight * covariance.

    The equations of both papers sum where their codes average; the published weights belong to the
    codes, which are followed here.

    Args:
        contrast: "dimensions", the covariance matrix (M, M): dimension-contrastive; or "samples",
            the Gram matrix (N, N) of embeddings that are each centered and regularized over its own
            features: sample-contrastive.
        penalty: "squares" or "log_sum_exp".
        invariance_weight: Weight of the invariance term, lambda, at least 0.
        variance_weight: Weight of the variance term, mu, at least 0.
        covariance_weight: Weight of the covariance term, nu, at least 0.
        temperature: tau of the log-sum-exp, positive. Squares do not use it.
        divisor: What `C` is divided by: "features" is m - 1 with m the length of the centered axis
            (N - 1 for dimensions, M - 1 for samples); "batch" is N - 1 whatever the matrix, the
            letter of supplement L. Equal for dimensions.
        side: The matrix that the squares are computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the cheaper one, which `select_side` tells. Value and gradient are the same.
        block_size: Rows of the matrix of products that the log-sum-exp holds at a time, at
            least 1. Default: all of a matrix of up to 2^24 entries, else enough for about 2^22.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: for an unknown contrast, penalty, divisor or side, a negative weight, a
            temperature that is not positive, a block size below 1, or wrong embeddings.

    Example:
        >>> import numpy as np
        >>> loss = VICRegFamilyLoss("samples", "squares", invariance_weight=1.0,
        ...                         variance_weight=1.0, covariance_weight=1.0)
        >>> z = np.random.RandomState(0).randn(8, 5)
        >>> float(loss(z, z)) > 0
        True
    """

    # Bardes et al. tried weights from 1 to 50. Two of the three weights are free, because all three
    # together act as a learning rate. (The variance's weight stays. AdamW and LARS ignore the scale
    # of the loss, so that nothing is lost.)
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
        """Weight of each term in the loss."""
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
        # Squares do not use the temperature.
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
        """Invariance, variance and covariance, unweighted."""
        axis, energy, log_sum_exp = _CONTRASTS[self.contrast]
        shape = [ops.cast(size, z_1.dtype) for size in (batch_size(z_1), ops.shape(z_1)[1])]
        n, m = shape[axis], shape[1 - axis]
        divisor = (n if self.divisor == "features" else shape[0]) - 1
        # Twice: with a mean far from 0, its rounding would be a part of every deviation.
        x_1, x_2 = (centered(centered(z, axis), axis) for z in (z_1, z_2))

        def penalty(x: Tensor) -> Tensor:
            if self.penalty == "squares":
                return energy(x, side=self.side) / (m * ops.square(divisor))
            temperature = self.temperature * divisor
            log_sums = log_sum_exp(x, temperature=temperature, block_size=self.block_size)
            # VICReg's code sums over the views, supplement L averages.
            return (ops.mean if axis == 0 else batch_mean)(log_sums) / 2

        return {
            "invariance": batch_mean(ops.square(z_1 - z_2)),
            "variance": (variance_hinge(x_1, axis) + variance_hinge(x_2, axis)) / 2,
            "covariance": penalty(x_1) + penalty(x_2),
        }


@keras.saving.register_keras_serializable(package="keras_ssl")
class VICRegLoss(VICRegFamilyLoss):
    """VICReg: invariance, variance, and the squares of the off-diagonal covariances.

    `VICRegFamilyLoss("dimensions", "squares")` with the weights of the published code, 25 / 25 / 1
    (variance halved over the views, covariance summed). Table S6 of the duality paper tunes the
    covariance weight to 4, 2 and 0.5 for M = 256, 512 to 2048, and 8192: see `keras_ssl.recipes`.

    Args:
        invariance_weight: lambda, at least 0.
        variance_weight: mu, at least 0.
        covariance_weight: nu, at least 0.
        side: The matrix that the covariances are computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the cheaper one, which `select_side` tells. Value and gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: for a negative weight, an unknown side, or wrong embeddings (see `Criterion`).

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
    """VICReg-exp: VICReg whose covariance penalty is a log-sum-exp, as in SimCLR.

    `VICRegFamilyLoss("dimensions", "log_sum_exp")`: equations 11 and 12 of the duality paper, with
    the weights and the temperature of Table S6 and the averages of supplement L, to which they
    belong.

    Args:
        invariance_weight: lambda, at least 0.
        variance_weight: mu, at least 0.
        covariance_weight: nu, at least 0.
        temperature: tau, positive.
        block_size: Rows of the matrix of products that are held at a time, at least 1. Default:
            all of a matrix of up to 2^24 entries, else enough for about 2^22. The value and its
            gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: for a negative weight, a temperature that is not positive, a block size below 1,
            or wrong embeddings (see `Criterion`).

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
    """VICReg-ctr: VICReg-exp on transposed embeddings, which makes it a contrastive method.

    `VICRegFamilyLoss("samples", "log_sum_exp")`: equation 13 of the duality paper and supplement L,
    with the weights and the temperature of Table S6. The variance term acts on the features of each
    sample, and so on the norm of its embedding; the penalty is DCL's with same-view negatives.

    Args:
        invariance_weight: lambda, at least 0.
        variance_weight: mu, at least 0.
        covariance_weight: nu, at least 0.
        temperature: tau, positive.
        divisor: What the Gram matrix is divided by. "features", M - 1: its diagonal is then 1 where
            the variance term is met, for every M, which agrees with Table 1 (embedding norm 1) and
            with one temperature for all M. "batch", N - 1: the letter of supplement L, where the
            temperature of Table S6 would mean something else at every M.
        block_size: Rows of the matrix of products that are held at a time, at least 1. Default:
            all of a matrix of up to 2^24 entries, else enough for about 2^22. The value and its
            gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: for a negative weight, a temperature that is not positive, an unknown divisor, a
            block size below 1, or wrong embeddings (see `Criterion`).

    References:
        - Garrido et al., ICLR 2023, equation 13, supplement L, Table S6. Table 1 lists dimension
          centering for this method where supplement L centers each sample over its features; the
          latter is what is done here.
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
