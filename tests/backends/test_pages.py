"""Tests that the Python of pages that needs a backend other than TensorFlow runs as written."""

import pathlib
import re

import keras
import pytest

from keras_ssl import encoders
from tests.conftest import tiny_encoder

pytestmark = pytest.mark.every_backend
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "devices.md"


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="It is about devices of JAX.")
def test_devices_of_jax(monkeypatch):
    monkeypatch.setattr(encoders, "resnet8", lambda shape: tiny_encoder())
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (code,) = (block for block in blocks if "DataParallel" in block)
    names = {}
    try:
        exec(code.replace("epochs=100", "epochs=1"), names)
    finally:
        keras.distribution.set_distribution(None)
    assert float(names["model"].optimizer.iterations) == 5
