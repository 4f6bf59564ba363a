"""Alignment and uniformity of features on the unit hypersphere; no labels.

References:
    - Wang and Isola: Understanding contrastive representation learning through alignment and
      uniformity on the hypersphere, ICML 2020.
"""

from typing import Any

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.preprocessing import normalize


def alignment(features_1: Any, features_2: Any) -> float:
    """Mean squared distance of the two views of an image, `mean ||x_i - y_i||^2`; 0 is best.

    Args:
        features_1: Float (N, D), scaled to norm 1 here.
        features_2: Float (N, D), of the other views of the same images.

    Returns:
        From 0 to 4.
    """
    x, y = (normalize(np.asarray(f, np.float64)) for f in (features_1, features_2))
    return float(np.square(x - y).sum(axis=1).mean())


def uniformity(features: Any, temperature: float = 2.0, max_samples: int = 2048) -> float:
    """How evenly features lie on the sphere, `log mean_{i < j} exp(-t ||x_i - x_j||^2)`.

    Args:
        features: Float (N, D), N >= 2, scaled to norm 1 here.
        temperature: t, positive; 2 in the paper.
        max_samples: At most so many of the features are used, evenly: pairs are their square.

    Returns:
        At most 0, where all features are one; the lower, the more even. About -2 t for features
        evenly on a sphere of many dimensions.

    Raises:
        ValueError: for fewer than two features.
    """
    features = np.asarray(features, np.float64)
    x = normalize(features[:: max(1, -(-len(features) // max_samples))])
    if len(x) < 2:
        raise ValueError(f"`features` must hold at least 2 samples. Received: {len(x)}")
    return float(np.log(np.exp(-temperature * pdist(x, "sqeuclidean")).mean()))
