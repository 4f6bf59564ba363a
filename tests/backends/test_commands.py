"""The commands run on every other backend that is installed; TensorFlow reads what they wrote."""

import keras
import pytest

from tests.backends import others
from tests.backends.others import OTHERS

pytestmark = others.ASKS_OTHERS


def run(backend, *words):
    return others.run(backend, "keras_ssl", *words)


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
