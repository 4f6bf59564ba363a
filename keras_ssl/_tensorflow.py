"""TensorFlow, imported when it is first used: on JAX and PyTorch it need not be installed."""

import functools
import importlib.util
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import tensorflow as tf
else:

    class _WhenUsed:
        """Has all names of TensorFlow."""

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):  # Whoever looks through modules asks for such names.
                raise AttributeError(name)
            try:
                import tensorflow
            except ImportError:
                check_installed(f"this (tf.{name})")
                raise  # It is there, and broken.
            return getattr(tensorflow, name)

    tf = _WhenUsed()


@functools.cache
def is_installed() -> bool:
    """Whether there is a TensorFlow to import; `tf.data` then makes the batches."""
    spec = importlib.util.find_spec("tensorflow")
    return spec is not None and spec.has_location  # A folder of this name is not TensorFlow.


def check_installed(what: str) -> None:
    """Raises an `ImportError` if TensorFlow, which something needs, is not installed."""
    if not is_installed():
        raise ImportError(
            f"TensorFlow must be installed for {what}: pip install tensorflow. docs/backends.md "
            "says what works without it."
        )


def is_loaded() -> bool:
    """Whether anyone has imported TensorFlow; without it, nothing is its tensor or data set."""
    return sys.modules.get("tensorflow") is not None


def is_tensor(x: Any) -> bool:
    """Whether this is a tensor of TensorFlow."""
    return is_loaded() and bool(tf.is_tensor(x))
