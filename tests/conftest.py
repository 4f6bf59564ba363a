import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Two processes use two cores; more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
# XLA's optimizations take most of the time of tests that run a few steps.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
)
# No figure of an earlier run of the tests is taken for a new one.
os.environ["KERAS_HOME"] = tempfile.mkdtemp()

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data

# Files that take a quarter of a minute or more.
LONGEST_FILES = (
    "test_extending",
    "test_pretrain",
    "test_hypermodels",
    "test_replicas",
    "test_doctor",
    "test_study",
    "test_fit",
    "test_encoders",
    "test_augmentation",
    "test_behavior",
    "test_gram",
    "test_gradient_caching",
    "test_joint_embedding",
    "test_inspector",
    "test_contracts",
    "test_datasets",
    "test_checkpoint",
    "test_scripts",
)


def pytest_collection_modifyitems(items):
    """Runs the longest files first, so that two processes end together."""

    def place(item):
        name = item.path.stem
        return LONGEST_FILES.index(name) if name in LONGEST_FILES else len(LONGEST_FILES)

    items.sort(key=place)


def pytest_unconfigure():
    shutil.rmtree(os.environ["KERAS_HOME"], ignore_errors=True)


def pytest_configure(config):
    """Switches off the optimizer of graphs, except for the slow tests.

    It takes a sixth of the time of the other tests, whose graphs run only a few steps. The slow
    tests run optimized graphs, as a user does.
    """
    if keras.backend.backend() == "tensorflow" and "not slow" in config.option.markexpr:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


@pytest.fixture(scope="module")
def eagerly():
    """Runs training steps eagerly: for a few steps, a graph takes longer to trace than to run.

    The tests of models, criteria and methods show that a graph makes no difference.
    """
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def in_graphs():
    """Runs one test in graphs, in a module that runs `eagerly`."""
    was_eager = tf.config.functions_run_eagerly()
    tf.config.run_functions_eagerly(False)
    yield
    tf.config.run_functions_eagerly(was_eager)


@pytest.fixture(autouse=True)
def _fresh_state():
    """Every test begins with the same seeds and leaves no policy behind."""
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy("float32")
    if keras.backend.backend() != "tensorflow":
        keras.backend.clear_session()
        return
    # Collecting garbage would take a third of a second in each of a thousand tests. Without its
    # kernels, TensorFlow would need a tenth of a second to make those of one training step again.
    with mock.patch("tensorflow.python.eager.context.Context.clear_kernel_cache"):
        keras.backend.clear_session(free_memory=False)


@pytest.fixture
def images():
    """Returns 48 tiny gray images of three classes that differ in brightness."""
    rng = np.random.RandomState(0)
    labels = np.arange(48) % 3
    noise = rng.uniform(0, 80, (48, 8, 8, 1))
    pixels = noise + 80 * labels[:, None, None, None]
    return data.from_arrays(pixels.astype("uint8"), labels)


@pytest.fixture
def views(images):
    """Returns three batches of ((view_1, view_2), labels) that stay the same, repeated.

    They are quick because there is no augmentation to trace.
    """
    pixels, labels = next(iter(images.batches(48)))
    noise = np.random.RandomState(1).uniform(-0.1, 0.1, (2, *pixels.shape)).astype("float32")
    pair = tuple(np.clip(pixels + n, 0, 1) for n in noise)
    return tf.data.Dataset.from_tensor_slices((pair, labels)).batch(16).repeat()


@keras.saving.register_keras_serializable(package="tests")
def quick_policy():
    """Returns a policy whose two views differ in brightness, which is quick to trace and run."""
    return data.TwoViews(data.RandomColorJitter(0.4, 0, 0, 0, probability=1.0))


def tiny_encoder():
    """Returns a convolution, batch normalization and pooling, quick to trace, with D = 16."""
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(16, 3, strides=2),
            keras.layers.BatchNormalization(momentum=0.9),
            keras.layers.ReLU(),
            keras.layers.GlobalAveragePooling2D(),
        ],
        name="tiny",
    )


def lora_encoder():
    """Returns an encoder whose layers of each kind that can have a LoRA have learned one.

    Returns:
        The encoder, and the sums W + A B by the name of their layer.
    """
    layers = [
        keras.layers.Conv2D(4, 3, strides=2, name="convolution"),
        keras.layers.Reshape((9, 4)),
        keras.layers.EinsumDense("ntd,de->nte", (9, 6), bias_axes="e", name="products"),
        keras.layers.ReLU(),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(5, name="dense"),
    ]
    encoder = keras.Sequential([keras.layers.Input((8, 8, 1)), *layers], name="adapted")
    rng, sums = np.random.RandomState(3), {}
    for layer in (layers[0], layers[2], layers[5]):
        plain = np.array(layer.kernel)
        layer.enable_lora(2)
        a, b = (rng.normal(size=v.shape) for v in (layer.lora_kernel_a, layer.lora_kernel_b))
        layer.lora_kernel_a.assign(a)
        layer.lora_kernel_b.assign(b)
        sums[layer.name] = plain + a @ b
    return encoder, sums


@contextlib.contextmanager
def tensorboard_server(logdir):
    """Starts a real TensorBoard, and gives a function that asks it as its own page does."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logdir), "--port", "0"]
    with subprocess.Popen(
        [*command, "--load_fast", "false"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        for line in server.stderr:
            if found := re.search(r"http://localhost:\d+/", line):
                break
        else:
            raise RuntimeError("TensorBoard did not start")

        def ask(path, body=None):
            content = None if body is None else json.dumps(body).encode()
            headers = {"Content-Type": "application/json"}
            request = urllib.request.Request(f"{found[0]}data/plugin/{path}", content, headers)
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)

        try:
            yield ask
        finally:
            server.kill()
