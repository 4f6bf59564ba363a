"""The criterion of MoCo v3: each prediction finds its own target among those of the batch.

References:
    - Chen, Xie and He: An empirical study of training self-supervised vision transformers, ICCV
      2021 (MoCo v3), and its published code.
"""

from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_optional_count, check_positive
from keras_ssl.losses.criterion import Criterion, Terms, on_shards
from keras_ssl.losses.gram import Side, sample_log_sum_exp, select_log_sum_exp_side
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import batch_mean


@keras.saving.register_keras_serializable(package="keras_ssl")
class MoCoLoss(Criterion):
    """InfoNCE of queries among keys: the cross-view form of `NTXentLoss`, in one direction.

    Each embedding is scaled to norm 1. The terms are:

    - alignment: `-mean_i q_i . k_i`
    - contrast: `mean_i log sum_j exp(q_i . k_j / tau)`, the own key included

    Loss = alignment / tau + contrast. It is sample-contrastive. The published code multiplies it by
    2 tau and adds up both directions, so that its loss is 4 tau times the mean that
    `keras_ssl.models.MoCoV3` takes over the directions; AdamW and LARS do not see the factor.

    Args:
        temperature: tau, positive. Default 0.2, as in the published settings for vision
            transformers (1.0 for ResNet-50).
        block_size: Rows of the matrix of products to hold at a time, at least 1. Default: all rows
            of a matrix of up to 2^24 entries, otherwise enough rows for about 2^22 entries. The
            value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Queries, the predictions, float (N, M), not normalized.
        z_2: Keys, the targets, float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the temperature is not positive, the block size is below 1, or the embeddings
            are invalid (see `Criterion`).

    Example:
        Queries that find their keys have a small loss. If all keys are equal, it is log(N).

        >>> import numpy as np
        >>> queries, equal_keys = np.eye(8), np.ones((8, 8))
        >>> print(f"{float(MoCoLoss()(queries, queries)):.3f}")
        0.046
        >>> print(f"{float(MoCoLoss()(queries, equal_keys)):.3f} = log(8) = {np.log(8):.3f}")
        2.079 = log(8) = 2.079
    """

    # The published temperatures are 0.2 and 1.
    search_ranges = {"temperature": (0.02, 2.0)}

    def __init__(
        self,
        temperature: float = 0.2,
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.temperature = check_positive("temperature", temperature)
        self.block_size = check_optional_count("block_size", block_size)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"alignment": 1.0 / self.temperature, "contrast": 1.0}

    @property
    def settings_against_collapse(self) -> dict[str, str]:  # noqa: D102
        return {"temperature": "lower"}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_log_sum_exp_side("samples")

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment and contrast."""
        queries, keys = unit_embeddings(z_1), unit_embeddings(z_2)
        positives = ops.sum(queries * keys, axis=1)
        logits = positives / self.temperature
        others, _ = sample_log_sum_exp(
            queries, keys, temperature=self.temperature, block_size=self.block_size
        )
        # As in NTXentLoss: the difference may be much smaller than either term.
        loss = ops.softplus(others - logits)
        terms = {"alignment": -batch_mean(positives), "contrast": batch_mean(logits + loss)}
        weights = {"alignment": 1.0 / self.temperature, "contrast": 1.0}
        return Terms(terms, weights, batch_mean(loss))
