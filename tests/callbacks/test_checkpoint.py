import keras
import pytest

from keras_ssl import callbacks, models
from tests.conftest import tiny_encoder


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


def test_other_names_are_refused():
    with pytest.raises(ValueError, match="`checkpoint` must be named.*last.keras"):
        callbacks.epochs_done("last.keras")
