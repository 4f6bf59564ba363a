"""LARS, layer-wise adaptive rate scaling: the optimizer of nearly all published SSL results."""

from typing import Any

import keras
from keras import ops

from keras_ssl._validation import check_fraction, check_non_negative, check_positive

# Keeps the clipped ratio defined where both norms are 0: the published codes that clip.
_EPSILON = 1e-8


def _norm(x: Any) -> Any:
    """Euclidean norm of all entries, scalar (`ops.norm` wants at most two axes)."""
    return ops.sqrt(ops.sum(ops.square(x)))


@keras.saving.register_keras_serializable(package="keras_ssl")
class LARS(keras.optimizers.Optimizer):
    """SGD with momentum whose step is scaled, variable by variable, to the norm of the weights.

    For a variable w with gradient g, momentum m, learning rate lr:

    ```
    g <- g + weight_decay * w
    g <- g * trust_coefficient * ||w|| / ||g||      (1 if either norm is 0)
    v <- m * v + g ; w <- w - lr * v                (default: VICReg's and Barlow Twins' code)
    v <- m * v + lr * g ; w <- w - v                (learning_rate_in_momentum: SimCLR's code)
    ```

    The two conventions differ only where the learning rate changes. With `clip`, the second line is

    ```
    g <- g * min(trust_coefficient * ||w|| / (||g|| + weight_decay * ||w|| + 1e-8) / lr, 1)
    ```

    with ||g|| before the decay: no variable takes a larger step than lr would give it, so that the
    trust coefficient is the largest step relative to the weights. (The codes of NMCE, solo-learn
    and others, with a trust coefficient of 0.02.)

    Variables of one dimension or
    none, biases and the scales and offsets of batch normalisation, get neither weight decay nor
    scaling: without this exclusion VICReg and Barlow Twins diverge. The decay is part of the
    gradient (coupled), unlike that of Keras' optimizers.

    Args:
        learning_rate: Float, schedule, or callable. See `scaled_learning_rate` for the rule.
        momentum: m, in [0, 1].
        weight_decay: At least 0. Default 1e-6: the duality paper, VICReg, SimCLR.
        trust_coefficient: Positive. Default 0.001: the published codes; the duality paper does not
            give its own.
        learning_rate_in_momentum: Whether the momentum holds steps that contain the learning rate.
        clip: Whether a step is clipped to that of the learning rate, see above.
        vector_factor: Factor of the learning rate of variables of one dimension or none, at
            least 0. Default 1; Barlow Twins' code has 0.0048 / 0.2.
        name: Name of the optimizer.
        **kwargs: Clipping, moving averages and the rest of `keras.optimizers.Optimizer`.

    Raises:
        ValueError: for a value out of its range.

    References:
        - You et al.: Large batch training of convolutional networks, 2017.
        - The published codes of SimCLR, VICReg, Barlow Twins and NMCE (TCR).
    """

    def __init__(
        self,
        learning_rate: Any = 0.3,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 0.001,
        learning_rate_in_momentum: bool = False,
        clip: bool = False,
        vector_factor: float = 1.0,
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        # The base class would decay the weights apart from the gradient: it is told nothing.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = check_fraction("momentum", momentum)
        self.coupled_weight_decay = check_non_negative("weight_decay", weight_decay)
        self.trust_coefficient = check_positive("trust_coefficient", trust_coefficient)
        self.learning_rate_in_momentum = bool(learning_rate_in_momentum)
        self.clip = bool(clip)
        self.vector_factor = check_non_negative("vector_factor", vector_factor)

    def build(self, variables: list[Any]) -> None:
        """Creates one momentum per variable."""
        if self.built:
            return
        super().build(variables)
        self._momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """One step of one variable."""
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        momentum = self._momentums[self._get_variable_index(variable)]

        if len(variable.shape) > 1:
            decayed = gradient + self.coupled_weight_decay * variable
            gradient = decayed * self._ratio(gradient, decayed, variable, learning_rate)
        else:
            learning_rate = learning_rate * self.vector_factor

        if self.learning_rate_in_momentum:
            self.assign(momentum, self.momentum * momentum + learning_rate * gradient)
            self.assign_sub(variable, momentum)
        else:
            self.assign(momentum, self.momentum * momentum + gradient)
            self.assign_sub(variable, learning_rate * momentum)

    def _ratio(self, gradient: Any, decayed: Any, variable: Any, learning_rate: Any) -> Any:
        """What the gradient of a variable is scaled by, scalar; 1 if a norm is 0."""
        weight_norm = _norm(variable)
        if self.clip:
            gradient_norm = _norm(gradient)
            norm = gradient_norm + self.coupled_weight_decay * weight_norm + _EPSILON
        else:
            gradient_norm = norm = _norm(decayed)
        is_defined = ops.logical_and(weight_norm > 0, gradient_norm > 0)
        ratio = self.trust_coefficient * weight_norm / ops.where(is_defined, norm, 1)
        if self.clip:
            # Of a learning rate of 0 nothing is left whatever the ratio.
            ratio = ops.minimum(ratio / ops.maximum(learning_rate, keras.config.epsilon()), 1)
        return ops.where(is_defined, ratio, 1)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "weight_decay": self.coupled_weight_decay,
            "trust_coefficient": self.trust_coefficient,
            "learning_rate_in_momentum": self.learning_rate_in_momentum,
            "clip": self.clip,
            "vector_factor": self.vector_factor,
        }
