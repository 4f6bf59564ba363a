"""Encoders by name, for scripts: our own, and those of `keras.applications`."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_ssl.encoders.adapt import as_encoder
from keras_ssl.encoders.resnets import check_image_shape, resnet8, resnet18, resnet50

ENCODERS: dict[str, Callable[..., keras.Model]] = {
    "resnet8": resnet8,
    "resnet8-strided": functools.partial(resnet8, stem="strided"),
    "resnet18": resnet18,
    "resnet50": resnet50,
}


def check_encoder(name: Any) -> None:
    """Raises a `ValueError` if `build_encoder` does not know `name`."""
    is_known = isinstance(name, str) and (
        name in ENCODERS or callable(getattr(keras.applications, name, None))
    )
    if not is_known:
        known = [n for n in dir(keras.applications) if callable(getattr(keras.applications, n))]
        raise ValueError(
            f"`encoder` must be one of {list(ENCODERS)} or of keras.applications: {known}. "
            f"Received: encoder={name!r}"
        )


def build_encoder(name: str, input_shape: Sequence[int | None]) -> keras.Model:
    """Builds an untrained encoder by name, with pooled output, for images in [0, 1].

    Args:
        name: One of `ENCODERS`, or the name of a model of `keras.applications`, such as
            "EfficientNetB0". Residual networks get the stem that fits the size of the images.
        input_shape: (height, width, channels) of the images; height and width may be `None`.

    Raises:
        ValueError: for an unknown name, or a shape that is not three numbers.
    """
    check_encoder(name)
    shape = check_image_shape("input_shape", input_shape)
    if name in ENCODERS:
        large = shape[0] is None or shape[0] > 64
        stem = {} if name.startswith("resnet8") else {"stem": "imagenet" if large else "small"}
        return ENCODERS[name](shape, **stem)
    application = getattr(keras.applications, name)
    settings = {"weights": None, "include_top": False, "pooling": "avg", "input_shape": shape}
    if "include_preprocessing" in inspect.signature(application).parameters:
        # Their preprocessing has a mean for each of three channels.
        settings["include_preprocessing"] = shape[-1] == 3
    return as_encoder(application(**settings))
