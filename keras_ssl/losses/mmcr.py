"""MMCR, maximum manifold capacity: the centers of the images' views span as much as they can.

References:
    - Yerxa et al.: Learning efficient coding of natural images with maximum manifold capacity
      representations, NeurIPS 2023, and its published code.
"""

from typing import Any

import keras

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import SIDES, SQUARE_ROOT, Side, select_log_det_side, spectral_sum
from keras_ssl.losses.normalization import unit_embeddings


@keras.saving.register_keras_serializable(package="keras_ssl")
class MMCRLoss(Criterion):
    """The negative nuclear norm of the centers of the images' views.

    Each embedding is scaled to norm 1, and c_i is the mean over the views of image i. The term is:

    - nuclear_norm: `-||c||_*`, minus the sum of the singular values of c (N, M)

    A center is long only if the views of its image agree, and the norm is large only if the centers
    point in many directions: one term does both. It is at least `-sqrt(N min(N, M))`.

    The nuclear norm is that of c c^T and of c^T c, so it is computed on the smaller. The published
    code has another term, the nuclear norm of each image's views, with weight 0 in its settings; it
    is left out.

    Args:
        side: The matrix of products: "gram", (N, N); "covariance", (M, M); "auto", the smaller.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default. Eigenvalues are float64.

    Call arguments:
        *embeddings: Embeddings of two or more views, each float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the side is unknown, or the embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> float(MMCRLoss()(np.eye(4), np.eye(4)))
        -4.0
    """

    takes_all_views = True

    def __init__(self, side: str = "auto", name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name=name, dtype=dtype)
        self.side = check_choice("side", side, SIDES)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of the only term."""
        return {"nuclear_norm": 1.0}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_log_det_side(samples, dimensions, self.side)

    @on_shards
    def terms(self, *embeddings: Tensor) -> dict[str, Tensor]:
        """Returns the negative nuclear norm."""
        center = sum(unit_embeddings(z) for z in embeddings) / len(embeddings)
        return {"nuclear_norm": -spectral_sum(center, SQUARE_ROOT, self.side)}
