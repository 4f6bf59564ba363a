"""Tests that the README's Python runs as written."""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data, encoders, models, recipes
from tests.conftest import tiny_encoder

pytestmark = pytest.mark.usefixtures("eagerly")
README = (pathlib.Path(__file__).parents[1] / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.long
def test_in_keras_and_inspected(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, inspected = (block for block in BLOCKS if "model.fit" in block)
    # One short epoch instead of twenty, of a small network.
    monkeypatch.setattr(encoders, "resnet8", lambda shape: tiny_encoder())
    code = code.replace("= 20, 256", "= 1, 512").replace("warmup_epochs=2", "warmup_epochs=0")
    namespace = {}
    exec(code, namespace)
    assert "knn" in capsys.readouterr().out
    exec(inspected, namespace)
    assert list(tmp_path.glob("logs/train/events*"))
    assert namespace["doctor"].history == {}
    assert (tmp_path / "healthy.keras").is_file()


def test_a_method_of_your_own(views):
    (code,) = (block for block in BLOCKS if "UniformityLoss" in block)
    namespace = {}
    exec(code, namespace)
    model = namespace["Uniformity"](tiny_encoder())
    assert isinstance(model, models.JointEmbeddingModel)
    model = namespace["Uniformity"](tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    history = model.fit(views, steps_per_epoch=3, verbose=0, shuffle=False).history
    assert np.isfinite(history["uniformity"][0])
    config = model.criterion.get_config()
    assert config["uniformity_weight"] == 1.0


@pytest.mark.parametrize("zeros", [0, 1, 2, 8])
def test_its_criterion_at_embeddings_of_length_zero(zeros):
    """The distance of 0 to a unit vector counts as sqrt(2), as that to another 0."""
    (code,) = (block for block in BLOCKS if "UniformityLoss" in block)
    namespace = {}
    exec(code, namespace)
    z = np.random.RandomState(0).normal(size=(8, 6)).astype("float32")
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    z[:zeros] = unit[:zeros] = 0
    kernel = np.exp(4 * unit @ unit.T - 4)
    expected = np.log(np.mean(kernel[~np.eye(8, dtype=bool)]))
    variable = tf.Variable(z)
    with tf.GradientTape() as tape:
        terms = namespace["UniformityLoss"]().terms(variable, variable)
    assert float(terms["uniformity"]) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(tape.gradient(terms["uniformity"], variable)).all()


@pytest.mark.slow
def test_tuned(tmp_path, monkeypatch):
    (code,) = (block for block in BLOCKS if "tuner.search" in block)
    monkeypatch.chdir(tmp_path)
    # One short trial of a small network instead of twenty.
    monkeypatch.setitem(encoders.ENCODERS, "resnet8", lambda shape: tiny_encoder())
    short = dataclasses.replace(recipes.SMALL["simclr"], epochs=1)
    monkeypatch.setitem(recipes.SMALL, "simclr", short)
    assert "max_trials=20" in code
    namespace = {"data": data}
    exec(code.replace("max_trials=20", "max_trials=1"), namespace)
    (trial,) = namespace["tuner"].oracle.trials.values()
    assert trial.status == "COMPLETED" and 0.3 < trial.score <= 1
