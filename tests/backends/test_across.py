"""What one backend of Keras computes, another does: twenty steps of every method, and files.

TensorFlow does it in this process, each other backend that is installed in its own.
"""

import keras
import numpy as np
import pytest

from tests.backends import others, steps
from tests.backends.others import OTHERS

pytestmark = others.ASKS_OTHERS


def run(backend, *arguments):
    wide = {"JAX_ENABLE_X64": "1"} if arguments[-1] == "float64" else {}
    others.run(backend, "tests.backends.steps", *arguments, TF_CPP_MIN_LOG_LEVEL="3", **wide)


@pytest.fixture(scope="module")
def expected():
    keras.config.set_floatx("float64")
    yield steps.all_runs()
    keras.config.set_floatx("float32")


@pytest.mark.parametrize("backend", OTHERS)
def test_twenty_steps_of_every_method_in_float64(backend, expected, tmp_path):
    """A larger difference would be a difference of conventions."""
    run(backend, "train", tmp_path / "found.npz", "float64")
    found = dict(np.load(tmp_path / "found.npz"))
    assert set(found) == set(expected)
    for name, value in expected.items():
        # On PyTorch, Keras takes means of figures in float32.
        tolerance = 1e-6 if "by epoch" in name else 1e-8
        np.testing.assert_allclose(
            found[name], value, rtol=0, atol=tolerance * (1 + abs(value).max()), err_msg=name
        )


@pytest.mark.parametrize("backend", OTHERS)
def test_networks_with_batch_normalization_in_float32(backend, tmp_path):
    run(backend, "drift", tmp_path / "found.npz", "float32")
    found, expected = dict(np.load(tmp_path / "found.npz")), steps.drift()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("backend", OTHERS)
def test_a_file_of_tensorflow_goes_on_elsewhere_and_comes_back(backend, tmp_path):
    model, _ = steps.train("SimCLR")
    model.save(tmp_path / "here.keras")
    run(backend, "go_on", tmp_path / "here.keras", tmp_path / "there.keras", "float32")
    steps.go_on(model)
    there = keras.models.load_model(tmp_path / "there.keras")
    for a, b in zip(there.weights, model.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-4, atol=1e-6)
    assert int(there.optimizer.iterations) == int(model.optimizer.iterations) == 3 * steps.STEPS
    for either in (there, model):
        steps.go_on(either)
    for a, b in zip(there.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-5)
