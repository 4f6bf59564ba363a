"""`tf.distribute` strategies by name, and the process that writes files."""

from __future__ import annotations

import json
import os
from typing import Any

import keras

from keras_ssl._backend import has_accelerator
from keras_ssl._tensorflow import tf
from keras_ssl._validation import check_choice
from keras_ssl.training.one_program import OneProgram

STRATEGIES = ("none", "mirrored", "multiworker", "tpu", "auto")
"""Names that `strategy` takes."""


def strategy(name: str = "auto") -> tf.distribute.Strategy | OneProgram:
    """Creates a `tf.distribute` strategy. Call it before you create any other TensorFlow object.

    Create the encoder, the model and the optimizer inside its `scope()`.

    On JAX, "mirrored", and "auto" where there are several devices, set
    `keras.distribution.DataParallel()` for the rest of the program: one program computes the whole
    batch, and JAX shares its rows out among all devices of this machine. PyTorch uses one device.

    Args:
        name: "none": the default device; "mirrored": all GPUs of this machine, or its logical CPU
            devices if it has no GPU; "multiworker": all machines that `TF_CONFIG` names, each of
            which runs the same program; "tpu": the TPU that TensorFlow's standard resolver finds
            (the authors have not run this on a TPU); "auto": "multiworker" if `TF_CONFIG` names
            more than one machine, "tpu" if the environment names a TPU, "mirrored" if there is more
            than one GPU, otherwise "none".

    Returns:
        The strategy. For "none", and on other backends than TensorFlow, its scope does nothing.

    Raises:
        ValueError: if the name is unknown, `TF_CONFIG` names no workers, there is no TPU, or the
            backend of Keras has no such strategy.

    Example:
        The encoder, the model and the optimizer are created inside the scope.

        >>> devices = strategy("none")
        >>> with devices.scope():
        ...     encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> devices.num_replicas_in_sync
        1
    """
    check_choice("name", name, STRATEGIES)
    if keras.backend.backend() != "tensorflow":
        return _without_tensorflow(name)
    if name == "auto":
        name = _found()
    if name == "mirrored":
        return _mirrored()
    if name == "multiworker":
        _check_tf_config()
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "tpu":
        return _tpu()
    return tf.distribute.get_strategy()


def strategy_of(model: keras.Model) -> tf.distribute.Strategy | OneProgram:
    """The strategy that trains a model. Keras' own models have none on JAX and PyTorch."""
    return getattr(model, "distribute_strategy", None) or OneProgram()


def is_chief(strategy: tf.distribute.Strategy | OneProgram) -> bool:
    """Whether this process writes files: among several machines, only the first does.

    Example:
        >>> is_chief(strategy("none"))  # One process is the first.
        True
    """
    return isinstance(strategy, OneProgram) or bool(strategy.extended.should_checkpoint)


def is_on_one_machine(strategy: tf.distribute.Strategy | OneProgram) -> bool:
    """Whether this process can decide alone, because no other must do the same at the same step."""
    return isinstance(strategy, OneProgram) or not isinstance(
        strategy, tf.distribute.MultiWorkerMirroredStrategy
    )


def describe(strategy: tf.distribute.Strategy | OneProgram) -> str:
    """Describes the devices that train in words, such as "CPU, 2 cores" or "2 GPUs in step"."""
    if isinstance(strategy, OneProgram):
        backend, kind = keras.backend.backend(), "accelerator" if has_accelerator() else "CPU"
        if keras.distribution.distribution() is not None:
            return f"{len(keras.distribution.list_devices())} {kind}s in step, by {backend}"
        cores = "" if has_accelerator() else f", {os.cpu_count()} cores"
        return f"one {kind}{cores}, by {backend}"
    gpus = tf.config.list_logical_devices("GPU")
    replicas = strategy.num_replicas_in_sync
    if isinstance(strategy, tf.distribute.TPUStrategy):
        return f"{replicas} TPU cores in step"
    kind = "GPU" if gpus else "CPU"
    if replicas > 1:
        machines = "" if is_on_one_machine(strategy) else f", of {len(_workers())} machines"
        return f"{replicas} {kind}s in step{machines}"
    if gpus:
        name = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return f"one GPU ({name.get('device_name', 'of unknown name')})"
    return f"CPU, {os.cpu_count()} cores"


def _without_tensorflow(name: str) -> OneProgram:
    several = keras.backend.backend() == "jax" and len(keras.distribution.list_devices()) > 1
    if several and name in ("mirrored", "auto"):
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    elif name not in ("none", "auto"):
        raise ValueError(
            '`name` must be "none" or "auto", or "mirrored" for several devices of JAX, where the '
            f"backend of Keras is {keras.backend.backend()}. Received: {name=}"
        )
    return OneProgram()


def _found() -> str:
    if len(_workers()) > 1:
        return "multiworker"
    if any(name in os.environ for name in ("TPU_NAME", "TPU_WORKER_ID", "COLAB_TPU_ADDR")):
        return "tpu"
    return "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "none"


def _mirrored() -> tf.distribute.Strategy:
    if tf.config.list_logical_devices("GPU"):
        return tf.distribute.MirroredStrategy()
    cpus = tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in cpus])


def _tpu() -> tf.distribute.Strategy:
    try:
        # Without a name, use the TPU of this machine.
        name = os.environ.get("TPU_NAME", "local")
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name)
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise ValueError(
            f'`name` must be another strategy, as there is no TPU. Received: name="tpu"; {error}'
        ) from error
    return tf.distribute.TPUStrategy(resolver)


def _tf_config() -> dict[str, Any]:
    text = os.environ.get("TF_CONFIG", "{}")
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"TF_CONFIG must be JSON: {error}. Received: {text!r}") from None
    return config if isinstance(config, dict) else {}


def _workers() -> list[str]:
    """Returns the addresses of the machines that train."""
    cluster = _tf_config().get("cluster", {})
    return [address for kind in ("chief", "worker") for address in cluster.get(kind, [])]


def _check_tf_config() -> None:
    task = _tf_config().get("task", {})
    if not _workers() or "type" not in task or "index" not in task:
        raise ValueError(
            '`name` "multiworker" needs the environment variable TF_CONFIG, such as '
            '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
            '"task": {"type": "worker", "index": 0}}, the same on every machine except the index. '
            f"Received: TF_CONFIG={os.environ.get('TF_CONFIG')!r}"
        )
