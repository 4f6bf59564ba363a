"""`OneProgram`, in the place of a `tf.distribute` strategy on backends that have none."""

import contextlib
from typing import Any

import keras


class OneProgram:
    """What a strategy says of itself, where one program computes the whole batch.

    On JAX the compiler shares its work out among devices, as `keras.distribution` tells it.
    """

    num_replicas_in_sync = 1

    @property
    def device_count(self) -> int:
        """Number of devices that share every batch."""
        distribution = keras.distribution.distribution()
        return 1 if distribution is None else distribution.device_mesh.shape[0]

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Opens a scope that changes nothing."""
        return contextlib.nullcontext()
