import random
import types

import keras
import numpy as np
import pytest

from keras_ssl import data, models
from keras_ssl.pretraining import budget, run
from tests.conftest import quick_policy, tiny_encoder


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10min", 600), ("10 m", 600), ("1.5h", 5400), ("2d", 172800), ("1 sec", 1)],
)
def test_seconds(text, seconds):
    assert budget.seconds(text) == seconds


@pytest.mark.parametrize("text", ["soon", "10", "0min", "-3h", "1 week", "", "nan s"])
def test_seconds_of_what_is_no_time(text):
    with pytest.raises(ValueError, match="`budget` must be a time such as"):
        budget.seconds(text)


class TestSpend:
    def test_the_expected_time_fills_the_budget(self):
        plan = budget.spend(600.0, per_epoch=5.0, judgment=3.0, compiling=20.0)
        assert 600 - 1.1 * 5 < plan.seconds <= 600
        judgments = -(-plan.epochs // plan.evaluate_every) + 1
        assert judgments <= 11

    def test_slow_judgments_are_few(self):
        plan = budget.spend(600.0, per_epoch=5.0, judgment=30.0, compiling=0.0)
        assert plan.epochs / plan.evaluate_every <= 3

    @pytest.mark.parametrize("every", [1, 7, 1000])
    def test_judgments_that_are_asked_for_fit_too(self, every):
        plan = budget.spend(600.0, per_epoch=2.0, judgment=4.0, compiling=20.0, every=every)
        judgments = 1 + plan.epochs // every + 1
        spent = 20 + 1.06 * 2 * plan.epochs + 4 * judgments + 20
        assert plan.evaluate_every == every and 590 < spent <= 600
        assert plan.seconds == pytest.approx(spent)

    def test_there_is_always_one_epoch(self):
        assert budget.spend(-10.0, 100.0, 5.0, 5.0)[:2] == (1, 1)


class TestAffordable:
    @pytest.mark.parametrize(
        ("left", "name"),
        # The second encoder takes ten seconds an epoch.
        [(10, "fast"), (100, "fast"), (499, "fast"), (501, "good"), (1e9, "good")],
    )
    def test_the_best_encoder_with_enough_epochs(self, left, name):
        per_epoch = {"fast": 1.0, "good": 10.0}
        chosen = budget.affordable(per_epoch, per_epoch.get, left, enough=50)
        assert chosen.value == name
        assert "epochs of it" in chosen.reason

    def test_what_is_too_slow_is_not_timed(self):
        timed = []

        def per_epoch(name):
            timed.append(name)
            return 1.0

        budget.affordable(("fast", "good"), per_epoch, 100.0, enough=50)
        assert timed == ["fast"]

    def test_no_encoder(self):
        with pytest.raises(ValueError, match="`names` must name an encoder"):
            budget.affordable((), lambda name: 1.0, 100.0, 50)


class Counted(models.VICReg):
    """Counts how often a step is traced."""

    traced = 0

    def train_step(self, data):
        self.traced += 1
        return super().train_step(data)


def test_measure_leaves_no_trace(images, tmp_path, monkeypatch):
    """Neither a file nor a number; training afterwards is the same, and uses the same graph."""
    monkeypatch.chdir(tmp_path)

    def train(is_measured):
        keras.utils.set_random_seed(0)
        projector = keras.Sequential([keras.layers.Dense(6), keras.layers.Dropout(0.5)])
        model = Counted(tiny_encoder(), projector, probe=3)
        model.build((None, *images.image_shape))
        model.compile(keras.optimizers.AdamW(0.1))
        views = data.make_views(images, quick_policy(), 8)
        if is_measured:
            speed = budget.measure(model, views)
            assert speed.epoch > 0 and speed.compiling > 0
        model.fit(views, epochs=2, verbose=0)
        assert model.traced == 1
        variables = (*model.variables, *model.optimizer.variables, *model.probe.optimizer.variables)
        return [np.array(v) for v in variables], random.random()

    (found, number), (expected, same) = train(True), train(False)
    assert number == same
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("per_epoch", "said"),
    [
        (3 * 3600.0, None),
        (500.0, "1, judged every 1: the fewest, which take more than the budget of 10min"),
        (5.0, ": they fit the budget of 10min"),
    ],
)
def test_a_budget_that_pays_for_no_epoch_is_refused(per_epoch, said, caplog):
    options = types.SimpleNamespace(budget="10min", evaluate_every=None)
    setup = types.SimpleNamespace(options=options, time_to_decode=lambda: 0.0)
    clock = types.SimpleNamespace(left=lambda: 300.0)
    speed = budget.Speed(per_epoch, 1.0)
    if said is None:
        with pytest.raises(ValueError, match="must pay for an epoch, which takes about 3 h"):
            run._fit_to_budget(setup, clock, speed, 1.0)
        return
    with caplog.at_level("INFO", "keras_ssl"):
        run._fit_to_budget(setup, clock, speed, 1.0)
    assert said in caplog.text
