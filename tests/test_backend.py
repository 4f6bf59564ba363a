"""A backend of Keras that cannot train is refused before anything is computed."""

import os
import subprocess
import sys

import pytest

STUB = """
import sys, types
keras = types.ModuleType("keras")
keras.backend = types.SimpleNamespace(backend=lambda: "openvino")
sys.modules["keras"] = keras
"""


def _last_line(program, **environment):
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize("backend", ["numpy", "openvino"])
@pytest.mark.parametrize("module", ["keras_ssl", "keras_ssl.losses"])
def test_another_backend_is_refused_before_keras_looks_for_it(backend, module):
    line = _last_line(f"import {module}", KERAS_BACKEND=backend)
    assert line.startswith("ImportError: keras_ssl runs on the TensorFlow, JAX and PyTorch")
    assert "KERAS_BACKEND" in line and line.endswith(f'Received: Keras backend "{backend}"')


def test_the_backend_that_keras_runs_on_counts_not_the_variable():
    line = _last_line(STUB + "import keras_ssl", KERAS_BACKEND="tensorflow")
    assert line.startswith("ImportError") and line.endswith('Received: Keras backend "openvino"')


ASKS = """
import os, runpy, sys
class Finder:  # It is asked for TensorFlow before TensorFlow is there.
    def find_spec(self, name, path=None, target=None):
        if name == "tensorflow":
            sys.exit(f"seen: {os.environ.get('TF_ENABLE_ONEDNN_OPTS')}")
sys.meta_path.insert(0, Finder())
sys.argv = [%r, "--help"]
import keras_ssl
"""


@pytest.mark.parametrize(
    ("program", "given", "seen"),
    [("keras-ssl", {}, "1"), ("keras-ssl", {"TF_ENABLE_ONEDNN_OPTS": "0"}, "0"), ("x", {}, None)],
)
def test_the_program_convolves_by_onednn_unless_told_otherwise(program, given, seen, monkeypatch):
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    assert _last_line(ASKS % program, KERAS_BACKEND="tensorflow", **given) == f"seen: {seen}"
