"""Alignment and uniformity of features on the unit hypersphere, without labels.

References:
    - Wang and Isola: Understanding contrastive representation learning through alignment and
      uniformity on the hypersphere, ICML 2020.
"""

from typing import Any

import numpy as np

from keras_ssl._validation import check_count, check_positive
from keras_ssl.evaluation.features import finite


def alignment(features_1: Any, features_2: Any) -> float:
    """Computes the mean squared distance of two views, `mean ||x_i - y_i||^2`; 0 is best.

    Args:
        features_1: Float (N, D); the function scales them to norm 1.
        features_2: Float (N, D), of the other views of the same images.

    Returns:
        From 0 to 4.

    Raises:
        ValueError: for features that are not two finite matrices of one shape.

    Example:
        >>> x = np.eye(4)
        >>> alignment(x, 3 * x), alignment(x, -x)
        (0.0, 4.0)
    """
    from sklearn.preprocessing import normalize

    pair = {"features_1": features_1, "features_2": features_2}
    x, y = (normalize(finite(name, f, 2, "a matrix (N, D)")) for name, f in pair.items())
    if x.shape != y.shape:
        raise ValueError(
            "`features_1` and `features_2` must be of the same images. "
            f"Received: shapes {x.shape} and {y.shape}"
        )
    return float(np.square(x - y).sum(axis=1).mean())


def uniformity(features: Any, temperature: float = 2.0, max_samples: int = 2048) -> float:
    """Measures how evenly features lie on the sphere: `log mean_{i < j} exp(-t ||x_i - x_j||^2)`.

    Args:
        features: Float (N, D), N >= 2; the function scales them to norm 1.
        temperature: t, positive; 2 in the paper.
        max_samples: At most this many features are used, evenly spaced, because the number of
            pairs grows as the square.

    Returns:
        At most 0, which means that all features are equal. Lower is more even: about -2 t for
        features that lie evenly on a sphere of many dimensions.

    Raises:
        ValueError: for features that are not a finite matrix or are fewer than two, or for a
            temperature that is not positive.

    Example:
        >>> even = np.eye(8)  # all squared distances are 2
        >>> print(f"{uniformity(even):.3f} = -2 * 2")
        -4.000 = -2 * 2
    """
    from scipy.spatial.distance import pdist
    from scipy.special import logsumexp
    from sklearn.preprocessing import normalize

    temperature = check_positive("temperature", temperature)
    most = check_count("max_samples", max_samples)
    features = finite("features", features, 2, "a matrix (N, D)")
    x = normalize(features[:: max(1, -(-len(features) // most))])
    if len(x) < 2:
        raise ValueError(f"`features` must hold at least 2 samples. Received: {len(x)}")
    exponents = -temperature * pdist(x, "sqeuclidean")
    return float(logsumexp(exponents) - np.log(len(exponents)))
