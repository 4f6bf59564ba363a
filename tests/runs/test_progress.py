import time

import pytest

from keras_ssl import models, runs
from keras_ssl.runs import progress
from tests.conftest import tiny_encoder


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "60 s"), (150, "2 min"), (5960, "99 min"), (6600, "1 h 50 min")]
    + [(3600 * 47.4, "47 h 24 min"), (3600 * 52, "2 d 4 h")],
)
def test_durations(seconds, text):
    assert runs.duration(seconds) == text


def test_a_stage_is_not_silent(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SILENCE", 0.01)
    with runs.stage("counting sheep"):
        time.sleep(0.1)
    first, *between, last = capsys.readouterr().out.splitlines()
    assert first == "counting sheep ..." and last == "  done in 0 s"
    assert between and set(between) == {"  still counting sheep, 0 s"}


def test_a_stage_that_fails_does_not_say_that_it_is_done(capsys):
    with pytest.raises(KeyError), runs.stage("counting sheep"):
        raise KeyError
    assert capsys.readouterr().out == "counting sheep ...\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_says_where_it_is_and_how_long_it_will_take(views, monkeypatch, capsys, is_terminal):
    monkeypatch.setattr(progress, "_SILENCE", 0.01)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    told = runs.Progress()
    model.fit(
        views, steps_per_epoch=3, epochs=2, callbacks=[told], verbose=told.verbose, shuffle=False
    )
    text = capsys.readouterr().out
    assert "the first step is being compiled" in text
    assert text.count("to go without judgments") == 1
    # Where Keras shows its bar, nothing breaks it up.
    assert ("  epoch 2 of 2, step " in text) != is_terminal
