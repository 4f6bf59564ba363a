"""Whether the replicas still hold the same: a layer of one's own may not know of the others."""

import warnings
from typing import Any

import keras
import numpy as np


class CompareReplicas(keras.callbacks.Callback):
    """Warns after the first step of a fit of layers whose state differs between replicas.

    Keras' batch normalization is synchronized; a layer of one's own that keeps statistics of the
    batch sees the images of its replica alone, and only the first replica's state is saved.
    """

    def __init__(self) -> None:
        super().__init__()
        self._is_done = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Compares, once."""
        if self._is_done:
            return
        self._is_done = True
        strategy = self.model.distribute_strategy
        differing = set()
        for variable in self.model.non_trainable_variables:
            copies = [
                np.asarray(copy) for copy in strategy.experimental_local_results(variable.value)
            ]
            if any(not np.array_equal(copies[0], other) for other in copies[1:]):
                differing.add(variable.path.rpartition("/")[0])
        if differing:
            warnings.warn(
                f"The state of the layers {sorted(differing)} is another on each replica: they see "
                "the images of their own replica alone, and the first replica's state is what is "
                "saved. Take means over the batch by keras_ssl.distribution.batch_mean(x, axis=0), "
                "or use keras.layers.BatchNormalization.",
                stacklevel=2,
            )
