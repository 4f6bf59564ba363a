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
      jhaochenz96/spectral_contrastive_learning (ee431bd), zengyi-li/NMCE-release (b60a05e),
      google-deepmind/deepmind-research (f5de0ed), facebookresearch/simsiam (a7bc177),
      facebookresearch/moco-v3 (c349e6e), ssnl/align_uniform (78ccdb1), ThomasYerxa/mmcr (fafd3a9),
      OFSkean/FroSSL (e841c57), htdt/self-supervised (d9662c8),
      tsb0601/EMP-SSL (8fc3758).
"""

import inspect
import numbers
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from keras_ssl import losses
from keras_ssl._validation import (
    check_choice,
    check_non_negative,
    check_optional_count,
    check_positive,
)

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

    Example:
        `translate` returns one. The loss of BYOL's code is 2 - 2 cos, and ours is -cos.

        >>> import numpy as np
        >>> criterion, scale, offset = translate("authors", "BYOL")
        >>> z = np.eye(4, dtype="float32")
        >>> for other in (z, -z):  # equal views, then opposite ones
        ...     ours = float(criterion(z, other))
        ...     print(f"{ours:.1f} {scale * ours + offset:.1f}")
        -1.0 0.0
        1.0 4.0
    """

    criterion: losses.Criterion
    scale: float = 1.0
    offset: float = 0.0


def translate(convention: str, loss: str, **settings: Any) -> Translated:
    """Translates a loss of another code, with its settings, into one of our criteria.

    Settings that are not given have the defaults of the other code. The scale is 1 and the constant
    is 0 unless others are given here.

    lightly:

    - VICRegLoss(lambda_param=25, mu_param=25, nu_param=1, eps=0.0001)
    - NTXentLoss(temperature=0.5, memory_bank_size=0)
    - DCLLoss(temperature=0.1, weight_fn=None)
    - BarlowTwinsLoss(lambda_param=0.005)
    - NegativeCosineSimilarity(dim=1, eps=1e-08)
    - HypersphereLoss(t=1, lam=1, alpha=2)
    - WMSELoss(eps=0, w_iter=1, w_size=256)

    solo-learn:

    - vicreg_loss_func(sim_loss_weight=25, var_loss_weight=25, cov_loss_weight=1)
    - simclr_loss_func(temperature=0.1)
    - barlow_loss_func(lamb=0.005, scale_loss=0.025), with the scale `scale_loss`
    - byol_loss_func(simplified=True), with the scale 2 and the constant 2
    - simsiam_loss_func(simplified=True)
    - mocov3_loss_func(temperature=0.2), with the scale 2 `temperature`

    authors:

    - VICReg(sim_coeff=25, std_coeff=25, cov_coeff=1)
    - SimCLR(temperature=0.1, hidden_norm=True), with the scale 2
    - BarlowTwins(lambd=0.0051, scale_loss=1), with the scale `scale_loss`
    - DCL(temperature=0.5, weight_fn=None), with the scale 2
    - SpectralContrastive(mu=1)
    - TCR(eps=0.5, z_weight=100, z_hinge=1.2)
    - EMPSSL(eps=0.2, patch_sim=200, tcr=1), with the scale `tcr`
    - BYOL(), with the scale 2 and the constant 2
    - SimSiam()
    - MoCoV3(moco_t=1), with the scale 2 `moco_t`
    - AlignmentUniformity(align_w=1, unif_w=1, align_alpha=2, unif_t=2)
    - MMCR(lmbda=0)
    - IVNE(alpha_cos=4.16, alpha_vne=1), with the constant -`alpha_cos`
    - WMSE(w_eps=0, w_size=128, w_iter=1, norm=True)

    For lightly and solo-learn, these are arguments of the loss; for the authors, options of their
    training programs. The first four of lightly also take `gather_distributed`, which is ignored:
    our criteria always see the batch of all devices. The other losses are meant on one device,
    because on several some of them take statistics, or negatives, of each device alone. WMSELoss
    also takes `embedding_dim`, `momentum`, `track_running_stats` and `num_samples`, which do not
    change the loss of two views in training.

    BYOL, SimSiam and MoCo v3 are given for one direction: z_1 is a prediction and z_2 a target,
    whose gradient our models stop. Our models take the mean over both directions, as SimSiam's
    codes do. The codes of BYOL and MoCo v3 add both up: compared with our models, their scale and
    their constant are twice those here.

    W-MSE whitens `w_size` samples at a time (None: the batch), in a random order. In that order,
    both losses are equal. Without shrinkage, both fail where the covariance is singular. IVNE, from
    FroSSL's code, is a loss of two views.

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
            its range, or a value that no criterion of ours has. For a loss that one of our criteria
            resembles, the message says how they differ.

    Example:
        >>> translated = translate("authors", "SimCLR", temperature=0.5)
        >>> translated.criterion.temperature, translated.scale, translated.offset
        (0.5, 2.0, 0.0)
    """
    rows = _TABLE[check_choice("convention", convention, _TABLE)]
    if isinstance(loss, str) and loss in _NOT_OURS[convention]:
        raise ValueError(
            f"`loss` must be one that a criterion of ours equals: {_NOT_OURS[convention][loss]}. "
            f"Received: loss={loss!r} ({convention})"
        )
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


def _w_mse(w_size: Any, w_iter: Any) -> Translated:
    """Returns the criterion that whitens once, and shrinks by nothing but rounding."""
    _check_only("w_iter", w_iter, 1, "our WMSELoss whitens once")
    size = check_optional_count("w_size", w_size)
    if size == 1:
        raise ValueError("`w_size` must be at least 2. Received: w_size=1")
    return Translated(losses.WMSELoss(size, shrinkage=1e-16))


_NO_WEIGHT_FN = "our DCLLoss does not weight the positives, which would be DCLW"
_SQUARES = "our UniformityLoss takes the squares of the distances"
_OTHER_SHRINKAGE = "our WMSELoss shrinks to the mean variance, not to 1"

# One function for each loss of another code. Its arguments are their settings, with their defaults.
# A comment gives their formula, where d is the mean of (z_1 - z_2)^2, v_i the mean hinge of the
# standard deviations of view i, and c_i the sum of its squared covariances, divided by M. l_12 is
# the mean cross-entropy of the anchors of view 1, and l_21 that of view 2. C is the
# cross-correlation of the standardized views, divided by N. cos is the mean cosine of z_1 and z_2,
# u_i the uniformity of view i, and S_i the entropy of its spectrum.


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


def _lightly_cosine(dim: Any = 1, eps: Any = 1e-8) -> Translated:
    # -cos, as ours (negative_cosine_similarity.py).
    _check_only("dim", dim, 1, "our embeddings are rows")
    _check_only("eps", eps, 1e-8, "our AlignmentLoss has a smallest norm of its own")
    return Translated(losses.AlignmentLoss())


def _lightly_hypersphere(t: Any = 1.0, lam: Any = 1.0, alpha: Any = 2.0) -> Translated:
    # mean_i ||z_1i - z_2i||^alpha + lam (u_1 + u_2) / 2, of normalized embeddings
    # (hypersphere_loss.py).
    _check_only("alpha", alpha, 2.0, _SQUARES)
    weight = check_non_negative("lam", lam)
    return Translated(losses.UniformityLoss(1.0, weight, check_positive("t", t)))


def _lightly_w_mse(
    embedding_dim: Any = 128,
    momentum: Any = 0.01,
    eps: Any = 0.0,
    track_running_stats: Any = True,
    w_iter: Any = 1,
    w_size: Any = 256,
    num_samples: Any = 2,
) -> Translated:
    # 2 - 2 cos of whitened views, as ours (wmse_loss.py). It also takes another loss_fn.
    _check_only("eps", eps, 0.0, _OTHER_SHRINKAGE)
    return _w_mse(w_size, w_iter)


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


def _solo_byol(simplified: Any = True) -> Translated:
    # 2 - 2 cos for each direction, added up (solo/losses/byol.py, solo/methods/byol.py).
    return Translated(losses.AlignmentLoss(), scale=2.0, offset=2.0)


def _solo_simsiam(simplified: Any = True) -> Translated:
    # -cos for each direction, and the mean of both, as ours (solo/losses/simsiam.py,
    # solo/methods/simsiam.py).
    return Translated(losses.AlignmentLoss())


def _solo_moco(temperature: Any = 0.2) -> Translated:
    # 2 temperature times the cross-entropy of the own key among all keys, for each direction, added
    # up (solo/losses/mocov3.py, solo/methods/mocov3.py).
    criterion = losses.MoCoLoss(check_positive("temperature", temperature))
    return Translated(criterion, scale=2 * criterion.temperature)


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


def _authors_emp_ssl(eps: Any = 0.2, patch_sim: Any = 200.0, tcr: Any = 1.0) -> Translated:
    # patch_sim * alignment + tcr * coding_rate (main.py).
    weight, scale = check_non_negative("patch_sim", patch_sim), check_positive("tcr", tcr)
    return Translated(losses.EMPSSLLoss(weight / scale, check_positive("eps", eps)), scale)


def _authors_byol() -> Translated:
    # ||z_1 - z_2||^2 of normalized embeddings, which is 2 - 2 cos, for each direction, added up
    # (byol/utils/helpers.py, byol/byol_experiment.py).
    return Translated(losses.AlignmentLoss(), scale=2.0, offset=2.0)


def _authors_simsiam() -> Translated:
    # -cos for each direction, and the mean of both, as ours (main_simsiam.py).
    return Translated(losses.AlignmentLoss())


def _authors_moco(moco_t: Any = 1.0) -> Translated:
    # 2 moco_t times the cross-entropy of the own key among all keys, for each direction, added up
    # (moco/builder.py; the default is that of main_moco.py, for ResNet-50).
    criterion = losses.MoCoLoss(check_positive("moco_t", moco_t))
    return Translated(criterion, scale=2 * criterion.temperature)


def _authors_uniformity(
    align_w: Any = 1.0, unif_w: Any = 1.0, align_alpha: Any = 2.0, unif_t: Any = 2.0
) -> Translated:
    # align_w mean_i ||z_1i - z_2i||^align_alpha + unif_w (u_1 + u_2) / 2, of normalized embeddings
    # (align_uniform/__init__.py, examples/stl10/main.py).
    _check_only("align_alpha", align_alpha, 2.0, _SQUARES)
    alignment, uniformity = _weights(align_w=align_w, unif_w=unif_w)
    criterion = losses.UniformityLoss(alignment, uniformity, check_positive("unif_t", unif_t))
    return Translated(criterion)


def _authors_mmcr(lmbda: Any = 0.0) -> Translated:
    # -||c||_* + lmbda times the mean nuclear norm of an image's views, of normalized embeddings
    # (mmcr/cifar_stl/loss_mmcr.py, mmcr/imagenet/loss_mmcr.py). FroSSL's code has the first term.
    _check_only("lmbda", lmbda, 0.0, "our MMCRLoss has no term of each image's views")
    return Translated(losses.MMCRLoss())


def _authors_ivne(alpha_cos: Any = 4.16, alpha_vne: Any = 1.0) -> Translated:
    # -alpha_cos cos - alpha_vne (S_1 + S_2) / 2; ours has 1 - cos, and adds up the entropies
    # (solo/losses/ivne.py of FroSSL's code, scripts/pretrain/cifar/ivne.yaml). VNE's own code is
    # this if extra_views is 0; with more, it leaves out pairs of views.
    invariance, entropy = _weights(alpha_cos=alpha_cos, alpha_vne=alpha_vne)
    return Translated(losses.IVNELoss(invariance, entropy / 2), offset=-invariance)


def _authors_w_mse(
    w_eps: Any = 0.0, w_size: Any = 128, w_iter: Any = 1, norm: Any = True
) -> Translated:
    # 2 - 2 cos of whitened views, as ours (methods/w_mse.py; the defaults are those of cfg.py).
    _check_only("w_eps", w_eps, 0.0, _OTHER_SHRINKAGE)
    _check_only("norm", norm, True, "our WMSELoss always normalizes")
    return _w_mse(w_size, w_iter)


_TABLE: Mapping[str, Mapping[str, Callable[..., Translated]]] = {
    "lightly": {
        "VICRegLoss": _lightly_vicreg,
        "NTXentLoss": _lightly_nt_xent,
        "DCLLoss": _lightly_dcl,
        "BarlowTwinsLoss": _lightly_barlow_twins,
        "NegativeCosineSimilarity": _lightly_cosine,
        "HypersphereLoss": _lightly_hypersphere,
        "WMSELoss": _lightly_w_mse,
    },
    "solo-learn": {
        "vicreg_loss_func": _solo_vicreg,
        "simclr_loss_func": _solo_simclr,
        "barlow_loss_func": _solo_barlow_twins,
        "byol_loss_func": _solo_byol,
        "simsiam_loss_func": _solo_simsiam,
        "mocov3_loss_func": _solo_moco,
    },
    "authors": {
        "VICReg": _authors_vicreg,
        "SimCLR": _authors_simclr,
        "BarlowTwins": _authors_barlow_twins,
        "DCL": _authors_dcl,
        "SpectralContrastive": _authors_spectral,
        "TCR": _authors_tcr,
        "EMPSSL": _authors_emp_ssl,
        "BYOL": _authors_byol,
        "SimSiam": _authors_simsiam,
        "MoCoV3": _authors_moco,
        "AlignmentUniformity": _authors_uniformity,
        "MMCR": _authors_mmcr,
        "IVNE": _authors_ivne,
        "WMSE": _authors_w_mse,
    },
}

_RANDOM = (
    "it draws directions at random and cuts its integral off, where our SIGRegLoss takes all "
    "directions and the whole integral"
)

# Losses that a criterion of ours resembles, and what is different.
_NOT_OURS: Mapping[str, Mapping[str, str]] = {
    "lightly": {
        "FroSSLLoss": (
            "its factor of the invariance depends on the batch; for V views of N images in M "
            "dimensions, its invariance_weight w is losses.FroSSLLoss(w * V * M / N)"
        ),
        "MMCRLoss": (
            "it does not normalize embeddings; if they have norm 1, and lmda is 0, it is our "
            "MMCRLoss"
        ),
        "LeJEPALoss": _RANDOM,
        "EMPSSLLoss": (
            "its coding rate has the opposite sign: it makes embeddings fill as small a volume as "
            "they can, where our EMPSSLLoss, as the authors' code, makes it large"
        ),
    },
    "solo-learn": {
        "vibcreg_loss_func": (
            "it is our VIbCRegLoss(sim_loss_weight, 2 * var_loss_weight, cov_loss_weight), but for "
            "the 1e-5 that ours adds to the variances by which it divides covariances"
        ),
        "wmse_loss_func": (
            "it compares views that are whitened already, and its gradient stops at the second "
            "one, where our WMSELoss whitens both views and learns from both"
        ),
    },
    "authors": {
        "FroSSL": (
            "its factor of the invariance depends on the batch; for V views of N images in M "
            "dimensions, its invariance_weight w is losses.FroSSLLoss(w * V * M / N)"
        ),
        "LeJEPA": _RANDOM,
    },
}
