"""Stopping at the first loss that is not a number."""

import math
from typing import Any

import keras


class NonFiniteLossError(FloatingPointError):
    """The loss became infinite or NaN; the message names the step and the terms."""


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` at the first step whose loss or terms are not finite.

    It raises rather than stop quietly, so that no later callback writes the broken weights over a
    good checkpoint. Keras' `TerminateOnNaN` watches the loss alone and does not say which term it
    was.
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
                f"All figures (means of the epoch so far): {figures}. Most often the learning rate "
                "is too high or has no warm-up; next in line are mixed_float16 (mixed_bfloat16 has "
                "the range of float32) and images that are not in [0, 1]."
            )
