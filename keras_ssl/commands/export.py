"""`export`: an encoder as a file that runs without Keras, or that can be published."""

import os
from typing import Any, Literal

import keras
import numpy as np

from keras_ssl import _log
from keras_ssl._validation import check_positive
from keras_ssl.data import ImageSet
from keras_ssl.encoders import check_images, load_encoder
from keras_ssl.exporting import Exported, write_folder
from keras_ssl.exporting.folder import check_out, check_takes_images
from keras_ssl.exporting.formats import check_format
from keras_ssl.exporting.model_card import Training, read_training
from keras_ssl.runs import scaling_of, stage
from keras_ssl.runs.images import load_for

# Enough images for the largest of a thousand differences, few enough for seconds on a CPU.
_IMAGES, _SMOKE = 32, 4
# Height and width of random images for an encoder that takes any size.
_SIZE = 64


def export(
    encoder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: Literal["saved_model", "onnx", "litert", "safetensors", "keras_hub"] = "saved_model",
    images: str | os.PathLike[str] | None = None,
    tolerance: float = 1e-4,
    smoke: bool = False,
    quiet: bool = False,
) -> Exported:
    """Writes an encoder to a new folder, in a format that runs elsewhere or can be published.

    The folder holds the file, contract.json (the images that it takes and what it returns) and
    README.md (a model card). The file is run on 32 images and compared with Keras before the folder
    appears. It takes batches of any number of float32 images in [0, 1].

    Examples:
        keras-ssl export runs/RUN exported
        keras-ssl export runs/RUN exported --format onnx --images photos/

    Args:
        encoder: The folder of a run, or a .keras file. In Python, also a Keras model.
        out: The folder to write, which must be new or empty.
        format: saved_model (the default, which needs no further package), onnx, litert,
            safetensors, or keras_hub (for encoders made of a KerasHub backbone).
        images: Images to compare on, a folder or another source (see `pretrain`); in Python, also
            an `ImageSet`. Default: those of the run, else random ones.
        tolerance: Largest difference from Keras that is accepted, as a part of the largest
            representation. Rounding in float32 gives about 1e-6; the default leaves room for deep
            encoders.
        smoke: Compares on 4 images, to try the command.
        quiet: Says only warnings.

    Returns:
        What was written: the path of the file, the contract, and the largest difference.

    Raises:
        ValueError: if there is no encoder, the folder holds files, a package of the format is
            missing, the images do not fit, or the file differs from Keras. Nothing is then written.
    """
    format_ = check_format(format)
    if keras.backend.backend() == "torch" and format in ("saved_model", "onnx", "litert"):
        raise ValueError(
            "`format` must be safetensors or keras_hub on the PyTorch backend of Keras: run the "
            f"command with KERAS_BACKEND=tensorflow. Received: {format=}"
        )
    check_out(out)
    check_positive("tolerance", tolerance)
    with _log.shown(quiet):
        model = load_encoder(encoder)
        check_takes_images(model)
        format_.check(model)
        training = read_training(encoder)
        count = _SMOKE if smoke else _IMAGES
        batch, described = _images(encoder, model, images, training, count)
        with stage(f"exporting {model.name} as {format_.title}, and comparing it with Keras"):
            exported = write_folder(
                model, out, format, batch, described, tolerance, training, scaling_of(encoder)
            )
        _log.say(_summary(exported, described))
    return exported


def _images(
    source: Any, encoder: keras.Model, images: Any, training: Training | None, count: int
) -> tuple[np.ndarray, str]:
    """Returns images to compare on, float32 (N, H, W, C) in [0, 1], and what they are."""
    if images is not None:
        return _real(source, encoder, images, count)
    if training is not None:
        options = training.config["options"]
        try:
            if not isinstance(options["source"], str):
                raise ValueError("they were an object of Python")
            return _real(source, encoder, options["source"], count, options.get("data_dir"))
        except (KeyError, ValueError, OSError, ImportError) as error:
            _log.say(f"The run's images cannot be read, so random ones are used: {error}")
    else:
        _log.say("No images were given, so random ones are used: --images names real ones.")
    _, height, width, channels = encoder.input_shape
    shape = (count, height or _SIZE, width or _SIZE, channels)
    return np.random.RandomState(0).uniform(size=shape).astype("float32"), f"{count} random images"


def _real(
    source: Any, encoder: keras.Model, images: Any, count: int, data_dir: str | None = None
) -> tuple[np.ndarray, str]:
    name = "the images given"
    if not isinstance(images, ImageSet):
        name = os.path.basename(os.path.normpath(images)) or name
        images = load_for(source, encoder, images, data_dir=data_dir, labels=False).train
    check_images(encoder, (None, *images.image_shape))
    batch, _ = next(iter(images.spread(count).batches(count)))
    return np.asarray(batch), f"{len(batch)} images of {name}"


def _summary(exported: Exported, described: str) -> str:
    takes, returns = exported.contract["input"], exported.contract["output"]
    normalized = "" if returns["l2_normalized"] else "not "
    return (
        f"It gives what Keras gives on {described}: the largest difference is "
        f"{exported.difference:.1e} of the largest value.\n"
        f"  takes    float32 {takes['shape']} in [0, 1]\n"
        f"  returns  float32 {returns['shape']}, {normalized}l2-normalized\n"
        f"Written to {exported.path}; README.md beside it shows how to run it."
    )
