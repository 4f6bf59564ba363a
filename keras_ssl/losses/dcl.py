"""DCL, decoupled contrastive learning, which is NT-Xent without the positive in the denominator.

References:
    - Yeh et al.: Decoupled contrastive learning, ECCV 2022, and its published code.
    - Garrido et al., ICLR 2023: equations 15 and 27.
"""

from typing import Any

import keras

from keras_ssl.losses.nt_xent import NTXentLoss


@keras.saving.register_keras_serializable(package="keras_ssl")
class DCLLoss(NTXentLoss):
    """The loss of DCL, DCL-sq and DCL-abs: NT-Xent with only negatives in the denominator.

    The terms are:

    - alignment: `-mean f(z_i . z_i+)`
    - contrast: `mean log sum over negatives j exp(f(z_i . z_j) / tau)`

    Loss = alignment / temperature + contrast, with means over the 2N anchors. (Some published codes
    sum the two directions, which gives twice this; others average them, as we do.)

    Args:
        temperature: tau, positive. Default 0.1, as in the published code.
        negatives: "all" (the published code), "same_view" (equation 15) or "cross_view"; see
            `NTXentLoss`.
        similarity: "cosine" (DCL), "squared" (DCL-sq) or "absolute" (DCL-abs); see `NTXentLoss`.
        normalization: "embeddings", "centered_embeddings" or "dimensions"; see `NTXentLoss`.
        block_size: See `NTXentLoss`.
        name: Name of the loss.
        dtype: Precision of the computation, float32 by default.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M), not normalized.
        z_2: Embeddings of the second views, float (N, M), not normalized.

    Returns:
        Scalar loss; see `Criterion`.

    Raises:
        ValueError: as for `NTXentLoss`.

    Example:
        >>> import numpy as np
        >>> z = np.ones((8, 5))
        >>> print(f"{float(DCLLoss()(z, z)):.3f} = log(14) = {np.log(14):.3f}")
        2.639 = log(14) = 2.639
    """

    _positive_in_denominator = False

    def __init__(
        self,
        temperature: float = 0.1,
        negatives: str = "all",
        similarity: str = "cosine",
        normalization: str = "embeddings",
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(temperature, negatives, similarity, normalization, block_size, name, dtype)
