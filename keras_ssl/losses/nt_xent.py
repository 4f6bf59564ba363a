"""NT-Xent, the criterion of SimCLR, with the paper's variants -sq and -abs and normalizations.

References:
    - Chen et al.: A simple framework for contrastive learning, ICML 2020, and its published code.
    - Garrido et al., ICLR 2023: equations 16, 17, 30 and 31; section 5.1 and Table 1.
"""

import functools
from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice, check_optional_count, check_positive
from keras_ssl.losses import gram
from keras_ssl.losses.criterion import Criterion, Terms, on_shards
from keras_ssl.losses.normalization import centered, standard_dimensions, unit_embeddings
from keras_ssl.replicas import batch_mean

_SIMILARITIES = {"cosine": gram.COSINE, "squared": gram.SQUARED, "absolute": gram.ABSOLUTE}


def _centered_unit_embeddings(z: Tensor) -> Tensor:
    """SimCLR A: every dimension centered over the batch, then every embedding scaled to norm 1."""
    # Centered twice, so that identical rows become 0 and not the rounding error of their mean.
    return unit_embeddings(centered(centered(z)))


def _scaled_standard_dimensions(z: Tensor) -> Tensor:
    """SimCLR B (equation 14): dimensions centered and scaled to norm sqrt(N / M).

    The mean squared norm of the embeddings is then 1, so products stay on the scale of a cosine.
    """
    return standard_dimensions(z) * ops.rsqrt(ops.cast(ops.shape(z)[1], z.dtype))


_NORMALIZATIONS = {
    "embeddings": unit_embeddings,
    "centered_embeddings": _centered_unit_embeddings,
    "dimensions": _scaled_standard_dimensions,
}


@keras.saving.register_keras_serializable(package="keras_ssl")
class NTXentLoss(Criterion):
    """NT-Xent, the normalized temperature-scaled cross-entropy of SimCLR, SimCLR-sq and SimCLR-abs.

    The embeddings are normalized, f is the similarity, and i is an anchor of either view, whose
    positive i+ is the same image in the other view. The terms are means over the 2N anchors:

    - alignment: `-mean f(z_i . z_i+)`
    - contrast: `mean log( exp(f(z_i . z_i+) / tau) + sum_j exp(f(z_i . z_j) / tau) )`, j over the
      negatives

    Loss = alignment / temperature + contrast. (The published SimCLR code adds the means of the two
    views, which gives twice this.)

    Args:
        temperature: tau, positive. Default 0.15, as SimCLR-Tuned in Table S6.
        negatives: Which embeddings the anchor is contrasted with. "all": the 2N - 2 of other images
            in both views, as SimCLR does; "same_view": the N - 1 of other images in the anchor's
            own view, as the paper's analysis does (equation 16); "cross_view": the N - 1 of other
            images in the other view.
        similarity: f, applied to both positives and negatives. "cosine": f(x) = x, SimCLR;
            "squared": f(x) = x^2, SimCLR-sq; "absolute": f(x) = |x|, SimCLR-abs. The last two do
            not distinguish a positive at -1 from one at 1. The paper does not say which negatives
            it trained them with; "all" is the default here, as it is for the cosine.
        normalization: "embeddings": each embedding has norm 1, SimCLR; "centered_embeddings": the
            same after centering each dimension over the batch, variant A of section 5.1;
            "dimensions": each dimension is centered and has norm sqrt(N / M), variant B, equation
            14. Each view has its own batch statistics.
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
        ValueError: if the temperature is not positive, the negatives, similarity or normalization
            are unknown, the block size is below 1, or the embeddings are invalid (see `Criterion`).

    Example:
        Identical embeddings carry no information: every candidate is as likely as the positive.

        >>> import numpy as np
        >>> z = np.ones((8, 5))
        >>> print(f"{float(NTXentLoss()(z, z)):.3f} = log(15) = {np.log(15):.3f}")
        2.708 = log(15) = 2.708
    """

    # This is the only difference from DCL.
    _positive_in_denominator = True

    # SimCLR's grid (appendix B.9) is 0.1, 0.5, 1. Table S6 of the duality paper has 0.1 and 0.15.
    search_ranges = {"temperature": (0.02, 1.0)}

    def __init__(
        self,
        temperature: float = 0.15,
        negatives: str = "all",
        similarity: str = "cosine",
        normalization: str = "embeddings",
        block_size: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.temperature = check_positive("temperature", temperature)
        self.negatives = check_choice("negatives", negatives, ("all", "same_view", "cross_view"))
        self.similarity = check_choice("similarity", similarity, _SIMILARITIES)
        self.normalization = check_choice("normalization", normalization, _NORMALIZATIONS)
        self.block_size = check_optional_count("block_size", block_size)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss."""
        return {"alignment": 1.0 / self.temperature, "contrast": 1.0}

    @property
    def equal_views(self) -> dict[str, float]:  # noqa: D102
        # The square and the absolute value of a cosine do not distinguish opposite embeddings from
        # equal ones. The cosine of centered embeddings does not distinguish shifted ones.
        is_cosine = self.similarity == "cosine" and self.normalization == "embeddings"
        return {"alignment": -1.0} if is_cosine else {}

    @property
    def settings_against_collapse(self) -> dict[str, str]:  # noqa: D102
        return {"temperature": "lower"}

    @on_shards
    def terms(self, z_1: Tensor, z_2: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted alignment and contrast."""
        normalize, f = _NORMALIZATIONS[self.normalization], _SIMILARITIES[self.similarity]
        z_1, z_2 = normalize(z_1), normalize(z_2)
        positives = f.value(ops.sum(z_1 * z_2, axis=1))  # (N,)

        log_sums = functools.partial(
            gram.sample_log_sum_exp,
            similarity=f,
            temperature=self.temperature,
            block_size=self.block_size,
        )
        if self.negatives == "all":
            both = ops.concatenate([z_1, z_2])
            contrast = log_sums(both, samples=ops.shape(z_1)[0])  # (2 N,)
        elif self.negatives == "same_view":
            contrast = ops.concatenate([log_sums(z_1), log_sums(z_2)])
        else:
            contrast = ops.concatenate(log_sums(z_1, z_2))
        logits = positives / self.temperature
        logits = ops.concatenate([logits, logits])
        # The loss of each anchor. It may be much smaller than either of its terms, whose rounded
        # means would lose the digits of the difference.
        loss = contrast - logits
        if self._positive_in_denominator:
            # This is logaddexp. Keras' own has a one-sided gradient where both arguments are equal.
            loss = ops.softplus(loss)
            contrast = logits + loss
        terms = {"alignment": -batch_mean(positives), "contrast": batch_mean(contrast)}
        weights = {"alignment": 1.0 / self.temperature, "contrast": 1.0}
        return Terms(terms, weights, batch_mean(loss))
