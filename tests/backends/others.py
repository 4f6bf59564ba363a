"""The backends of Keras that are installed besides TensorFlow, and programs that run on one."""

import importlib.util
import os
import subprocess
import sys

import keras
import pytest

# For tests of TensorFlow's process, which asks the others.
ASKS_OTHERS = [
    pytest.mark.long,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the others are asked"),
]
OTHERS = [
    pytest.param(name, marks=pytest.mark.skipif(not importlib.util.find_spec(name), reason=name))
    for name in ("jax", "torch")
]


def run(backend, module, *arguments, **environment):
    """Runs `python -m MODULE` on a backend, and returns what it said; it must not fail."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return done.stdout + done.stderr
