"""The commands run on every other backend that is installed; TensorFlow reads what they wrote."""

import importlib.util
import os
import subprocess
import sys

import keras
import pytest

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others are asked"),
]
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(name), reason=name))
    for name in ("jax", "torch")
]


def run(backend, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "keras_ssl", *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("backend", OTHERS)
def test_a_run_goes_through_the_commands_and_on_to_tensorflow(backend, tmp_path):
    folder = tmp_path / "run"
    assert f"by {backend}" in run(backend, "pretrain", "digits", "--epochs", 1, "--out", folder)
    run(backend, "embed", folder, "digits", "--out", tmp_path / "features.npz")
    run(backend, "finetune", folder, "digits", "--smoke", "--out", tmp_path / "classifier")
    run(backend, "export", folder, tmp_path / "exported", "--format", "safetensors")
    run("tensorflow", "evaluate", folder, "digits")
    checkpoint = max((folder / "checkpoints").glob("*.keras"))
    assert keras.models.load_model(checkpoint).optimizer.built


@pytest.mark.parametrize("backend", OTHERS)
def test_a_study(backend, tmp_path):
    run(backend, "study", "digits", "--smoke", "--out", tmp_path / "study")
