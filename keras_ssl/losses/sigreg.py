"""LeJEPA's criterion: views predict their mean, and embeddings are normal along every direction.

References:
    - Balestriero and LeCun: LeJEPA: Provable and scalable self-supervised learning without the
      heuristics, 2025 (arXiv 2511.08544), and its published code.
    - Epps and Pulley: A test for normality based on the empirical characteristic function, 1983.
    - KerJEPA: Kernel discrepancies for Euclidean self-supervised learning, 2025 (arXiv 2512.19605).
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_fraction, check_optional_count
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import Side, epps_pulley
from keras_ssl.replicas import batch_mean


@keras.saving.register_keras_serializable(package="keras_ssl")
class SIGRegLoss(Criterion):
    """The LeJEPA loss: a prediction term, and SIGReg on all directions at once.

    With V views z_v, and their center c = mean of the first `global_views` views, the terms are:

    - invariance: `mean_v mean (z_v - c)^2`, over all entries
    - sigreg: the mean over the views of the Epps-Pulley statistic of z_v,
      `N integral |1/N sum_i exp(i t z_i . a) - exp(-t^2 / 2)|^2 exp(-t^2 / 2) dt`, averaged over
      all directions a

    Loss = (1 - sigreg_weight) * invariance + sigreg_weight * sigreg, as in the published code.

    The published code draws directions at random (1024 in the paper, 256 in its minimal example)
    and approximates the integral by 17 points up to t = 3. Here both have their exact values, on
    pairs of samples (`keras_ssl.losses.gram.epps_pulley`): the loss has no noise, no number of
    slices, and is the same on any number of replicas. The statistic is larger than the published
    one by what that leaves out beyond t = 3: `keras_ssl.duality.epps_pulley` computes both.

    By Definition 3.2 of the duality paper, it is neither sample- nor dimension-contrastive. It has
    two sides all the same: directions of the dimensions, and a kernel on pairs of samples.

    Args:
        sigreg_weight: lambda, in [0, 1]. Default 0.05, that of lightly's port (the minimal example
            of the published code has 0.02).
        global_views: Views that make the center, the first ones. Default: all, as in the minimal
            example. With multi-crop, LeJEPA's are the 2 large ones.
        block_size: Rows of the matrix of pairs, (N, N), to hold at a time, at least 1. Default: all
            rows of a matrix of up to 2^24 entries, otherwise enough rows for about 2^22 entries.
            The value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        *embeddings: Embeddings of two or more views, each float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the weight is not in [0, 1], a count is below 1, there are fewer views than
            global ones, or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> normal = np.random.RandomState(0).randn(256, 64)
        >>> loss = SIGRegLoss()
        >>> bool(loss(normal, normal) < loss(2 * normal, 2 * normal))
        True
    """

    takes_all_views = True
    # The paper tries 0.01 to 0.1. The range is our choice.
    search_ranges = {"sigreg_weight": (0.005, 0.5)}

    def __init__(
        self,
        sigreg_weight: float = 0.05,
        global_views: int | None = None,
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.sigreg_weight = check_fraction("sigreg_weight", sigreg_weight)
        self.global_views = check_optional_count("global_views", global_views)
        self.block_size = check_optional_count("block_size", block_size)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"invariance": 1 - self.sigreg_weight, "sigreg": self.sigreg_weight}

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        return {"invariance": 0.0}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return Side("gram", "The mean over all directions is a mean over pairs of samples.")

    @on_shards
    def terms(self, *embeddings: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted prediction term and SIGReg."""
        count = self.global_views or len(embeddings)
        if count > len(embeddings):
            raise ValueError(
                f"`global_views` must be at most the number of views, {len(embeddings)}. Received: "
                f"global_views={count}"
            )
        center = sum(embeddings[:count]) / count
        distances = [batch_mean(ops.square(z - center)) for z in embeddings]
        statistics = [epps_pulley(z, self.block_size) for z in embeddings]
        return {
            "invariance": sum(distances) / len(distances),
            "sigreg": sum(statistics) / len(statistics),
        }
