"""LARS, layer-wise adaptive rate scaling, the optimizer of nearly all published SSL results."""

import numbers
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_ssl._keras import may_decay, variable_index
from keras_ssl._tensors import Tensor, at_least
from keras_ssl._validation import check_fraction, check_non_negative, check_positive

# The codes that clip the trust ratio add this to its divisor.
_CLIPPED_EPSILON = 1e-8


def _norm(x: Tensor) -> Tensor:
    """Returns the Euclidean norm of all entries (`ops.norm` allows at most two axes)."""
    return ops.sqrt(ops.sum(ops.square(x)))


@keras.saving.register_keras_serializable(package="keras_ssl")
class LARS(keras.optimizers.Optimizer):
    """SGD with momentum that scales the step of each variable to the norm of its weights.

    A step on a variable w with gradient g, momentum m and learning rate lr is:

    ```
    g <- g + weight_decay * w
    g <- g * trust_coefficient * ||w|| / ||g||      (1 if either norm is 0)
    v <- m * v + g ; w <- w - lr * v                (default: VICReg's and Barlow Twins' code)
    v <- m * v + lr * g ; w <- w - v                (learning_rate_in_momentum: SimCLR's code)
    ```

    The two conventions differ only when the learning rate changes. Variables with one dimension or
    none (biases, and the scales and offsets of batch normalization) get neither weight decay nor
    scaling; without this exclusion VICReg and Barlow Twins diverge. The decay is part of the
    gradient (coupled), unlike the decay of Keras' optimizers.

    With `clip_trust_ratio`, as in the codes of TCR and solo-learn, the first two lines become:

    ```
    r <- trust_coefficient * ||w|| / (||g|| + weight_decay * ||w|| + 1e-8)
    g <- (g + weight_decay * w) * min(r / lr, 1)    (g as it is if either norm is 0)
    ```

    The size of a step is then min(r, lr): the learning rate limits the trust ratio, instead of
    multiplying it as above.

    Args:
        learning_rate: A float of at least 0, a schedule, or a callable. See
            `scaled_learning_rate` for the usual rule.
        momentum: m, in [0, 1].
        weight_decay: At least 0. Default 1e-6, as in the duality paper, VICReg and SimCLR.
        trust_coefficient: Positive. Default 0.001, as in the published codes; the duality paper
            does not give its own.
        learning_rate_in_momentum: Whether the momentum holds steps that contain the learning rate.
        clip_trust_ratio: Whether to clip the trust ratio at the learning rate, as above.
        one_dimensional_factor: Factor on the learning rate of variables with one dimension or none
            and of biases, also those of attention, positive. Default 1. Barlow Twins' code trains
            them at 0.0048 and the weights at 0.2, which is a factor of 0.024.
        name: Name of the optimizer.
        **kwargs: Other arguments of `keras.optimizers.Optimizer`, such as clipping and moving
            averages.

    Raises:
        ValueError: if a value is out of its range.

    Example:
        A step is 0.1 % of the norm of the weights, 5, whatever the size of the gradient.

        >>> weights = keras.Variable([[3.0, 4.0]])
        >>> optimizer = LARS(learning_rate=1.0, weight_decay=0.0)
        >>> optimizer.apply([ops.convert_to_tensor([[100.0, 0.0]])], [weights])
        >>> [round(float(weight), 4) for weight in weights.value[0]]
        [2.995, 4.0]

    References:
        - You et al.: Large batch training of convolutional networks, 2017.
        - The published codes of SimCLR, VICReg, Barlow Twins and TCR (zengyi-li/NMCE-release).
    """

    def __init__(
        self,
        learning_rate: Any = 0.3,
        momentum: float = 0.9,
        weight_decay: float = 1e-6,
        trust_coefficient: float = 0.001,
        learning_rate_in_momentum: bool = False,
        clip_trust_ratio: bool = False,
        one_dimensional_factor: float = 1.0,
        name: str = "lars",
        **kwargs: Any,
    ) -> None:
        if isinstance(learning_rate, numbers.Real):
            learning_rate = check_non_negative("learning_rate", float(learning_rate))
        # The base class does not get the weight decay, which it would keep apart from the gradient.
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.momentum = check_fraction("momentum", momentum)
        self.coupled_weight_decay = check_non_negative("weight_decay", weight_decay)
        self.trust_coefficient = check_positive("trust_coefficient", trust_coefficient)
        self.learning_rate_in_momentum = bool(learning_rate_in_momentum)
        self.clip_trust_ratio = bool(clip_trust_ratio)
        self.one_dimensional_factor = check_positive(
            "one_dimensional_factor", one_dimensional_factor
        )

    def build(self, variables: list[Any]) -> None:
        """Creates a momentum for each variable."""
        if self.built:
            return
        super().build(variables)
        # Keras keeps the biases of attention as (heads, size of a head).
        self._is_bias = tuple(len(v.shape) < 2 or v.name == "bias" for v in variables)
        self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Any) -> None:
        """Does one step on one variable."""
        gradient, learning_rate = self.adapted(gradient, variable, learning_rate)
        momentum = self.momentum_of(variable)
        if self.learning_rate_in_momentum:
            self.assign(momentum, self.momentum * momentum + learning_rate * gradient)
            self.assign_sub(variable, momentum)
        else:
            self.assign(momentum, self.momentum * momentum + gradient)
            self.assign_sub(variable, learning_rate * momentum)

    def momentum_of(self, variable: Any) -> keras.Variable:
        """Returns the momentum of a variable."""
        return self.momentums[variable_index(self, variable)]

    def adapted(
        self,
        gradient: Tensor,
        variable: Any,
        learning_rate: Any,
        norm: Callable[[Tensor], Tensor] = _norm,
    ) -> tuple[Tensor, Tensor]:
        """Returns what enters the momentum: the scaled gradient and the learning rate.

        Args:
            gradient: The gradient of the variable.
            variable: The variable.
            learning_rate: The learning rate, a scalar.
            norm: Function that returns the Euclidean norm of all entries.
        """
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        if self._is_bias[variable_index(self, variable)]:
            return gradient, learning_rate * self.one_dimensional_factor
        weight_decay = self.coupled_weight_decay if may_decay(self, variable) else 0.0
        decayed = gradient + weight_decay * variable
        weight_norm = norm(variable)
        gradient_norm = norm(gradient if self.clip_trust_ratio else decayed)
        is_defined = ops.logical_and(weight_norm > 0, gradient_norm > 0)
        if self.clip_trust_ratio:
            # The sum of the two norms, not the norm of the sum. If one is 0, nothing decays.
            divisor = gradient_norm + weight_decay * weight_norm + _CLIPPED_EPSILON
            ratio = self.trust_coefficient * weight_norm / divisor
            scale = ratio / ops.where(is_defined, at_least(ratio, learning_rate), 1)
            return ops.where(is_defined, scale * decayed, gradient), learning_rate
        ratio = weight_norm / ops.where(is_defined, gradient_norm, 1)
        factor = ops.where(is_defined, self.trust_coefficient * ratio, 1)
        return decayed * factor, learning_rate

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "momentum": self.momentum,
            "weight_decay": self.coupled_weight_decay,
            "trust_coefficient": self.trust_coefficient,
            "learning_rate_in_momentum": self.learning_rate_in_momentum,
            "clip_trust_ratio": self.clip_trust_ratio,
            "one_dimensional_factor": self.one_dimensional_factor,
        }
