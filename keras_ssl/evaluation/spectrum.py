"""RankMe: how many dimensions the features use, without labels."""

from typing import Any

import numpy as np

# Garrido et al., RankMe: 25,600 samples estimate the rank of 2,048 dimensions well.
_MAX_SAMPLES = 25_600
_EPSILON = 1e-7


def rankme(features: Any) -> float:
    """Effective rank: the exponential of the entropy of the normalised singular values.

    `exp(-sum_k p_k log p_k)`, `p_k = s_k / sum_j s_j + 1e-7`, s the singular values of the
    features, not centred. Computed in float64 from the first 25,600 samples.

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
    features = np.asarray(features)
    shape = features.shape
    features = np.asarray(features[:_MAX_SAMPLES], np.float64)
    if len(shape) != 2 or not np.isfinite(features).all():
        raise ValueError(
            f"`features` must be a matrix (N, D) of finite numbers. Received: {shape=}"
        )
    singular_values = np.linalg.svd(features, compute_uv=False)
    total = singular_values.sum()
    if total == 0:
        return 1.0  # All features are zero: no more than one direction.
    p = singular_values / total + _EPSILON
    return float(np.exp(-np.sum(p * np.log(p))))
