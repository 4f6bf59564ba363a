"""Hypothesis looks for a shape, scale or dtype that gives a number that is not finite."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tests.catalog import CRITERIA_AND_VARIANTS as CRITERIA
from tests.losses.test_behavior import of_its_own_way

# The largest scales for float32, because squared penalties grow with the fourth power.
LARGEST = {"float16": 6e4, "bfloat16": 1e6, "float32": 1e6, "float64": 1e6}


@st.composite
def embeddings(draw):
    """Draws two random views of any scale, in which parts may be zero or equal."""
    shape = draw(st.tuples(st.integers(2, 12), st.integers(2, 12)))
    dtype = draw(st.sampled_from(sorted(LARGEST)))
    rng = np.random.RandomState(draw(st.integers(0, 2**16)))
    scale = 10 ** draw(st.floats(-8, np.log10(LARGEST[dtype]) - 0.7))
    z_1 = rng.randn(*shape)
    z_2 = z_1 + draw(st.sampled_from([0.0, 1e-3, 0.5, 100.0])) * rng.randn(*shape)
    z_2 = z_2 / max(1, np.abs(z_2).max() / 5)
    for spoil in draw(
        st.lists(st.sampled_from(["sample", "dimension", "all", "same", "opposite"]))
    ):
        for z in (z_1, z_2):
            if spoil == "sample":
                z[0] = 0
            elif spoil == "dimension":
                z[:, 0] = 0
            elif spoil == "all":
                z[:] = 0
            elif spoil == "same":
                z[:] = z[:1]
            else:
                z[0] = -z[1]
    limit = LARGEST[dtype]
    return tuple(tf.cast(np.clip(scale * z, -limit, limit), dtype) for z in (z_1, z_2))


def _check(name, pair):
    with tf.GradientTape() as tape:
        tape.watch(pair)
        loss = CRITERIA[name]()(*pair)
    assert np.isfinite(float(loss))
    assert loss.dtype == "float32"
    for gradient in tape.gradient(loss, pair):
        gradient_values = np.asarray(tf.cast(gradient, "float64"))
        assert not np.isnan(gradient_values).any()
        # Gradients are computed in float32. Above 65,504 they do not fit into float16, which loss
        # scaling handles.
        if gradient.dtype != "float16":
            assert np.isfinite(gradient_values).all()


@of_its_own_way
@hypothesis.settings(max_examples=6, deadline=None, derandomize=True, database=None)
@hypothesis.given(pair=embeddings())
def test_value_and_gradient_are_finite(name, pair):
    _check(name, pair)


@pytest.mark.slow
@pytest.mark.parametrize("name", CRITERIA)
@hypothesis.settings(max_examples=300, deadline=None, database=None)
@hypothesis.given(pair=embeddings())
def test_value_and_gradient_are_finite_searched_for_long(name, pair):
    _check(name, pair)
