"""What JAX and PyTorch have in common: one program computes the whole batch."""

import contextlib
from typing import Any

import keras


class OneProgram:
    """What a `tf.distribute` strategy says of itself, where one program computes the whole batch.

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


class OneProgramModel(keras.Model):
    """The part of a `Trainer` that is the same on JAX and PyTorch."""

    distribute_strategy = OneProgram()

    def optimizer_scope(
        self, optimizer: keras.optimizers.Optimizer
    ) -> contextlib.AbstractContextManager[None]:
        """Opens a scope of a step of an optimizer."""
        return contextlib.nullcontext()


def check_micro_batches(rows: int, size: int) -> None:
    """Raises a `ValueError` unless micro-batches of `size` images fill a batch."""
    if rows % size:
        raise ValueError(
            "`micro_batch_size` must divide the number of images of a batch: drop the remainder. "
            f"Received: micro_batch_size={size}, {rows} images"
        )
