"""Trains, resumes, inspects and judges, with or without TensorFlow, and prints the figures.

`python without_tensorflow.py FOLDER [hide] [commands]` needs nothing of the tests. `hide`:
TensorFlow is installed, and cannot be imported. `commands`: those of `keras-ssl` run as well.
"""

import json
import os
import pathlib
import sys

if hasattr(os, "sched_setaffinity"):  # On more than four cores, tf.data rounds otherwise.
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:4])
if "hide" in sys.argv[2:]:
    sys.modules["tensorflow"] = None

import keras
import numpy as np
from PIL import Image

import keras_ssl
from keras_ssl import callbacks, data, encoders, evaluation, models
from keras_ssl._tensorflow import is_installed
from keras_ssl.inspection.events import read_events

FOLDER = pathlib.Path(sys.argv[1])
POLICY = data.simclr((8, 8))


def photos():
    """A folder of two classes, of images of several sizes."""
    rng = np.random.RandomState(0)
    for i in range(40):
        (FOLDER / "photos" / f"class {i % 2}").mkdir(parents=True, exist_ok=True)
        pixels = rng.randint(0, 128, (8 + i % 3, 9, 3)) + 100 * (i % 2)
        path = FOLDER / "photos" / f"class {i % 2}" / f"{i}.png"
        Image.fromarray(pixels.astype("uint8")).save(path)
    return data.from_folder(FOLDER / "photos", 8)


def model(views=None):
    keras.utils.set_random_seed(0)
    encoder = encoders.resnet((8, 8, 3), blocks=(1,), width=4)
    made = models.VICReg(encoder, "16-8", probe=2, views=views)
    made.compile("adamw")
    return made


def fit(made, batches, **options):
    return made.fit(batches, epochs=3, verbose=0, **options).history["loss"]


def train_and_resume(batches, views=None):
    """The losses of three epochs; a run that is saved after the first goes on exactly."""
    whole, part = model(views), model(views)
    losses = fit(whole, batches())
    part.fit(batches(), epochs=1, verbose=0)
    part.save(FOLDER / "part.keras")
    part = keras.saving.load_model(FOLDER / "part.keras")
    # The second epoch, but for its first two steps, from weights that are not those of `whole`.
    part.fit(batches(), epochs=2, initial_epoch=1, initial_step=2, verbose=0)
    part = keras.saving.load_model(FOLDER / "part.keras")
    assert fit(part, batches(), initial_epoch=1) == losses[1:]
    for a, b in zip(whole.weights, part.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    return losses


def inspect_and_judge(images):
    """What an inspector wrote of arrays, and what the encoder is worth."""
    pixels, labels = (np.concatenate(x) for x in zip(*images.batches(16), strict=True))
    arrays = data.from_arrays(np.asarray(pixels), np.asarray(labels))
    inspected = model()
    inspector = callbacks.EmbeddingInspector(arrays, POLICY, FOLDER / "logs", 1, count=16)
    followers = [inspector, callbacks.CollapseDoctor(inspector)]
    losses = fit(inspected, data.make_views(arrays, POLICY, 8), callbacks=followers)
    events = read_events(FOLDER / "logs")
    assert len(events.images["matrices/gram"]) == 2 and events.hparams["method"] == "VICReg"
    judged = evaluation.judge(inspected.encoder, *data.split(arrays))
    return [losses, events.scalars["rank/embeddings"], judged]


def commands():
    """The figures of a run of `keras-ssl pretrain`, after every other command."""
    quick = {"smoke": True, "quiet": True}
    run = keras_ssl.pretrain("digits", out=FOLDER / "run", **quick).folder
    keras_ssl.evaluate(run, "digits", **quick)
    keras_ssl.embed(run, "digits", out=FOLDER / "features.npz", **quick)
    keras_ssl.neighbors(run, "digits", out=FOLDER / "neighbors", **quick)
    keras_ssl.finetune(run, "digits", out=FOLDER / "finetuned", labels=[1.0], seeds=1, **quick)
    keras_ssl.export(run, FOLDER / "exported", format="safetensors", **quick)
    study = keras_ssl.study("digits", methods=["vicreg"], out=FOLDER / "study", trials=2, **quick)
    assert study is not None
    keras_ssl.report([run], FOLDER / "report.html", **quick)
    for file in ("features.npz", "neighbors/gallery.png", "finetuned/classifier.keras", "exported"):
        assert (FOLDER / file).exists(), file
    return json.loads((run / "results.json").read_text())["trained"]


def check_refusals():
    """What needs TensorFlow says so."""
    for name in ("shards.tfrecord", "shards.tar"):
        (FOLDER / name).touch()
    shards = "must be installed for images in shards"
    refusals = {
        str(FOLDER / "shards.tfrecord"): (ImportError, shards),
        str(FOLDER / "shards.tar"): (ImportError, shards),
        "gs://bucket/photos": (ImportError, "a path for tf.io.gfile"),
        "mnist": (ValueError, "pip install tensorflow tensorflow-datasets"),  # or a mistyped folder
    }
    for source, (kind, says) in refusals.items():
        try:
            data.load(source)
        except kind as error:
            assert says in str(error), error
        else:
            raise AssertionError(f"{source} is loaded without TensorFlow")


found = photos()
figures = {
    "views": train_and_resume(lambda: data.make_views(found, POLICY, 8, seed=5)),
    "views on the device": train_and_resume(lambda: data.make_batches(found, 8, seed=5), POLICY),
    "arrays": inspect_and_judge(found),
}
if "commands" in sys.argv[2:]:
    figures["run"] = commands()
if not is_installed():
    check_refusals()
    figures["tensorflow"] = sys.modules.get("tensorflow") is not None
print(json.dumps(figures))
