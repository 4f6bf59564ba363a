"""Encoders: residual networks for small images, and any Keras model made into one.

What the builders return are plain functional Keras models of stock layers: saved alone, they load
without this library. All encoders take float images in [0, 1].

References:
    - He et al.: Deep residual learning for image recognition, CVPR 2016.
    - Chen et al. (SimCLR), 2020, appendix B.9: the 3x3 stem for small images.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import layers, ops

from keras_ssl._validation import check_choice, check_count

# As in the published PyTorch codes: epsilon 1e-5, momentum 0.1 (Keras' 0.9).
_BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}


def _convolution(x: Any, filters: int, kernel_size: int, strides: int = 1) -> Any:
    return layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
    )(x)


def _residual_block(x: Any, filters: int, strides: int, bottleneck: bool, zero_init: bool) -> Any:
    """Two 3x3 convolutions, or with a bottleneck 1x1, 3x3, 1x1 to four times the filters."""
    if bottleneck:
        plan = [(filters, 1, 1), (filters, 3, strides), (4 * filters, 1, 1)]
    else:
        plan = [(filters, 3, strides), (filters, 3, 1)]
    out_filters = plan[-1][0]

    residual = x
    for i, (width, kernel_size, stride) in enumerate(plan):
        is_last = i == len(plan) - 1
        residual = _convolution(residual, width, kernel_size, stride)
        scale = "zeros" if is_last and zero_init else "ones"
        residual = layers.BatchNormalization(gamma_initializer=scale, **_BATCH_NORM)(residual)
        if not is_last:
            residual = layers.ReLU()(residual)

    if strides != 1 or x.shape[-1] != out_filters:
        x = _convolution(x, out_filters, 1, strides)
        x = layers.BatchNormalization(**_BATCH_NORM)(x)
    return layers.ReLU()(layers.Add()([x, residual]))


def resnet(
    input_shape: Sequence[int],
    blocks: Sequence[int],
    width: int = 64,
    bottleneck: bool = False,
    stem: str = "small",
    zero_init_residual: bool = True,
    name: str = "resnet",
) -> keras.Model:
    """A residual network from images to pooled representations.

    Args:
        input_shape: (height, width, channels) of the images; height and width may be `None`.
        blocks: Number of residual blocks per stage; each stage but the first halves the resolution
            and doubles the filters.
        width: Filters of the first stage.
        bottleneck: Whether blocks are bottlenecks, as from ResNet-50 on.
        stem: "small": one 3x3 convolution, for images up to about 64 pixels (SimCLR's appendix
            B.9); "strided": the same with stride 2, a quarter of the cost; "imagenet": a 7x7
            convolution of stride 2 and max-pooling.
        zero_init_residual: Whether every block starts as the identity, the last scale of its batch
            normalisation being zero: the published codes of SimCLR and VICReg. Runs of a few dozen
            epochs do better without.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from float (N, height, width, channels) in [0, 1] to
        representations (N, D), D = width * 2^(stages - 1), four times that with bottlenecks.

    Raises:
        ValueError: for an input shape that is not three numbers, an unknown stem, no blocks.
    """
    if len(input_shape) != 3 or input_shape[-1] is None:
        raise ValueError(
            f"`input_shape` must be (height, width, channels). Received: {input_shape=}"
        )
    check_choice("stem", stem, ("small", "strided", "imagenet"))
    check_count("width", width)
    if not blocks:
        raise ValueError(f"`blocks` must name at least one stage. Received: {blocks=}")

    inputs = layers.Input(tuple(input_shape))
    kernel_size, strides = {"small": (3, 1), "strided": (3, 2), "imagenet": (7, 2)}[stem]
    x = _convolution(inputs, width, kernel_size, strides)
    x = layers.ReLU()(layers.BatchNormalization(**_BATCH_NORM)(x))
    if stem == "imagenet":
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    for stage, count in enumerate(blocks):
        for block in range(check_count("blocks", count)):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _residual_block(x, width * 2**stage, strides, bottleneck, zero_init_residual)
    return keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name=name)


def resnet8(
    input_shape: Sequence[int] = (28, 28, 1), width: int = 16, stem: str = "small"
) -> keras.Model:
    """ResNet-8, D = 64 at width 16: for tiny images, short runs, machines without an accelerator.

    Its blocks do not start as the identity; see `resnet`.
    """
    return resnet(
        input_shape, (1, 1, 1), width, stem=stem, zero_init_residual=False, name="resnet8"
    )


def resnet18(
    input_shape: Sequence[int] = (32, 32, 3), width: int = 64, stem: str = "small"
) -> keras.Model:
    """ResNet-18, D = 512 at width 64. See `resnet` for the arguments."""
    return resnet(input_shape, (2, 2, 2, 2), width, stem=stem, name="resnet18")


def resnet50(
    input_shape: Sequence[int] = (224, 224, 3), width: int = 64, stem: str = "imagenet"
) -> keras.Model:
    """ResNet-50, D = 2048 at width 64. See `resnet` for the arguments."""
    return resnet(input_shape, (3, 4, 6, 3), width, bottleneck=True, stem=stem, name="resnet50")


ENCODERS: dict[str, Callable[..., keras.Model]] = {
    "resnet8": resnet8,
    "resnet8-strided": functools.partial(resnet8, stem="strided"),
    "resnet18": resnet18,
    "resnet50": resnet50,
}


def check_encoder(name: str) -> None:
    """Raises a `ValueError` if `build_encoder` does not know `name`."""
    if name not in ENCODERS and not callable(getattr(keras.applications, name, None)):
        known = [n for n in dir(keras.applications) if callable(getattr(keras.applications, n))]
        raise ValueError(
            f"`encoder` must be one of {list(ENCODERS)} or of keras.applications: {known}. "
            f"Received: encoder={name!r}"
        )


def build_encoder(name: str, input_shape: Sequence[int]) -> keras.Model:
    """An encoder by name, for scripts.

    Args:
        name: One of `ENCODERS`, or the name of a model of `keras.applications`, such as
            "EfficientNetB0", which is built untrained, pooled, and for images in [0, 1]. Residual
            networks get the stem that fits the size of the images.
        input_shape: (height, width, channels) of the images.

    Raises:
        ValueError: for an unknown name.
    """
    check_encoder(name)
    if name in ENCODERS:
        large = input_shape[0] is None or input_shape[0] > 64
        stem = {} if name.startswith("resnet8") else {"stem": "imagenet" if large else "small"}
        return ENCODERS[name](input_shape, **stem)
    application = getattr(keras.applications, name)
    settings = {"weights": None, "include_top": False, "pooling": "avg"}
    if "include_preprocessing" in inspect.signature(application).parameters:
        return application(input_shape=tuple(input_shape), include_preprocessing=False, **settings)
    network = application(input_shape=tuple(input_shape), **settings)
    if any(isinstance(layer, layers.Rescaling) for layer in network.layers):
        # EfficientNet divides by 255 itself, without a way to tell it not to.
        return keras.Sequential(
            [layers.Input(tuple(input_shape)), layers.Rescaling(255.0), network], name=name.lower()
        )
    return network


def as_encoder(model: Any) -> keras.Model:
    """Any Keras model or layer as an encoder: images in, one representation per image out.

    Args:
        model: A Keras model or layer whose output is (N, D), or feature maps (N, height, width, D),
            which are then averaged over height and width. `keras.applications` models are built
            with `weights=None` or "imagenet" and `include_top=False`; those that want another range
            than [0, 1] are wrapped with a `keras.layers.Rescaling` in a `keras.Sequential`.

    Returns:
        `model` itself if its output has rank 2, or is not known before it is called (feature maps
        are then averaged when they come: see `pooled`); else a `keras.Sequential` of it and a
        `GlobalAveragePooling2D`.

    Raises:
        TypeError: if `model` is not a Keras layer.
        ValueError: if its output is neither of rank 2 nor of rank 4.
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            "`encoder` must be a Keras model or layer. "
            f"Received: encoder={model!r} of type {type(model).__name__}"
        )
    if not isinstance(model, keras.Model):
        model = keras.Sequential([model], name=model.name)  # with `predict`, and a file of its own
    try:
        shape = model.output_shape
    except AttributeError:
        return model  # Not built, or subclassed.
    if isinstance(shape, tuple) and len(shape) == 4:
        return keras.Sequential(
            [layers.Input(model.input_shape[1:]), model, layers.GlobalAveragePooling2D()],
            name=model.name,
        )
    check_representations(model, shape)
    return model


def pooled(features: Any) -> Any:
    """Feature maps (N, height, width, D) averaged to (N, D); anything else as it is."""
    return ops.mean(features, axis=(1, 2)) if len(features.shape) == 4 else features


def check_representations(encoder: keras.layers.Layer, shape: Any) -> None:
    """Raises unless `shape`, the output of `encoder`, is one vector (N, D) per image."""
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[-1] is None:
        raise ValueError(
            "`encoder` must give one representation (N, D) per image, or feature maps "
            "(N, height, width, D). "
            f"Received: encoder={encoder.name!r} with output shape {shape}"
        )


def check_images(encoder: keras.layers.Layer, shape: Sequence[int | None]) -> None:
    """Raises unless images of `shape` (N, height, width, channels) fit the encoder's input."""
    if len(shape) != 4:
        raise ValueError(
            f"Images must be batches (N, height, width, channels). Received: shape={tuple(shape)}"
        )
    try:
        expected = encoder.input_shape
    except AttributeError:
        return
    names = ("height", "width", "channels")
    for name, want, have in zip(names, expected[1:], shape[1:], strict=True):
        if want is not None and have is not None and want != have:
            raise ValueError(
                f"Images must fit the encoder: {encoder.name!r} was built for {name} {want} "
                f"(input shape {tuple(expected[1:])}). Received: images of shape {tuple(shape[1:])}"
            )
