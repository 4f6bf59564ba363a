import os
import signal
import threading
import zipfile

import keras
import numpy as np
import pytest

from keras_ssl import callbacks, data, models
from tests.conftest import quick_policy, tiny_encoder


def _fit(folder, views, epochs, keep=1):
    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    model.fit(
        views,
        steps_per_epoch=1,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=[callbacks.EpochCheckpoint(folder, keep=keep)],
    )
    return model


def test_the_latest_are_kept_and_load(views, tmp_path):
    _fit(tmp_path / "new" / "folder", views, epochs=3, keep=2)
    found = callbacks.checkpoints(tmp_path / "new" / "folder")
    assert [callbacks.epochs_done(path) for path in found] == [2, 3]
    assert isinstance(keras.models.load_model(found[-1]), models.VICReg)


def test_checkpoints_of_a_longer_training_are_in_the_way(views, tmp_path):
    """They would stay the latest, and every new one would be deleted as older."""
    model = _fit(tmp_path, views, epochs=2)
    with pytest.raises(ValueError, match="`folder` must hold no .* later epoch than the 0 .*00002"):
        _fit(tmp_path, views, epochs=1)
    assert [path.name for path in callbacks.checkpoints(tmp_path)] == ["epoch-00002.keras"]
    goes_on = callbacks.EpochCheckpoint(tmp_path)
    steps = dict(steps_per_epoch=1, epochs=3, initial_epoch=2)
    model.fit(views, **steps, verbose=0, callbacks=[goes_on])
    assert [path.name for path in callbacks.checkpoints(tmp_path)] == ["epoch-00003.keras"]


def test_a_later_step_of_an_epoch_that_is_done_again_gives_way(views, tmp_path):
    model = _fit(tmp_path / "other", views, epochs=1)
    left = tmp_path / "epoch-00000-step-0000009.keras"
    model.save(left)
    callback = callbacks.EpochCheckpoint(tmp_path, minutes=1e-9)
    callback.set_model(model)
    callback.set_params({"steps": 5})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    assert left.exists()
    callback.on_train_batch_end(2)
    assert callbacks.latest_checkpoint(tmp_path).name == "epoch-00000-step-0000003.keras"


def test_a_checkpoint_that_was_just_written_is_never_deleted(views, tmp_path):
    """A damaged one of another training may be later."""
    model = _fit(tmp_path / "other", views, epochs=1)
    (tmp_path / "epoch-00000-step-0000009.keras").write_bytes(b"nothing")
    callback = callbacks.EpochCheckpoint(tmp_path, minutes=1e-9)
    callback.set_model(model)
    callback.set_params({"steps": 5})
    callback.on_train_begin()
    callback.on_epoch_begin(0)
    callback.on_train_batch_end(2)
    assert (tmp_path / "epoch-00000-step-0000003.keras").exists()


def test_a_kill_while_writing_leaves_the_one_before(views, tmp_path, monkeypatch):
    model = _fit(tmp_path, views, epochs=1)

    def killed(path):
        path.write_bytes(b"half a file")
        raise KeyboardInterrupt

    monkeypatch.setattr(model, "save", killed)
    callback = callbacks.EpochCheckpoint(tmp_path)
    callback.set_model(model)
    with pytest.raises(KeyboardInterrupt):
        callback.on_epoch_end(1)
    (kept,) = callbacks.checkpoints(tmp_path)
    assert callbacks.epochs_done(kept) == 1
    keras.models.load_model(kept)


def test_what_a_killed_process_had_not_finished_is_removed(views, tmp_path):
    left = tmp_path / "epoch-00007.keras.123.partial.keras"
    left.write_bytes(b"half a file")
    assert callbacks.checkpoints(tmp_path) == []
    _fit(tmp_path, views, epochs=1)
    assert [file.name for file in tmp_path.iterdir()] == ["epoch-00001.keras"]


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="`checkpoint` must be named.*last.keras"):
        callbacks.epochs_done("last.keras")


def test_weights_that_a_last_step_broke_are_not_saved_over_good_ones(views, tmp_path):
    """The step that breaks the weights still has a finite loss."""

    class Break(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                assert np.isfinite(logs["loss"])
                kernel = self.model.encoder.trainable_weights[0]
                kernel.assign(kernel * float("nan"))

    model = models.VICReg(tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    saved = callbacks.EpochCheckpoint(tmp_path)
    with pytest.raises(callbacks.NonFiniteLossError, match="weights, .*kernel first.*learning ra"):
        model.fit(views, steps_per_epoch=1, epochs=3, verbose=0, callbacks=[Break(), saved])
    (kept,) = callbacks.checkpoints(tmp_path)
    weights = keras.models.load_model(kept).get_weights()
    assert callbacks.epochs_done(kept) == 1 and all(np.isfinite(w).all() for w in weights)
    with pytest.raises(callbacks.NonFiniteLossError, match="1 of 13 weights"):
        watch = callbacks.StopOnNonFinite()
        watch.set_model(model)
        watch.on_epoch_end(1)


@pytest.mark.parametrize("keep", [0, -1, 1.5])
def test_none_is_a_number_of_checkpoints_to_keep(tmp_path, keep):
    with pytest.raises(ValueError, match="`keep` must be a whole number above zero"):
        callbacks.EpochCheckpoint(tmp_path, keep=keep)
    with pytest.raises(ValueError, match="`minutes` must be a positive number"):
        callbacks.EpochCheckpoint(tmp_path, minutes=keep if keep < 1 else float("nan"))


def _train(views, folder, callback=None, checkpoint=None, **kwargs):
    if checkpoint is None:
        keras.utils.set_random_seed(1)
        model = models.VICReg(tiny_encoder(), keras.layers.Dense(6), probe=3)
        model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    else:
        model = keras.models.load_model(checkpoint)
    saved = callbacks.EpochCheckpoint(folder, **kwargs)
    begin = callbacks.position(checkpoint) if checkpoint else (0, 0)
    rows = []
    log = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: rows.append(dict(logs)))
    model.fit(
        views,
        epochs=2,
        initial_epoch=begin[0],
        initial_step=begin[1],
        verbose=0,
        callbacks=[*filter(None, [callback]), log, saved],
    )
    return model, rows


class _Signal(keras.callbacks.Callback):
    """Sends a signal to this process in the middle of an epoch."""

    def __init__(self, number, epoch, step):
        super().__init__()
        self.number, self.at = number, (epoch, step)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, step, logs=None):
        if (self.epoch, step) == self.at:
            os.kill(os.getpid(), self.number)


@pytest.mark.long
@pytest.mark.parametrize(
    ("number", "step", "name"),
    [
        (signal.SIGTERM, 1, "epoch-00001-step-0000002"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                (signal.SIGINT, 1, "epoch-00001-step-0000002"),
                (signal.SIGTERM, 2, "epoch-00002"),
                (signal.SIGINT, 2, "epoch-00002"),
            ]
        ),
    ],
)
def test_a_signal_ends_training_with_a_checkpoint_to_go_on_from(
    images, number, step, name, tmp_path
):
    views = data.make_views(images, quick_policy(), 16)
    whole, figures = _train(views, tmp_path / "whole")
    with callbacks.StopSignals() as signals, pytest.raises(callbacks.Stopped):
        _train(views, tmp_path / "cut", _Signal(number, 1, step), signals=signals)
    (kept,) = callbacks.checkpoints(tmp_path / "cut")
    assert kept.stem == name and signals.received == number
    resumed, resumed_figures = _train(views, tmp_path / "cut", checkpoint=kept)
    for a, b in zip(whole.variables, resumed.variables, strict=True):
        np.testing.assert_array_equal(a, b)
    # Also those of an epoch that was cut in two. After the last epoch nothing is left to train.
    assert resumed_figures == figures[callbacks.position(kept).epoch :]


def test_signals_outside_of_training_interrupt_at_once_and_are_given_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), callbacks.StopSignals():
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_after_an_error_in_training_no_checkpoint_is_awaited(images, tmp_path):
    def fail(epoch, logs):
        raise OSError("no more of it")

    signals = callbacks.StopSignals()
    with pytest.raises(OSError, match="no more"), signals:
        stop = keras.callbacks.LambdaCallback(on_epoch_end=fail)
        _train(data.make_views(images, quick_policy(), 16), tmp_path, stop, signals=signals)
    assert not signals.is_training


def test_a_clock_saves_within_an_epoch(images, tmp_path):
    names = []

    class Look(keras.callbacks.Callback):
        def on_train_batch_begin(self, step, logs=None):
            names.append([path.stem for path in callbacks.checkpoints(tmp_path / "run")])

    views = data.make_views(images, quick_policy(), 16)
    _train(views, tmp_path / "run", Look(), minutes=1e-9, keep=2)
    assert names[2] == ["epoch-00000-step-0000001", "epoch-00000-step-0000002"]
    assert names[4] == ["epoch-00001", "epoch-00001-step-0000001"]


class TestLatest:
    @pytest.fixture
    def folder(self, views, tmp_path):
        _fit(tmp_path, views, epochs=2, keep=2)
        return tmp_path

    def test_is_the_last(self, folder):
        assert callbacks.latest_checkpoint(folder).stem == "epoch-00002"
        assert callbacks.latest_checkpoint(folder / "nowhere") is None

    @pytest.mark.parametrize("damage", ["truncated", "empty", "flipped", "lacking"])
    def test_a_damaged_one_is_named_and_the_one_before_is_taken(self, folder, damage):
        last = folder / "epoch-00002.keras"
        content = last.read_bytes()
        half = len(content) // 2
        if damage == "lacking":
            with zipfile.ZipFile(last, "w") as archive:
                archive.writestr("config.json", "{}")
        else:
            flipped = content[:half] + bytes([content[half] ^ 255]) + content[half + 1 :]
            last.write_bytes(
                {"truncated": content[:half], "empty": b"", "flipped": flipped}[damage]
            )
        with pytest.warns(callbacks.CheckpointWarning, match="epoch-00002.keras is damaged"):
            assert callbacks.latest_checkpoint(folder).stem == "epoch-00001"
        (folder / "epoch-00001.keras").write_bytes(b"")
        with (
            pytest.warns(callbacks.CheckpointWarning),
            pytest.raises(ValueError, match="`folder` must hold a checkpoint.*all 2 are damaged"),
        ):
            callbacks.latest_checkpoint(folder)


@keras.saving.register_keras_serializable(package="tests")
class _Unsaved(keras.Model):
    """It takes a function, and does not say how to save it."""

    def __init__(self, function):
        super().__init__()
        self.function, self.last = function, keras.layers.Dense(4)

    def call(self, x):
        return self.last(self.function(x))


def test_what_cannot_be_saved_is_not_trained(tmp_path):
    model = models.VICReg(_Unsaved(lambda x: 2 * x), keras.layers.Dense(3))
    model.compile("sgd", run_eagerly=True)
    view, steps = np.ones((4, 2), "float32"), []
    count = keras.callbacks.LambdaCallback(on_train_batch_end=lambda *_: steps.append(1))
    with pytest.raises(ValueError, match="`model` must be one that Keras can save"):
        model.fit((view, view), verbose=0, callbacks=[callbacks.EpochCheckpoint(tmp_path), count])
    assert not steps
