"""Alignment and uniformity on the sphere, a sample-contrastive criterion with a Gaussian kernel.

References:
    - Wang and Isola: Understanding contrastive representation learning through alignment and
      uniformity on the hypersphere, ICML 2020, and its published code.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_non_negative, check_optional_count, check_positive
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import Side, sample_log_sum_exp, select_log_sum_exp_side
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import batch_mean, batch_size, gather_batch


@keras.saving.register_keras_serializable(package="keras_ssl")
class UniformityLoss(Criterion):
    """Alignment of the views, and uniformity of each view on the sphere.

    Each embedding is scaled to norm 1. The terms are:

    - alignment: `mean_i ||z_1i - z_2i||^2`
    - uniformity: `log mean_{i != j} exp(-t ||z_i - z_j||^2)`, at most 0, averaged over the views

    Loss = alignment_weight * alignment + uniformity_weight * uniformity.

    DCL with same-view negatives takes the mean of a logarithm for each sample; here one logarithm
    is taken of the mean over all pairs. As in Definition 3.2 of the duality paper, what is pushed
    apart are samples.

    Args:
        alignment_weight: At least 0. Default 1, as in the published code.
        uniformity_weight: At least 0. Default 1, as in the published code.
        temperature: t, positive. Default 2, as in the paper.
        block_size: Rows of the matrix of products to hold at a time, at least 1. Default: all rows
            of a matrix of up to 2^24 entries, otherwise enough rows for about 2^22 entries. The
            value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M), not normalized.
        z_2: Embeddings of the second views, float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if a weight is negative, the temperature is not positive, the block size is
            below 1, or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> float(UniformityLoss()(np.eye(4), np.eye(4)))  # all squared distances are 2
        -4.0
    """

    # The paper tries weights of 0.2 to 5. The ranges are our choice.
    search_ranges = {"uniformity_weight": (0.1, 10.0), "temperature": (0.5, 8.0)}

    def __init__(
        self,
        alignment_weight: float = 1.0,
        uniformity_weight: float = 1.0,
        temperature: float = 2.0,
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.alignment_weight = check_non_negative("alignment_weight", alignment_weight)
        self.uniformity_weight = check_non_negative("uniformity_weight", uniformity_weight)
        self.temperature = check_positive("temperature", temperature)
        self.block_size = check_optional_count("block_size", block_size)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"alignment": self.alignment_weight, "uniformity": self.uniformity_weight}

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        return {"alignment": 0.0}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_log_sum_exp_side("samples")

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment and uniformity."""
        z_1, z_2 = unit_embeddings(z_1), unit_embeddings(z_2)
        n = ops.cast(batch_size(z_1), z_1.dtype)

        def uniformity(z: Tensor) -> Tensor:
            # exp(-t ||x - y||^2) = exp(2 t x . y) exp(-2 t)
            log_sums = sample_log_sum_exp(
                z, temperature=0.5 / self.temperature, block_size=self.block_size
            )
            pairs = ops.log(n) + ops.log(n - 1)
            return ops.logsumexp(gather_batch(log_sums)) - pairs - 2 * self.temperature

        return {
            "alignment": batch_mean(ops.sum(ops.square(z_1 - z_2), axis=1)),
            "uniformity": (uniformity(z_1) + uniformity(z_2)) / 2,
        }
