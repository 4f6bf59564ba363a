import contextlib
import errno
import io
import logging
import re
import time

import pytest

from keras_ssl import _log, data, models, runs
from tests.conftest import quick_policy, tiny_encoder


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.6, "60 s"), (150, "2 min"), (5960, "99 min"), (6600, "1 h 50 min")]
    + [(3600 * 47.4, "47 h 24 min"), (3600 * 52, "2 d 4 h")],
)
def test_durations(seconds, text):
    assert runs.duration(seconds) == text


def test_a_stage_is_not_silent(monkeypatch, capsys):
    monkeypatch.setattr(_log, "SILENCE", 0.01)
    with _log.shown(), runs.stage("counting sheep"):
        time.sleep(0.1)
    first, *between, last = capsys.readouterr().out.splitlines()
    assert first == "counting sheep ..." and last == "  done in 0 s"
    assert between and set(between) == {"  still counting sheep, 0 s"}


def test_a_stage_that_fails_does_not_say_that_it_is_done(capsys):
    with pytest.raises(KeyError), _log.shown(), runs.stage("counting sheep"):
        raise KeyError
    assert capsys.readouterr().out == "counting sheep ...\n"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_run_says_where_it_is_and_how_long_it_will_take(views, monkeypatch, capsys, is_terminal):
    monkeypatch.setattr(_log, "SILENCE", 0.01)
    monkeypatch.setattr("sys.stdout.isatty", lambda: is_terminal)
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    # The estimate comes within the first epoch.
    monkeypatch.setattr("keras_ssl.runs.progress._TIMED_STEPS", 2)
    settings = {"steps_per_epoch": 5, "epochs": 2, "shuffle": False}
    with _log.shown():
        model.fit(views, callbacks=[runs.Progress()], verbose=0, **settings)
    text = capsys.readouterr().out
    assert "the first step is being compiled" in text
    assert text.count("to go without judgments") == 1
    assert "Epoch 1/2: loss " in text
    assert text.splitlines()[-1].startswith("Epoch 2/2: loss ")
    # Where Keras shows its bar, nothing breaks it up.
    assert ("  epoch 2 of 2, step " in text) != is_terminal
    bars = re.findall(r"\r(.*?)(?=\r|\n)", re.sub(r"\x1b\[\d+m|\x08", "", text))
    assert bool(bars) == is_terminal and all(len(bar) <= 79 for bar in bars)
    if is_terminal:
        assert re.fullmatch(r"5/5 ━+ \d+s .*/step - loss: \d+\.\d+ *", bars[-1])
        assert "\n  time       about" in text


def test_the_bar_of_an_epoch_that_goes_on_has_the_rest_of_its_steps(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    images = data.load("digits").train.subset(range(40))
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    with _log.shown():
        views = data.make_views(images, quick_policy(), 8)
        model.fit(views, callbacks=[runs.Progress()], verbose=0, initial_step=3)
    assert "2/2" in capsys.readouterr().out


def test_a_stage_tells_how_long_a_loop_will_take(monkeypatch, capsys):
    monkeypatch.setattr(_log, "SILENCE", 0.01)
    with _log.shown(), runs.stage("counting sheep"):
        _log.advance(1, 4)
        time.sleep(0.1)
    lines = capsys.readouterr().out.splitlines()
    assert any("still counting sheep, 0 s: 1 of 4, about 0 s to go" in line for line in lines)


def test_a_program_that_logs_itself_gets_records_and_no_lines(caplog, capsys, monkeypatch):
    monkeypatch.setattr(_log.LOGGER, "handlers", [logging.NullHandler()])
    with caplog.at_level("INFO", "keras_ssl"), _log.shown(), runs.stage("counting sheep"):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "counting sheep ...",
        "  done in 0 s",
    ]
    assert capsys.readouterr().out == ""


def test_quiet_says_nothing(views, monkeypatch, capsys):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    with _log.shown(quiet=True), runs.stage("counting sheep"):
        assert not _log.is_shown()
        callbacks = [runs.Progress()]
        model.fit(views, callbacks=callbacks, verbose=0, steps_per_epoch=2, shuffle=False)
    assert capsys.readouterr().out == ""


def test_a_full_disk_under_the_log_ends_no_run():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

    with contextlib.redirect_stdout(Full()), _log.shown(), runs.stage("counting sheep"):
        pass
