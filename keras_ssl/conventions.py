"""Settings of other libraries and of the authors' published codes, translated into ours.

Losses with the same name differ by factors from one code to the next. `translate` takes the
settings that a loss has elsewhere, and returns one of our criteria with the factor between the two.

>>> translated = translate("solo-learn", "vicreg_loss_func", cov_loss_weight=2.0)
>>> translated.criterion.weights, translated.scale
({'invariance': 25.0, 'variance': 50.0, 'covariance': 2.0}, 1.0)

References:
    - lightly 1.6.0, the classes in lightly/loss/.
    - solo-learn 1.0.6 (vturrisi/solo-learn, commit 9187ea3), the functions in solo/losses/.
    - The authors' codes: facebookresearch/vicreg (4e12602), google-research/simclr (383d414),
      facebookresearch/barlowtwins (8e8d284), raminnakhli/Decoupled-Contrastive-Learning (0b9b76d),
      jhaochenz96/spectral_contrastive_learning (ee431bd), zengyi-li/NMCE-release (b60a05e).
"""

import inspect
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras_ssl import losses
from keras_ssl._validation import check_choice, check_non_negative, check_positive

__all__ = ["Translated", "translate"]


class Translated(NamedTuple):
    """A loss of another code in terms of ours.

    `theirs(z_1, z_2) = scale * criterion(z_1, z_2) + offset`

    The offset has no gradient. An optimizer may see the scale. For the same training:

    - SGD, and `LARS` with `clip_trust_ratio`: multiply the learning rate by `scale`, and divide the
      weight decay by it.
    - `LARS` without: multiply `one_dimensional_factor` by `scale`, and divide the weight decay by
      it. The learning rate stays the same.
    - Adam and AdamW of Keras: change nothing.

    (The divisors' epsilons are left out. So is clipping of gradients, whose limits a scale shifts.)

    Attributes:
        criterion: One of `keras_ssl.losses`.
        scale: The factor, positive.
        offset: The constant.
    """

    criterion: losses.Criterion
    scale: float = 1.0
    offset: float = 0.0


def translate(convention: str, loss: str, **settings: Any) -> Translated:
    """Translates a loss of another code, with its settings, into one of our criteria.

    Settings that are not given have the defaults of the other code. The scale is 1 unless another
    one is given here.

    lightly:

    - VICRegLoss(lambda_param=25, mu_param=25, nu_param=1, eps=0.0001)
    - NTXentLoss(temperature=0.5, memory_bank_size=0)
    - DCLLoss(temperature=0.1, weight_fn=None)
    - BarlowTwinsLoss(lambda_param=0.005)

    solo-learn:

    - vicreg_loss_func(sim_loss_weight=25, var_loss_weight=25, cov_loss_weight=1)
    - simclr_loss_func(temperature=0.1)
    - barlow_loss_func(lamb=0.005, scale_loss=0.025), with the scale `scale_loss`

    authors:

    - VICReg(sim_coeff=25, std_coeff=25, cov_coeff=1)
    - SimCLR(temperature=0.1, hidden_norm=True), with the scale 2
    - BarlowTwins(lambd=0.0051, scale_loss=1), with the scale `scale_loss`
    - DCL(temperature=0.5, weight_fn=None), with the scale 2
    - SpectralContrastive(mu=1)
    - TCR(eps=0.5, z_weight=100, z_hinge=1.2)

    For lightly and solo-learn, these are arguments of the loss; for the authors, options of their
    training programs. Losses of lightly also take `gather_distributed`, which is ignored: our
    criteria always see the batch of all devices. The other losses are meant on one device, because
    on several some of them take statistics, or negatives, of each device alone.

    Both losses are equal up to rounding. Only embeddings with a norm below 1e-6, where they are
    normalized, are treated differently.

    Args:
        convention: "lightly", "solo-learn" or "authors".
        loss: Name of the class or function, or of the authors' method, as above.
        **settings: Settings of that loss by its own names. Weights are at least 0, temperatures and
            other numbers positive.

    Returns:
        The criterion, with the factor and the constant between the two losses; see `Translated`.

    Raises:
        ValueError: for a convention, a loss or a setting that is not listed above, a number out of
            its range, or a value that no criterion of ours has.

    Example:
        >>> translated = translate("authors", "SimCLR", temperature=0.5)
        >>> translated.criterion.temperature, translated.scale, translated.offset
        (0.5, 2.0, 0.0)
    """
    rows = _TABLE[check_choice("convention", convention, _TABLE)]
    row = rows[check_choice("loss", loss, rows)]
    known = list(inspect.signature(row).parameters)
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ValueError(
            f"`settings` must be those of {loss} ({convention}), which are {known}. Received: "
            f"{', '.join(map(repr, unknown))}"
        )
    return row(**settings)


def _check_only(name: str, value: Any, only: Any, reason: str) -> None:
    """Raises a `ValueError` unless a setting has the only value that our criteria have."""
    if value is only or (isinstance(value, numbers.Real) and value == only):
        return
    raise ValueError(f"`{name}` must be {only!r}: {reason}. Received: {name}={value!r}")


def _weights(**weights: Any) -> list[float]:
    """Returns the weights as floats, or raises a `ValueError` that names the wrong one."""
    return [check_non_negative(name, weight) for name, weight in weights.items()]


_NO_WEIGHT_FN = "our DCLLoss does not weight the positives, which would be DCLW"

# One function for each loss of another code. Its arguments are their settings, with their defaults.
# A comment gives their formula, where d is the mean of (z_1 - z_2)^2, v_i the mean hinge of the
# standard deviations of view i, and c_i the sum of its squared covariances, divided by M. l_12 is
# the mean cross-entropy of the anchors of view 1, and l_21 that of view 2. C is the
# cross-correlation of the standardized views, divided by N.


def _lightly_vicreg(
    lambda_param: Any = 25.0,
    mu_param: Any = 25.0,
    nu_param: Any = 1.0,
    gather_distributed: Any = False,
    eps: Any = 1e-4,
) -> Translated:
    # lambda d + mu (v_1 + v_2) / 2 + nu (c_1 + c_2), as ours (vicreg_loss.py). eps is added to
    # the variance.
    _check_only("eps", eps, 1e-4, "our VICRegLoss has the published epsilon")
    invariance, variance, covariance = _weights(
        lambda_param=lambda_param, mu_param=mu_param, nu_param=nu_param
    )
    return Translated(losses.VICRegLoss(invariance, variance, covariance))


def _lightly_nt_xent(
    temperature: Any = 0.5, memory_bank_size: Any = 0, gather_distributed: Any = False
) -> Translated:
    # (l_12 + l_21) / 2, with 2N - 2 negatives, as ours (ntx_ent_loss.py).
    _check_only("memory_bank_size", memory_bank_size, 0, "our NTXentLoss has no memory bank")
    return Translated(losses.NTXentLoss(check_positive("temperature", temperature)))


def _lightly_dcl(
    temperature: Any = 0.1, weight_fn: Any = None, gather_distributed: Any = False
) -> Translated:
    # (l_12 + l_21) / 2, without the positive in the denominator, as ours (dcl_loss.py).
    _check_only("weight_fn", weight_fn, None, _NO_WEIGHT_FN)
    return Translated(losses.DCLLoss(check_positive("temperature", temperature)))


def _lightly_barlow_twins(lambda_param: Any = 5e-3, gather_distributed: Any = False) -> Translated:
    # sum_i (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2, as ours (barlow_twins_loss.py).
    return Translated(losses.BarlowTwinsLoss(check_non_negative("lambda_param", lambda_param)))


def _solo_vicreg(
    sim_loss_weight: Any = 25.0, var_loss_weight: Any = 25.0, cov_loss_weight: Any = 1.0
) -> Translated:
    # sim d + var (v_1 + v_2) + cov (c_1 + c_2): the variance is not halved (solo/losses/vicreg.py).
    invariance, variance, covariance = _weights(
        sim_loss_weight=sim_loss_weight,
        var_loss_weight=var_loss_weight,
        cov_loss_weight=cov_loss_weight,
    )
    return Translated(losses.VICRegLoss(invariance, 2 * variance, covariance))


def _solo_simclr(temperature: Any = 0.1) -> Translated:
    # The mean over the 2N anchors, as ours, if no image is twice in a batch
    # (solo/losses/simclr.py).
    return Translated(losses.NTXentLoss(check_positive("temperature", temperature)))


def _solo_barlow_twins(lamb: Any = 5e-3, scale_loss: Any = 0.025) -> Translated:
    # scale_loss (sum_i (C_ii - 1)^2 + lamb sum_{i != j} C_ij^2) (solo/losses/barlow.py). Their
    # method, solo/methods/barlow_twins.py, has other defaults than this function: 0.0051 and 0.024.
    criterion = losses.BarlowTwinsLoss(check_non_negative("lamb", lamb))
    return Translated(criterion, scale=check_positive("scale_loss", scale_loss))


def _authors_vicreg(
    sim_coeff: Any = 25.0, std_coeff: Any = 25.0, cov_coeff: Any = 1.0
) -> Translated:
    # sim d + std (v_1 + v_2) / 2 + cov (c_1 + c_2), as ours (main_vicreg.py). In their paper, v is
    # not halved, and d is a sum over dimensions.
    invariance, variance, covariance = _weights(
        sim_coeff=sim_coeff, std_coeff=std_coeff, cov_coeff=cov_coeff
    )
    return Translated(losses.VICRegLoss(invariance, variance, covariance))


def _authors_simclr(temperature: Any = 0.1, hidden_norm: Any = True) -> Translated:
    # l_12 + l_21, with 2N - 2 negatives (tf2/objective.py; the defaults are those of tf2/run.py).
    _check_only("hidden_norm", hidden_norm, True, "our NTXentLoss always normalizes")
    criterion = losses.NTXentLoss(check_positive("temperature", temperature))
    return Translated(criterion, scale=2.0)


def _authors_barlow_twins(lambd: Any = 0.0051, scale_loss: Any = 1.0) -> Translated:
    # sum_i (C_ii - 1)^2 + lambd sum_{i != j} C_ij^2 (main.py). Until June 2021 (commit 046eec3),
    # this was multiplied by scale_loss. Its default was then 1/32, and that of lambd 0.0039.
    criterion = losses.BarlowTwinsLoss(check_non_negative("lambd", lambd))
    return Translated(criterion, scale=check_positive("scale_loss", scale_loss))


def _authors_dcl(temperature: Any = 0.5, weight_fn: Any = None) -> Translated:
    # l_12 + l_21, without the positive in the denominator, of normalized embeddings
    # (experiment/simclr/main.py, which has another default than loss/dcl.py: 0.1). They add -103.6
    # to the logits that we leave out, which is the same above a temperature of 0.03.
    _check_only("weight_fn", weight_fn, None, _NO_WEIGHT_FN)
    return Translated(losses.DCLLoss(check_positive("temperature", temperature)), scale=2.0)


def _authors_spectral(mu: Any = 1.0) -> Translated:
    # (-2 mean_i z_1i . z_2i + mean_{i != j} (z_1i . z_2j)^2) / mu in a ball of radius sqrt(mu), as
    # ours (models/spectral.py).
    return Translated(losses.SpectralContrastiveLoss(check_positive("mu", mu)))


def _authors_tcr(eps: Any = 0.5, z_weight: Any = 100.0, z_hinge: Any = 1.2) -> Translated:
    # -z_weight * mean cosine - (R_1 + R_2) / 2, where R is the coding rate and eps is epsilon
    # squared, as ours (NMCE/train_selfsup.py, which does not use z_hinge).
    weight = check_non_negative("z_weight", z_weight)
    return Translated(losses.CodingRateLoss(weight, check_positive("eps", eps)))


_TABLE: Mapping[str, Mapping[str, Callable[..., Translated]]] = {
    "lightly": {
        "VICRegLoss": _lightly_vicreg,
        "NTXentLoss": _lightly_nt_xent,
        "DCLLoss": _lightly_dcl,
        "BarlowTwinsLoss": _lightly_barlow_twins,
    },
    "solo-learn": {
        "vicreg_loss_func": _solo_vicreg,
        "simclr_loss_func": _solo_simclr,
        "barlow_loss_func": _solo_barlow_twins,
    },
    "authors": {
        "VICReg": _authors_vicreg,
        "SimCLR": _authors_simclr,
        "BarlowTwins": _authors_barlow_twins,
        "DCL": _authors_dcl,
        "SpectralContrastive": _authors_spectral,
        "TCR": _authors_tcr,
    },
}
