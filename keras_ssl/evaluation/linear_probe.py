"""The offline linear probe: logistic regression on frozen features."""

import warnings
from typing import Any

import numpy as np

from keras_ssl._validation import check_positive
from keras_ssl.evaluation.features import Features
from keras_ssl.evaluation.knn import check_labels


def linear_accuracy(train: Features, test: Features, regularization: float = 1.0) -> float:
    """Computes the test accuracy of multinomial logistic regression on standardized features.

    The problem is convex and is solved by scikit-learn's L-BFGS; there is no learning rate to
    choose. The duality paper's offline probe is the same model, trained by 100 epochs of SGD on
    augmented images (supplement E).

    Args:
        train: Features to fit.
        test: Features to classify.
        regularization: Strength of the L2 penalty, positive: 1 / C of scikit-learn.

    Returns:
        Accuracy in [0, 1].

    Raises:
        ValueError: if labels are missing or all the same, or the strength is not positive.

    Example:
        >>> import numpy as np
        >>> train = Features(np.array([[-2.0], [-1.0], [1.0], [2.0]]), np.array([0, 0, 1, 1]))
        >>> test = Features(np.array([[-1.5], [1.5]]), np.array([0, 1]))
        >>> linear_accuracy(train, test)
        1.0
    """
    check_labels(train, test)
    strength = check_positive("regularization", regularization)
    if len(np.unique(train.labels)) < 2:
        raise ValueError(
            "`train` must have labels of two classes or more, for a classifier to learn: without "
            "labels (`labels=False`, --no-labels), an encoder is judged by its rank. Received: "
            f"{len(train.labels)} labels of one class"
        )
    return float(fitted_probe(train, strength).score(test.values, test.labels))


def fitted_probe(train: Features, regularization: float = 1.0) -> Any:
    """Fits the probe of `linear_accuracy`: scikit-learn's pipeline of scaler and regression."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(
        StandardScaler(), LogisticRegression(C=1 / regularization, tol=1e-3, max_iter=300)
    )
    with warnings.catch_warnings():
        # Raw pixels can need thousands of iterations to the optimum, but reach its accuracy in
        # hundreds: a probe that stops at 300 is good enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return probe.fit(train.values, train.labels)
