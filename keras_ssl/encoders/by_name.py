"""Encoders by name: our own, and those of `keras.applications` with or without their weights."""

import functools
import inspect
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl import _log
from keras_ssl.encoders.adapt import as_encoder
from keras_ssl.encoders.resnets import (
    check_image_shape,
    resnet8,
    resnet18,
    resnet34,
    resnet50,
)
from keras_ssl.encoders.vits import vit_small, vit_tiny

ENCODERS: dict[str, Callable[..., keras.Model]] = {
    "resnet8": resnet8,
    "resnet8-strided": functools.partial(resnet8, stem="strided"),
    "resnet8-wide": functools.partial(resnet8, width=64, stem="strided", stages=3),
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet50": resnet50,
    "vit_tiny": vit_tiny,
    "vit_small": vit_small,
}
"""Functions from a shape (height, width, channels) to an encoder, by name.

Height and width may be `None`, but not for transformers.
"""
# Those whose stem follows from the size of the images.
_WITH_STEM = ("resnet18", "resnet34", "resnet50")
_TRANSFORMERS = ("vit_tiny", "vit_small")
# The files that `Model.load_weights` reads.
_WEIGHTS_FILES = (".weights.h5", ".h5", ".keras")


def is_known(name: Any) -> bool:
    """Whether `build_encoder` knows a name."""
    return isinstance(name, str) and (
        name in ENCODERS or callable(getattr(keras.applications, name, None))
    )


def check_encoder(name: Any, any_size: bool = False) -> None:
    """Raises a `ValueError` if `build_encoder` does not know `name`.

    Args:
        name: The name.
        any_size: Whether the encoder must take images of any size, which transformers do not.

    Example:
        >>> check_encoder("vit_tiny")
        >>> check_encoder("vit_tiny", any_size=True)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `encoder` must take images of any size, because the views have another size ...
    """
    if not is_known(name):
        known = [n for n in dir(keras.applications) if callable(getattr(keras.applications, n))]
        raise ValueError(
            f"`encoder` must be one of {list(ENCODERS)} or of keras.applications: {known}. "
            f"Received: encoder={name!r}"
        )
    if any_size and name in _TRANSFORMERS:
        raise ValueError(
            "`encoder` must take images of any size, because the views have another size than the "
            f"images (`view_size`); transformers do not. Received: encoder={name!r}"
        )


def check_weights(name: str, weights: Any, input_shape: Sequence[int | None]) -> None:
    """Raises a `ValueError` if it is known before any download that `weights` do not fit."""
    if weights is None:
        return
    if weights == "imagenet":
        if name in ENCODERS:
            raise ValueError(
                f"`weights` must be a file or None for {name!r}: only keras.applications has "
                "weights of ImageNet. Received: weights='imagenet'"
            )
        if input_shape[-1] != 3:
            raise ValueError(
                "`weights` of ImageNet must be for images of 3 channels: load gray images with "
                f"channels=3. Received: images of shape {tuple(input_shape)}"
            )
        return
    is_file = isinstance(weights, (str, os.PathLike)) and pathlib.Path(weights).is_file()
    if not is_file or not str(weights).endswith(_WEIGHTS_FILES):
        raise ValueError(
            f'`weights` must be None, "imagenet", or a file {_WEIGHTS_FILES}. '
            f"Received: weights={str(weights)!r}"
        )


def build_encoder(
    name: str,
    input_shape: Sequence[int | None],
    weights: str | os.PathLike[str] | None = None,
    input_range: Any = None,
    pooling: str | None = None,
    any_size: bool = False,
) -> keras.Model:
    """Builds an encoder by name, with pooled output, for images in [0, 1].

    Args:
        name: One of `ENCODERS`, or the name of a model of `keras.applications`, such as
            "EfficientNetB0". Residual networks get the stem, and transformers the patches, that fit
            the size of the images.
        input_shape: (height, width, channels) of the images; height and width may be `None`, but
            not for transformers.
        weights: "imagenet" downloads the weights of `keras.applications`; or a file that
            `keras.Model.save_weights` of the same model wrote. Default: an untrained encoder.
        input_range: The range of images that the weights are for, see `as_encoder`. Default for
            `keras.applications` with weights: that of the model's own `preprocess_input`; of
            EfficientNet (not V2) from a file that descends from ImageNet's weights, one that scales
            as `weights="imagenet"` does (a file does not say whether it was trained so).
        pooling: "class" or "mean", for transformers. Default "mean".
        any_size: Whether the encoder takes images of any size. It is still made for images of
            `input_shape`. Transformers cannot.

    Raises:
        ValueError: for an unknown name, a shape that is not three numbers, or weights that cannot
            be had or do not fit.

    Example:
        >>> encoder = build_encoder("resnet8", (28, 28, 1), any_size=True)
        >>> encoder.input_shape, encoder.output_shape
        ((None, None, None, 1), (None, 64))
    """
    check_encoder(name, any_size)
    shape = check_image_shape("input_shape", input_shape)
    check_weights(name, weights, shape)
    if pooling not in (None, "mean") and name not in _TRANSFORMERS:
        raise ValueError(
            f'`pooling` must be "mean" or left out for {name!r}, which has no class token. '
            f"Received: pooling={pooling!r}"
        )
    large = shape[0] is None or shape[0] > 64
    if any_size:
        shape = (None, None, shape[-1])
    if name in ENCODERS:
        settings: dict[str, Any] = {}
        if name in _WITH_STEM:
            settings["stem"] = "imagenet" if large else "small"
        elif pooling is not None and name in _TRANSFORMERS:
            settings["pooling"] = pooling
        network = ENCODERS[name](shape, **settings)
        if weights is not None:
            _load_weights(network, name, weights)
        return as_encoder(network, input_range)
    network = _application(name, shape, weights)
    if input_range is None:
        input_range = _range(name, weights) or _range_of_a_file(network, weights)
    return as_encoder(network, input_range)


def _application(name: str, shape: tuple[int | None, ...], weights: Any) -> keras.Model:
    application = getattr(keras.applications, name)
    settings = {"weights": None, "include_top": False, "pooling": "avg", "input_shape": shape}
    if "include_preprocessing" in inspect.signature(application).parameters:
        # Their preprocessing has a mean for each of three channels.
        settings["include_preprocessing"] = shape[-1] == 3
    if weights != "imagenet":
        network = application(**settings)
        if weights is not None:
            _load_weights(network, name, weights)
        return network
    try:
        return application(**{**settings, "weights": "imagenet"})
    except Exception as error:  # noqa: BLE001 (of the network, or of a file that does not fit)
        raise ValueError(
            f"`weights` of ImageNet for {name!r} could not be had: {error}. A file of weights from "
            "another machine does as well. Received: weights='imagenet'"
        ) from error


def _range_of_a_file(network: keras.Model, weights: Any) -> Any:
    """The range for weights of EfficientNet (not V2) from a file that descends from ImageNet's.

    Keras divides by the square root of the deviations once more after the normalization, but only
    for `weights="imagenet"`. The range does the same.
    """
    layers = [one for one in network.layers if isinstance(one, keras.layers.Normalization)]
    if weights in (None, "imagenet") or len(layers) != 1 or not layers[0].weights:
        return None
    mean, deviation = (np.ravel(w) for w in layers[0].get_weights()[:2])
    published = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    if len(mean) != 3 or not np.allclose([mean, deviation], published, atol=1e-3):
        return None
    _log.say(
        f"The weights of {network.name} descend from ImageNet's: images are scaled as for "
        "weights='imagenet'. If they were trained without that, pass input_range=(0, 255)."
    )
    factor = deviation**-0.5
    low, high = 255 * mean * (1 - factor), 255 * (mean + (1 - mean) * factor)
    return low.tolist(), high.tolist()


def _load_weights(network: keras.Model, name: str, weights: Any) -> None:
    try:
        network.load_weights(weights)
    except Exception as error:  # noqa: BLE001 (of HDF5, zip and Keras)
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ValueError(
            f"`weights` must be a file of the weights of {name!r} without its classifier. "
            f"Received: weights={str(weights)!r}: {first}"
        ) from error


def _range(name: str, weights: Any) -> Any:
    """Returns the range that the weights of an application are for, by its `preprocess_input`."""
    if weights is None:
        return None  # What its own layers tell.
    home: Any = inspect.getmodule(getattr(keras.applications, name))
    extremes = np.stack([np.zeros((1, 1, 3)), np.full((1, 1, 3), 255.0)]).astype("float32")
    theirs = home.preprocess_input(extremes.copy())
    for mode in ("caffe", "torch", "tf"):
        of_mode = keras.applications.imagenet_utils.preprocess_input(extremes.copy(), mode=mode)
        if np.allclose(theirs, of_mode):
            return mode
    return None  # It changes nothing: the network's own layers do.
