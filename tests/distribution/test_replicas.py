"""Checks that replicas with different data compute what one device does on the whole batch.

They agree to 1e-9, in float64, where rounding cannot hide a wrong factor.
"""

import itertools
import json
import re
import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.catalog import CRITERIA, METHODS, check_complete
from tests.distribution import fit_program

pytestmark = pytest.mark.long  # All share what two processes compute in a minute.


def run(program, *arguments):
    """Returns the last line that a program of this folder prints, read as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.distribution.{program}", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else None


FAST_FIT = ("VICReg", {"images": 21, "drop_remainder": False})  # The last batch has 5.


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The file for what two replicas have learned from `FAST_FIT`."""
    return tmp_path_factory.mktemp("fitted") / "two.npz"


@pytest.fixture(scope="module")
def one_and_two(fitted):
    fit = {"method": FAST_FIT[0], "options": FAST_FIT[1], "to": str(fitted)}
    return [
        run("replicas_program", *arguments) for arguments in ((1, "[]"), (2, json.dumps([fit])))
    ]


SLOW_CRITERIA = [
    (replicas, case, *options)
    for replicas in (2, 4)
    for case in ("many", "wide", "orthogonal,odd")
    for options in ((), ("unknown",))
] + [(2, "many", "graph"), (4, "wide", "graph"), (2, "orthogonal", "graph", "unknown")]


def _check_criteria(result):
    check_complete(
        result["criteria"],
        CRITERIA,
        "`criteria` in tests/distribution/criteria_program.py lacks it",
    )
    differences = result["differences"]
    assert len(differences) > 80
    assert {k: v for k, v in differences.items() if not v < 1e-9} == {}


def test_every_criterion_is_that_of_one_device(one_and_two):
    _check_criteria(one_and_two[1]["criteria"])


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SLOW_CRITERIA, ids=lambda a: "-".join(map(str, a)))
def test_every_criterion_is_that_of_one_device_in_every_case(arguments):
    _check_criteria(run("criteria_program", *arguments))


SLOW_FITS = {
    "clipping, several steps at once": (
        "SimCLR",
        {
            "optimizer": "lars",
            "clipping": {"global_clipnorm": 0.1},
            "compile": {"steps_per_execution": 3},
        },
    ),
    **{
        f"{method}-{optimizer}": (method, {"optimizer": optimizer})
        for method, optimizer in zip(
            METHODS, itertools.cycle(["lars", "adam", "sgd", "adamw"]), strict=False
        )
    },
    "micro-batches": (
        "BarlowTwins",
        {"model": {"micro_batch_size": 4}, "batch_size": 16, "images": 32},
    ),
    "empty replica": ("SimCLR", {"images": 21, "drop_remainder": False}),
    "clipvalue": ("VICReg", {"optimizer": "adamw", "clipping": {"clipvalue": 0.01}}),
    "float32": ("SimCLR", {"floatx": "float32", "epochs": 1}),
}


def _assert_same(one, many, tolerance):
    assert set(one) == set(many)
    assert any(name.startswith("weight") for name in one)
    for name, expected in one.items():
        # Only variables without a gradient are much below 0.01 here. The probe is float32.
        scale = np.abs(expected).max() + 1e-2
        difference = np.abs(many[name] - expected).max() / scale
        bound = 1e-5 if "probe" in name else tolerance
        if name.endswith("projector/dense_1/bias"):
            # Batch normalization follows it, so its gradient is only rounding, 1e-16, which Adam
            # divides by its epsilon, 1e-7, in every step.
            bound = max(bound, 1e-8)
        assert difference < bound, (name, difference)


def _fit(replicas, fits, folder):
    if replicas == 1:  # It needs no devices, so this process will do.
        try:
            return [fit_program.train(None, method, options) for method, options in fits]
        finally:
            keras.config.set_floatx("float32")
            keras.config.set_dtype_policy("float32")
    jobs = [
        {"method": method, "options": options, "to": str(folder / f"{replicas}-{i}.npz")}
        for i, (method, options) in enumerate(fits)
    ]
    run("fit_program", replicas, json.dumps(jobs))
    return [dict(np.load(job["to"])) for job in jobs]


def test_fit_evaluate_and_predict_are_those_of_one_device(one_and_two, fitted, tmp_path):
    (one,) = _fit(1, [FAST_FIT], tmp_path)
    _assert_same(one, dict(np.load(fitted)), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("fit", SLOW_FITS)
def test_every_method_and_optimizer_fits_as_on_one_device(fit, tmp_path):
    one, two, four = (_fit(replicas, [SLOW_FITS[fit]], tmp_path)[0] for replicas in (1, 2, 4))
    for many in (two, four):
        _assert_same(one, many, 1e-5 if fit == "float32" else 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision_trains_in_step(policy, tmp_path):
    """Rounding changes the numbers after some steps, but not after one, or after skipped ones."""
    options = {"policy": policy, "floatx": "float32", "epochs": 1, "images": 8, "batch_size": 8}
    # This scale does not overflow, so the step counts.
    fit = ("VICReg", {**options, "optimizer": "sgd", "loss_scale": 2.0})
    one, two = (_fit(replicas, [fit], tmp_path)[0] for replicas in (1, 2))
    assert two["iterations"] == one["iterations"] == 1
    for name, weights in one.items():
        # The gradient of the bias before batch normalization is only rounding.
        has_gradient = "probe" not in name and not name.endswith("projector/dense_1/bias")
        if name.startswith("weight") and has_gradient:
            tolerance = 2e-2 * (np.abs(weights).max() + 1e-2)
            np.testing.assert_allclose(two[name], weights, atol=tolerance, err_msg=name)
    assert two["log loss"] == pytest.approx(one["log loss"], rel=1e-2)
    assert all(np.isfinite(value).all() for value in two.values())


def test_the_sum_of_gradients_is_what_is_clipped_and_searched_for_overflow(one_and_two):
    one, two = (result["steps"] for result in one_and_two)
    for name, (weights, iterations, scale) in one.items():
        np.testing.assert_allclose(two[name][0], weights, rtol=1e-6, err_msg=name)
        assert two[name][1:] == [iterations, scale]
    # The overflow on only the last replica skipped one of three steps on both.
    assert two["overflow"][1:] == [2, 2.0]


def test_replicas_augment_differently(one_and_two):
    assert [result["draws"] for result in one_and_two] == [1, 2]


def test_compiled_metrics_are_those_of_all_replicas(one_and_two):
    one, two = (result["metrics"] for result in one_and_two)
    assert two == pytest.approx(one, rel=1e-5)


def test_a_batch_by_hand_is_shared_out(one_and_two):
    """Keras would give each replica all of it, and every image would be its own negative."""
    (*one, trained), (*two, refused) = (found["by hand"] for found in one_and_two)
    for alone, shared in zip(one, two, strict=True):
        np.testing.assert_allclose(shared, alone, rtol=1e-4, atol=1e-5)
    assert trained == "trained" and "`x` must have as many rows for each replica" in refused


def test_an_inspector_sees_the_same_run(one_and_two):
    one, two = (result["inspected"] for result in one_and_two)
    assert one["same weights"] and two["same weights"]
    assert "spread/rms_of_embeddings" in one["figures"]
    assert two["figures"] == pytest.approx(one["figures"], rel=1e-3, abs=1e-6)


def test_random_layers_draw_on_each_replica_for_themselves(one_and_two):
    one, two = (result["layers"] for result in one_and_two)
    for drawn in (*one["draws"], *two["draws"]):
        assert set(np.unique(drawn)) == {0.0, 2.0}
    assert two["draws"][0] != two["draws"][1]
    # There, state is averaged over micro-batches and replicas: 1 is the mean of two that differ.
    (alone,), (averaged, _) = (result["draws in micro-batches"] for result in (one, two))
    assert set(np.unique(alone)) == {0.0, 2.0} and 1.0 in np.unique(averaged)


def test_a_layer_whose_state_is_another_on_each_replica_is_named(one_and_two):
    """Batch normalization, whose statistics are those of the whole batch, is not."""
    one, two = (result["layers"] for result in one_and_two)
    assert one["statistics"] == []
    (said,) = two["statistics"]
    assert re.search(r"layers differs.*own_statistics.*batch_mean", said)
    assert "batch_normalization" not in said


def test_a_process_trains_with_one_set_of_replicas(one_and_two):
    assert one_and_two[1]["more"].startswith("A process can train with only one set of replicas:")


def test_what_would_differ_is_refused_before_training(one_and_two):
    for name, words in {
        "jit": "jit_compile=True",
        "activity regularizer": "Activity regularizers.*dense",
        "remainder in micro-batches": "drop the remainder.*micro_batch_size=2",
        "odd steps": "multiple of `steps_per_execution`",
        "encoder outside": r"inside `strategy.scope\(\)`",
        "model outside": r"inside `strategy.scope\(\)`",
        "gradient_accumulation_steps": "`micro_batch_size`",
        "ema_overwrite_frequency": "`use_ema` without it",
    }.items():
        assert re.search(words, one_and_two[1]["refusals"][name]), name
