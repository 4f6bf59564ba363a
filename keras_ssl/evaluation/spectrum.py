"""RankMe, alpha-ReQ, LiDAR: how many dimensions features use, and how evenly, without labels."""

from typing import Any

import numpy as np

from keras_ssl._validation import check_count, check_positive
from keras_ssl.evaluation.features import finite

# Garrido et al., RankMe: 25,600 samples estimate the rank of 2,048 dimensions well.
_MAX_SAMPLES = 25_600
_EPSILON = 1e-7


def rankme(features: Any) -> float:
    """Computes the effective rank: the exponential of the entropy of the singular values.

    The rank is `exp(-sum_k p_k log p_k)` with `p_k = s_k / sum_j s_j + 1e-7`, where s are the
    singular values of the features, which are not centered. It is computed in float64 from the
    first 25,600 samples.

    Args:
        features: Float (N, D).

    Returns:
        Effective rank, from 1 to min(N, D) (up to the 1e-7).

    Raises:
        ValueError: for features that are not a matrix, or not finite.

    Example:
        >>> print(f"{rankme(np.eye(8)):.3f}")
        8.000

    References:
        - Garrido et al.: RankMe, ICML 2023.
    """
    features = _finite(features, 2, "a matrix (N, D)")
    return _effective_rank(np.linalg.svd(features, compute_uv=False))


def alpha_req(features: Any, first: int = 4, last: int = 100) -> float:
    """Fits the decay of the covariance's eigenvalues: alpha of `lambda_i ~ i^-alpha`.

    -alpha is the slope of log lambda_i against log i. It is fitted by least squares weighted by
    1 / i, over the ranks i from `first` to `last`, or up to the last eigenvalue above 1e-10 of the
    largest. The paper's authors use this fit, which they took from Stringer et al. A spectrum that
    falls too fast (a large alpha) has collapsed to few dimensions, and a flat one (0) has no
    structure: the paper finds the best encoders near alpha = 1. To choose an encoder, monitor
    `|alpha - 1|`.

    Args:
        features: Float (N, D); the function centers them. The first 25,600 are used.
        first: First rank, at least 1. The largest eigenvalues do not follow the law; the authors'
            code begins with 4 or, if there are many dimensions, with 11.
        last: Last rank, above `first`. The default, 100, is the authors'.

    Returns:
        alpha, or NaN if fewer than two eigenvalues are left to fit.

    Raises:
        ValueError: for features that are not a finite matrix, or if `last` is not above `first`.

    Example:
        >>> i = np.arange(1, 65)
        >>> rotation = np.linalg.qr(np.random.RandomState(0).randn(64, 64))[0]
        >>> sides = np.concatenate([np.eye(64), -np.eye(64)])  # of mean zero
        >>> print(f"{alpha_req(sides * i**-0.5 @ rotation):.3f}")
        1.000

    References:
        - Agrawal et al.: alpha-ReQ, NeurIPS 2022, and its code.
        - Stringer et al.: High-dimensional geometry of population responses, Nature 2019.
    """
    features = _finite(features, 2, "a matrix (N, D)")
    if check_count("last", last) <= check_count("first", first):
        raise ValueError(f"`last` must be above `first`. Received: first={first}, last={last}")
    centered = features - features.mean(axis=0)
    eigenvalues = np.linalg.svd(centered, compute_uv=False) ** 2
    eigenvalues = eigenvalues[eigenvalues > 1e-10 * max(eigenvalues[0], 1e-300)]
    ranks = np.arange(first, min(last, len(eigenvalues)) + 1)
    if len(ranks) < 2:
        return float("nan")
    # polyfit's weights are those of the residuals, not of their squares.
    slope, _ = np.polyfit(np.log(ranks), np.log(eigenvalues[ranks - 1]), 1, w=ranks**-0.5)
    return float(-slope)


def lidar(features: Any, delta: float = 1e-4) -> float:
    """Computes LiDAR: the rank of what tells images apart, relative to what augmentations change.

    The rank is `exp(-sum_k p_k log p_k)` with `p_k = l_k / sum_j l_j + 1e-7`, where l are the
    eigenvalues of `W^-1/2 B W^-1/2`. B is the covariance of the images' means, and W is the mean
    covariance of the views of one image, plus delta I. It is computed in float64.

    Args:
        features: Float (images N, views Q, D), Q >= 2; one row holds the views of one image. The
            paper uses 1,000 images; ten views are enough for methods trained with augmentations.
        delta: Regularization of W, positive; 1e-4 in the paper. If the rounding error of W is
            larger, it takes the place of delta.

    Returns:
        From 1 to min(N - 1, D) (up to the 1e-7).

    Raises:
        ValueError: for features of another rank, of fewer than two views, or that are not finite.

    Example:
        >>> random = np.random.RandomState(0)
        >>> images = random.randn(500, 1, 8) * [1, 1, 1, 0, 0, 0, 0, 0]
        >>> print(f"{lidar(images + 0.1 * random.randn(500, 10, 8)):.1f}")
        3.0

    References:
        - Thilak et al.: LiDAR, ICLR 2024.
    """
    delta = check_positive("delta", delta)
    features = _finite(features, 3, "(images N, views Q >= 2, D)")
    images, views, dimensions = features.shape
    if views < 2:
        raise ValueError(
            "`features` must hold at least 2 views of each image, (images N, views Q, D). "
            f"Received: shape={features.shape}"
        )
    means = features.mean(axis=1)
    between = means - means.mean(axis=0)
    within = (features - means[:, None]).reshape(-1, dimensions)
    w = within.T @ within / len(within)
    # Of very large features, rounding makes eigenvalues of W more negative than delta.
    rounding = dimensions * np.finfo(np.float64).eps * np.trace(w)
    w += max(delta, rounding) * np.eye(dimensions)
    # W = L L^T: the eigenvalues of W^-1/2 B W^-1/2 are the squares of the singular values of
    # L^-1 times the centered means.
    whitened = np.linalg.solve(np.linalg.cholesky(w), between.T) / np.sqrt(images)
    return _effective_rank(np.linalg.svd(whitened, compute_uv=False) ** 2)


def _finite(features: Any, rank: int, description: str) -> np.ndarray:
    """Checks features and returns the first 25,600 in float64."""
    return finite("features", features, rank, description, _MAX_SAMPLES)


def _effective_rank(spectrum: np.ndarray) -> float:
    """Returns the exponential of the entropy of a spectrum, whose values are at least 0."""
    total = spectrum.sum()
    if total == 0:
        return 1.0  # All features are zero or equal: they have one direction.
    p = spectrum / total + _EPSILON
    return float(np.exp(-np.sum(p * np.log(p))))
