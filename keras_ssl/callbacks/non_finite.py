"""Stops training at the first figure or weight that is not a finite number."""

import math
from typing import Any

import keras
from keras import ops

_MOST_OFTEN = (
    "The most common cause is a learning rate that is too high or has no warm-up; the next are "
    "mixed_float16 (mixed_bfloat16 has the range of float32) and images that are not in [0, 1]."
)


class NonFiniteLossError(FloatingPointError):
    """The loss or a weight became infinite or NaN; the message names the step and the figures."""


def check_weights(model: keras.Model) -> None:
    """Raises a `NonFiniteLossError` if a weight of the model is not finite.

    The loss of a step is computed before its weights change, so that it can still be finite.
    """
    broken = [
        variable.path
        for variable in model.weights
        if keras.backend.is_float_dtype(variable.dtype)
        and not bool(ops.all(ops.isfinite(variable.value)))
    ]
    if broken:
        raise NonFiniteLossError(
            f"Not finite: {len(broken)} of {len(model.weights)} weights, {broken[0]} first. "
            f"{_MOST_OFTEN}"
        )


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` at the first step whose figures are not finite.

    At the end of an epoch it also checks the weights, because the last step may have broken them.
    It raises an error, and does not stop quietly, so that no later callback writes broken weights
    over a good checkpoint: put it first in the list. Keras' `TerminateOnNaN` watches only the loss,
    and does not say which term was not finite.

    Example:
        `fit` calls this method after every step.

        >>> callback = StopOnNonFinite()
        >>> logs = {"loss": math.nan, "invariance": 0.5}
        >>> callback.on_train_batch_end(0, logs)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        keras_ssl.callbacks.non_finite.NonFiniteLossError: Not finite at step 1 of epoch 1: ...
    """

    def __init__(self) -> None:
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers the epoch for the message."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks every figure of the step."""
        values = {name: float(value) for name, value in (logs or {}).items()}
        broken = [name for name, value in values.items() if not math.isfinite(value)]
        if broken:
            figures = ", ".join(f"{name}={value:.4g}" for name, value in values.items())
            raise NonFiniteLossError(
                f"Not finite at step {batch + 1} of epoch {self._epoch + 1}: {', '.join(broken)}. "
                f"All figures (means of the epoch so far): {figures}. {_MOST_OFTEN}"
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Checks the weights."""
        check_weights(self.model)
