"""Keras' backend: a check that runs before anything else is imported, and what differs in each."""

import contextlib
import importlib.metadata
import os
import sys
from typing import Any

from keras_ssl._tensorflow import is_installed, is_loaded, is_tensor, tf

BACKENDS = ("tensorflow", "jax", "torch")


def check_backend() -> None:
    """Checks that Keras runs on a backend that can train.

    Raises:
        ImportError: if Keras has another backend.
    """
    # Keras is imported only if it must be: if its backend is not installed, its error is a riddle.
    name = None if "keras" in sys.modules else os.environ.get("KERAS_BACKEND")
    if not name:
        import keras

        name = keras.backend.backend()  # A file can set it too: ~/.keras/keras.json.
    if name not in BACKENDS:
        raise ImportError(
            "keras_ssl runs on the TensorFlow, JAX and PyTorch backends of Keras: set the "
            'environment variable KERAS_BACKEND to "tensorflow", "jax" or "torch" before Python '
            f'starts, or before Keras is imported. Received: Keras backend "{name}"'
        )


def convolve_by_onednn() -> None:
    """Lets TensorFlow, which is not imported yet, convolve by oneDNN, unless the user says no.

    It does so itself on CPUs with AVX512-VNNI or newer, and says so in its log. On others, a step
    takes 1.6 to 2.3 times as long without (docs/speed.md).
    """
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def wake_tensorflow() -> None:
    """Lets TensorFlow, if there is one, say what it says about GPUs when first asked for them."""
    if is_installed():
        tf.config.list_physical_devices()


def has_accelerator() -> bool:
    """Whether Keras' backend sees any device other than CPUs."""
    import keras

    if keras.backend.backend() == "tensorflow":
        return any("CPU" not in device.device_type for device in tf.config.list_physical_devices())
    if keras.backend.backend() == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return bool(torch.accelerator.is_available())


def is_traced(x: Any) -> bool:
    """Whether the value of a tensor is unknown as yet, because a graph is being traced."""
    import keras

    if keras.backend.backend() == "tensorflow" or is_tensor(x):
        return not tf.executing_eagerly()  # The graphs of tf.data are everywhere TensorFlow's.
    if keras.backend.backend() == "jax":
        import jax

        return isinstance(x, jax.core.Tracer)
    # Keras finds out the shapes of PyTorch's tensors on a device without values.
    return getattr(getattr(x, "device", None), "type", None) == "meta"


def outside_graph() -> contextlib.AbstractContextManager[Any]:
    """Opens a scope whose operations are done at once, also while a graph is being traced."""
    import keras

    if keras.backend.backend() == "tensorflow":
        return tf.init_scope()
    if keras.backend.backend() == "jax":
        import jax

        return jax.ensure_compile_time_eval()
    return contextlib.nullcontext()


def widest(dtype: str) -> str:
    """Returns a dtype, such as "float64" or "int64", or the one of 32 bits if JAX allows no more.

    JAX allows 64 bits if its option `jax_enable_x64` is set.
    """
    import keras

    if keras.backend.backend() == "jax":
        import jax

        if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
            return dtype.replace("64", "32")
    return dtype


def float64_allowed() -> contextlib.AbstractContextManager[Any]:
    """Opens a scope in which float64 is not turned into float32, as JAX does by default."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return jax.enable_x64(True)
    return contextlib.nullcontext()


def is_dataset(x: Any) -> bool:
    """Whether this is a `tf.data.Dataset`, also where TensorFlow is not installed."""
    return is_loaded() and isinstance(x, tf.data.Dataset)


def package_versions(*names: str) -> dict[str, str]:
    """Returns the versions of packages and of Keras' backend, but of none that is not installed."""
    import keras

    versions = {}
    for name in dict.fromkeys((*names, keras.backend.backend())):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
