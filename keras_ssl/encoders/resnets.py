"""Residual networks, also for small images.

They are plain functional Keras models of stock layers, which load without this library when they
are saved alone.

References:
    - He et al.: Deep residual learning for image recognition, CVPR 2016.
    - Chen et al. (SimCLR), 2020, appendix B.9: the 3x3 stem for small images.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice, check_count
from keras_ssl.encoders.input_range import UNIT_INPUT

# As in the published PyTorch codes: epsilon 1e-5, momentum 0.1 (Keras' 0.9).
_BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}


def _convolution(
    x: Tensor, filters: int, kernel_size: int, strides: int = 1, scale: str = "ones", name: str = ""
) -> Tensor:
    """A convolution and its batch normalization."""
    x = layers.Conv2D(
        filters,
        kernel_size,
        strides=strides,
        padding="same",
        use_bias=False,
        kernel_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    return layers.BatchNormalization(gamma_initializer=scale, name=f"{name}_norm", **_BATCH_NORM)(x)


def _residual_block(
    x: Tensor, filters: int, strides: int, bottleneck: bool, zero_init: bool, name: str
) -> Tensor:
    """Adds two 3x3 convolutions, or with a bottleneck 1x1, 3x3, and 1x1 to 4 times the filters.

    The names of the layers begin with `name`: `keras_ssl.encoders.blocks` finds blocks by them.
    """
    if bottleneck:
        plan = [(filters, 1, 1), (filters, 3, strides), (4 * filters, 1, 1)]
    else:
        plan = [(filters, 3, strides), (filters, 3, 1)]
    out_filters = plan[-1][0]

    residual = x
    for i, (width, kernel_size, stride) in enumerate(plan):
        is_last = i == len(plan) - 1
        scale = "zeros" if is_last and zero_init else "ones"
        residual = _convolution(residual, width, kernel_size, stride, scale, f"{name}_{i + 1}")
        if not is_last:
            residual = layers.ReLU()(residual)

    if strides != 1 or x.shape[-1] != out_filters:
        x = _convolution(x, out_filters, 1, strides, name=f"{name}_shortcut")
    return layers.ReLU()(layers.Add()([x, residual]))


def check_image_shape(name: str, value: Any) -> tuple[int | None, int | None, int]:
    """Returns `value` as (height, width, channels), or raises. Height and width may be `None`."""
    try:
        height, width, channels = value
        sides = [None if side is None else check_count(name, side) for side in (height, width)]
        return (*sides, check_count(name, channels))  # type: ignore[return-value]
    except (TypeError, ValueError):
        raise ValueError(
            f"`{name}` must be (height, width, channels), whole numbers above zero; height and "
            f"width may be None. Received: {name}={value!r}"
        ) from None


def resnet(
    input_shape: Sequence[int | None],
    blocks: Sequence[int],
    width: int = 64,
    bottleneck: bool = False,
    stem: str = "small",
    zero_init_residual: bool = True,
    name: str = "resnet",
    stages: int = 1,
) -> keras.Model:
    """Builds a residual network from images to pooled representations.

    Args:
        input_shape: (height, width, channels) of the images; height and width may be `None`.
        blocks: Number of residual blocks per stage; each stage but the first halves the resolution
            and doubles the filters.
        width: Filters of the first stage.
        bottleneck: Whether blocks are bottlenecks, as from ResNet-50 on.
        stem: "small": one 3x3 convolution, for images up to about 64 pixels (SimCLR's appendix
            B.9); "strided": the same with stride 2, a quarter of the cost; "imagenet": a 7x7
            convolution of stride 2 and max-pooling.
        zero_init_residual: Whether every block starts as the identity, because the scale of its
            last batch normalization starts at zero, as in the published codes of SimCLR and VICReg.
            Runs of a few dozen epochs do better without this.
        name: Name of the model.
        stages: Number of last stages whose averaged feature maps are the representation, side by
            side; at most as many as there are. Default 1: the last stage alone.

    Returns:
        A functional `keras.Model` from float (N, height, width, channels) in [0, 1] to
        representations (N, D). Stage i, from 0 on, has width * 2^i filters, four times that with
        bottlenecks; D is their sum over the last `stages`.

    Raises:
        ValueError: for an input shape that is not three numbers, an unknown stem, no blocks, or
            more `stages` than there are.

    Example:
        >>> resnet((32, 32, 3), blocks=(1, 1), width=4).output_shape
        (None, 8)
        >>> resnet((32, 32, 3), blocks=(1, 1), width=4, stages=2).output_shape
        (None, 12)
    """
    shape = check_image_shape("input_shape", input_shape)
    check_choice("stem", stem, ("small", "strided", "imagenet"))
    check_count("width", width)
    if not isinstance(blocks, Sequence) or isinstance(blocks, str) or not blocks:
        raise ValueError(f"`blocks` must name at least one stage. Received: {blocks=}")
    if check_count("stages", stages) > len(blocks):
        raise ValueError(
            f"`stages` must be at most {len(blocks)}, the stages of `blocks`. Received: {stages=}"
        )

    inputs = layers.Input(shape, name=UNIT_INPUT)
    kernel_size, strides = {"small": (3, 1), "strided": (3, 2), "imagenet": (7, 2)}[stem]
    x = layers.ReLU()(_convolution(inputs, width, kernel_size, strides, name="stem"))
    if stem == "imagenet":
        x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    ends = []
    for stage, count in enumerate(blocks):
        for block in range(check_count("blocks", count)):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _residual_block(
                x,
                width * 2**stage,
                strides,
                bottleneck,
                zero_init_residual,
                name=f"block_{sum(blocks[:stage]) + block + 1}",
            )
        ends.append(x)
    means = [layers.GlobalAveragePooling2D()(x) for x in ends[-stages:]]
    outputs = means[0] if stages == 1 else layers.Concatenate()(means)
    return keras.Model(inputs, outputs, name=name)


def resnet8(
    input_shape: Sequence[int | None] = (28, 28, 1),
    width: int = 16,
    stem: str = "small",
    stages: int = 1,
) -> keras.Model:
    """Builds a ResNet-8, D = 64 at width 16, for tiny images and short runs on a CPU.

    Its blocks do not start as the identity; see `resnet`, also for the arguments.

    Example:
        >>> encoder = resnet8((28, 28, 1))
        >>> encoder.output_shape, encoder.count_params()
        ((None, 64), 77776)
    """
    return resnet(
        input_shape,
        (1, 1, 1),
        width,
        stem=stem,
        zero_init_residual=False,
        stages=stages,
        name="resnet8",
    )


def resnet18(
    input_shape: Sequence[int | None] = (32, 32, 3), width: int = 64, stem: str = "small"
) -> keras.Model:
    """Builds a ResNet-18, D = 512 at width 64. See `resnet` for the arguments.

    Example:
        >>> resnet18((32, 32, 3), width=2).output_shape
        (None, 16)
    """
    return resnet(input_shape, (2, 2, 2, 2), width, stem=stem, name="resnet18")


def resnet34(
    input_shape: Sequence[int | None] = (32, 32, 3), width: int = 64, stem: str = "small"
) -> keras.Model:
    """Builds a ResNet-34, D = 512 at width 64. See `resnet` for the arguments.

    Example:
        >>> resnet34((32, 32, 3)).output_shape  # doctest: +SKIP
        (None, 512)
        >>> resnet34((32, 32, 3), stem="large")
        Traceback (most recent call last):
            ...
        ValueError: `stem` must be one of ['small', 'strided', 'imagenet']. Received: stem='large'
    """
    return resnet(input_shape, (3, 4, 6, 3), width, stem=stem, name="resnet34")


def resnet50(
    input_shape: Sequence[int | None] = (224, 224, 3), width: int = 64, stem: str = "imagenet"
) -> keras.Model:
    """Builds a ResNet-50, D = 2048 at width 64. See `resnet` for the arguments.

    Example:
        >>> resnet50((224, 224, 3)).output_shape  # doctest: +SKIP
        (None, 2048)
        >>> resnet50((224, 224))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `input_shape` must be (height, width, channels), whole numbers above zero; ...
    """
    return resnet(input_shape, (3, 4, 6, 3), width, bottleneck=True, stem=stem, name="resnet50")
