"""The spectral contrastive loss: a linear term for positives, a squared one for negatives.

References:
    - HaoChen et al.: Provable guarantees for self-supervised deep learning with spectral
      contrastive loss, NeurIPS 2021, and its published code.
    - Garrido et al., ICLR 2023: equations 18 and 32.
"""

import math
from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice, check_positive
from keras_ssl.losses.criterion import Criterion, on_shards
from keras_ssl.losses.gram import SIDES, Side, sample_energy, select_energy_side
from keras_ssl.losses.normalization import unit_embeddings
from keras_ssl.replicas import batch_mean, batch_size


def project_on_ball(z: Tensor, squared_radius: float) -> Tensor:
    """Shrinks the rows of z (N, M) outside the ball to its surface, and keeps the others."""
    radius = math.sqrt(squared_radius)
    return radius * unit_embeddings(z, smallest_norm=radius)


@keras.saving.register_keras_serializable(package="keras_ssl")
class SpectralContrastiveLoss(Criterion):
    """The spectral contrastive loss (SCL).

    Embeddings outside the ball of radius sqrt(mu) are shrunk to its surface. The terms are:

    - alignment: `-1/N sum_i z_1i . z_2i`
    - contrast: `1/(N (N - 1)) sum_{i != j} (z_1i . z_2j)^2` for cross-view negatives. For same-view
      negatives it has `(z_1i . z_1j)^2` instead, averaged over the two views, which is the paper's
      L_c, scaled.

    Loss = (2 * alignment + contrast) / mu, as in the published code.

    Args:
        squared_radius: mu, positive. Default 1, as in the published CIFAR settings (10 for
            ImageNet). The radius is sqrt(mu), as in section 3 of the duality paper and in the
            published code; supplement A says mu.
        negatives: "cross_view", as in the published code, or "same_view", as in the paper's
            analysis.
        side: The matrix that the contrast is computed on: "gram", (N, N); "covariance", (M, M);
            "auto", the cheaper one (see `select_side`). The value and the gradient are the same.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M).
        z_2: Embeddings of the second views, float (N, M).

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: if the radius is not positive, the negatives or the side are unknown, or the
            embeddings are invalid (see `Criterion`).

    Example:
        >>> import numpy as np
        >>> z = np.eye(4)  # positives agree, negatives are orthogonal
        >>> float(SpectralContrastiveLoss()(z, z))
        -2.0
    """

    # Around the published 1 (CIFAR) and 10 (ImageNet). The range is our choice.
    search_ranges = {"squared_radius": (0.1, 30.0)}

    def __init__(
        self,
        squared_radius: float = 1.0,
        negatives: str = "cross_view",
        side: str = "auto",
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.squared_radius = check_positive("squared_radius", squared_radius)
        self.negatives = check_choice("negatives", negatives, ("cross_view", "same_view"))
        self.side = check_choice("side", side, SIDES)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"alignment": 2.0 / self.squared_radius, "contrast": 1.0 / self.squared_radius}

    def select_side(self, samples: int, dimensions: int) -> Side:  # noqa: D102
        return select_energy_side(
            "samples", samples, dimensions, self.negatives == "same_view", self.side
        )

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment and contrast."""
        z_1 = project_on_ball(z_1, self.squared_radius)
        z_2 = project_on_ball(z_2, self.squared_radius)
        if self.negatives == "cross_view":
            energy = sample_energy(z_1, z_2, self.side)
        else:
            energy = sum(sample_energy(z, side=self.side) for z in (z_1, z_2)) / 2
        samples = ops.cast(batch_size(z_1), z_1.dtype)
        return {
            "alignment": -batch_mean(ops.sum(z_1 * z_2, axis=1)),
            "contrast": energy / (samples * (samples - 1)),
        }
