"""The one door to encoders: by name, from KerasHub, from a file, from a run, or from memory."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl.encoders import hub
from keras_ssl.encoders.adapt import as_encoder
from keras_ssl.encoders.by_name import ENCODERS, build_encoder, is_known
from keras_ssl.encoders.exported import load_exported
from keras_ssl.encoders.training_part import plain_encoder


def load_encoder(
    source: Any,
    image_shape: Sequence[int | None] | None = None,
    input_range: Any = None,
    weights: str | os.PathLike[str] | None = None,
    pooling: str | None = None,
    any_size: bool = False,
) -> keras.Model:
    """Loads or builds an encoder: from images in [0, 1] to one representation each.

    Args:
        source: One of these:
            a name: one of `ENCODERS`, or of `keras.applications`, such as "EfficientNetB0";
            a preset of KerasHub: "keras_hub:" and its name, a handle "hf://...", "kaggle://..." or
            "modelscope://...", or a folder that `save_to_preset` wrote;
            the folder of a run, which holds encoder.keras;
            a `.keras` file of an encoder or of a whole method;
            a folder that `keras_ssl.export` wrote as safetensors;
            a Keras model.
        image_shape: (height, width, channels) of the images. A name needs it; a preset has its
            own if it is left out, which is `encoder.input_shape[1:]` of the result.
        input_range: The range of images that the encoder was trained on: see `as_encoder`. Default:
            what the preset's image converter says, or the model's `preprocess_input` in
            `keras.applications`, or what the layers tell.
        weights: For names: "imagenet" (`keras.applications`), or a file of weights. Default: an
            untrained encoder. Presets, runs and files bring their own.
        pooling: What becomes of tokens, "class" or "mean": see `as_encoder`.
        any_size: Whether an encoder by name takes images of any size, see `build_encoder`. Others
            take what they take.

    Returns:
        An encoder that is trained as a whole: see `keras_ssl.encoders.prepare_training`.

    Raises:
        ValueError: if there is no encoder at `source`, it cannot be read, or an argument does not
            fit it.

    Example:
        A folder with a file encoder.keras is that of a run.

        >>> import tempfile
        >>> from keras_ssl.encoders import resnet
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     resnet((8, 8, 1), blocks=(1,), width=4).save(f"{folder}/encoder.keras")
        ...     encoder = load_encoder(folder)
        >>> encoder.input_shape, encoder.output_shape
        ((None, 8, 8, 1), (None, 4))
    """
    if isinstance(source, keras.layers.Layer):
        _refuse_weights(weights, "a model")
        return as_encoder(_encoder_of(source), input_range, image_shape, pooling)
    if is_known(source):
        if image_shape is None:
            raise ValueError(
                f"`image_shape` must be given for an encoder by name. Received: {source!r}"
            )
        return build_encoder(source, image_shape, weights, input_range, pooling, any_size)
    _refuse_weights(weights, "a preset, a run or a file")
    check_is_there("encoder", source)
    text = os.fspath(source)
    if (exported := load_exported(text)) is not None:
        return plain_encoder(as_encoder(exported, input_range, image_shape, pooling))
    if hub.is_preset(text):
        backbone, its_range = hub.load_backbone(text, image_shape)
        input_range = its_range if input_range is None else input_range
        return as_encoder(backbone, input_range, image_shape, pooling)
    encoder = as_encoder(_encoder_of(_read(text)), input_range, image_shape, pooling)
    return plain_encoder(encoder)


def check_is_there(name: str, source: Any) -> None:
    """Raises a `ValueError` if an argument is a path to which there is nothing.

    A text without a separator may also be a name, and one with "://" is read elsewhere.
    """
    is_path = isinstance(source, os.PathLike) or (
        isinstance(source, str) and os.sep in source and "://" not in source
    )
    if is_path and not os.path.exists(source):
        raise ValueError(
            f"`{name}` must be a run, a file or another encoder, and it is not there. "
            f"Received: {name}={os.fspath(source)!r}"
        )


def _encoder_of(model: keras.layers.Layer) -> keras.layers.Layer:
    """Returns the encoder of a method; any other model as it is."""
    # Backbones of KerasHub have an attribute `encoder`, too, but it takes no images.
    is_method = all(hasattr(model, name) for name in ("encoder", "projector", "criterion"))
    return model.encoder if is_method else model


def _refuse_weights(weights: Any, what: str) -> None:
    if weights is not None:
        raise ValueError(
            f"`weights` must be left out for {what}, which has its own. "
            f"Received: weights={str(weights)!r}"
        )


def _read(text: str) -> keras.Model:
    path = pathlib.Path(text)
    file = path / "encoder.keras" if path.is_dir() else path
    if file.suffix != ".keras" or not file.is_file():
        raise ValueError(
            f"`encoder` must be one of {list(ENCODERS)}, a name of keras.applications, a preset of "
            f"KerasHub ({', '.join(hub.HANDLES)} or its folder), the folder of a run with its "
            f"encoder.keras, a .keras file, or a folder that was exported as safetensors. "
            f"Received: {text!r}"
        )
    try:
        return keras.models.load_model(file, compile=False)
    except Exception as error:  # noqa: BLE001 (of zip, HDF5 and Keras)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"`encoder` must be a file that Keras can read. Received: {text!r}: {first}"
        ) from error
