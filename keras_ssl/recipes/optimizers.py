"""Optimizers of recipes: functions of a learning rate and a weight decay, as in published codes."""

from collections.abc import Callable
from typing import Any

import keras

from keras_ssl.optimizers import LARS

_MOMENTUM = 0.9


def adamw(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes AdamW with Keras' constants.

    Example:
        >>> optimizer = adamw(0.006, 1e-4)
        >>> type(optimizer).__name__, optimizer.weight_decay
        ('AdamW', 0.0001)
    """
    return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)


def sgd(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes SGD with momentum 0.9.

    The published codes add the decay to the gradient, where momentum multiplies it by
    1 / (1 - 0.9). Keras decays weights separately from the gradient, and therefore this function
    multiplies the decay by the factor. The two are equal except for a lag of some ten steps.

    Example:
        Keras gets ten times the decay.

        >>> optimizer = sgd(0.1, 1e-4)
        >>> optimizer.momentum, f"{optimizer.weight_decay:.4f}"
        (0.9, '0.0010')
    """
    return keras.optimizers.SGD(
        learning_rate, momentum=_MOMENTUM, weight_decay=weight_decay / (1 - _MOMENTUM)
    )


def lars(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in VICReg's published code: one learning rate for all variables.

    Example:
        >>> optimizer = lars(0.3, 1e-6)
        >>> optimizer.momentum, optimizer.trust_coefficient, optimizer.one_dimensional_factor
        (0.9, 0.001, 1.0)
    """
    return LARS(learning_rate, _MOMENTUM, weight_decay)


def lars_simclr(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in SimCLR's published code: the learning rate is inside the momentum.

    Example:
        >>> [make(0.3, 1e-6).learning_rate_in_momentum for make in (lars_simclr, lars)]
        [True, False]
    """
    return LARS(learning_rate, _MOMENTUM, weight_decay, learning_rate_in_momentum=True)


def lars_tcr(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in TCR's published code: a trust coefficient of 0.02, and clipped steps.

    Example:
        >>> optimizer = lars_tcr(0.3, 1e-4)
        >>> optimizer.trust_coefficient, optimizer.clip_trust_ratio
        (0.02, True)
    """
    return LARS(
        learning_rate, _MOMENTUM, weight_decay, trust_coefficient=0.02, clip_trust_ratio=True
    )


def lars_emp_ssl(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in EMP-SSL's published code: as TCR's, with a trust coefficient of 0.005.

    The published code has Nesterov's momentum besides.

    Example:
        >>> optimizer = lars_emp_ssl(0.3, 1e-4)
        >>> optimizer.trust_coefficient, optimizer.clip_trust_ratio
        (0.005, True)
    """
    return LARS(
        learning_rate, _MOMENTUM, weight_decay, trust_coefficient=0.005, clip_trust_ratio=True
    )


def lars_solo(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in solo-learn's settings without clipping: a trust coefficient of 0.02.

    Example:
        >>> optimizer = lars_solo(0.3, 1e-4)
        >>> optimizer.trust_coefficient, optimizer.clip_trust_ratio
        (0.02, False)
    """
    return LARS(learning_rate, _MOMENTUM, weight_decay, trust_coefficient=0.02)


def lars_barlow_twins(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in Barlow Twins' published code: one-dimensional variables have another rate.

    The rate is 0.0048 for biases and batch normalization, and 0.2 for weights.

    Example:
        >>> factor = lars_barlow_twins(0.2, 1e-6).one_dimensional_factor
        >>> print(f"{0.2 * factor:.4f}")
        0.0048
    """
    return LARS(learning_rate, _MOMENTUM, weight_decay, one_dimensional_factor=0.0048 / 0.2)


OPTIMIZERS: dict[str, Callable[[Any, float], keras.optimizers.Optimizer]] = {
    f.__name__: f
    for f in (
        adamw,
        sgd,
        lars,
        lars_simclr,
        lars_tcr,
        lars_emp_ssl,
        lars_solo,
        lars_barlow_twins,
    )
}
"""Optimizers by name: functions of a learning rate and a weight decay."""
