"""Devices of JAX that share a batch train what one device trains, for every method."""

import importlib.util
import os

import numpy as np
import pytest

from tests.backends import others

pytestmark = [
    *others.ASKS_OTHERS,
    pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="jax is not installed"),
]


def run(count, file, way="data"):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"
    said = others.run("jax", "tests.backends.devices", file, way, XLA_FLAGS=flags)
    return dict(np.load(file)), said


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return run(1, tmp_path_factory.mktemp("devices") / "one.npz")[0]


@pytest.mark.parametrize(("count", "way"), [(2, "data"), (4, "data"), (4, "model")])
def test_they_are_one_device(count, way, one, tmp_path):
    """In value and in weights, after three steps; batch normalization sees the whole batch."""
    found, said = run(count, tmp_path / "found.npz", way)
    assert set(found) == set(one)
    for name, value in one.items():
        scale = 1 + np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=0, atol=2e-5 * scale, err_msg=name)
    if way == "data":
        assert "VICReg: {'all-reduce'" in said and "SimCLR" in said
