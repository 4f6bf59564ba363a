"""`OneDevice`, in the place of a `tf.distribute` strategy on backends that have none."""

import contextlib
from typing import Any


class OneDevice:
    """What a strategy says of itself, for one device."""

    num_replicas_in_sync = 1

    def scope(self) -> contextlib.AbstractContextManager[Any]:
        """Opens a scope that changes nothing."""
        return contextlib.nullcontext()
