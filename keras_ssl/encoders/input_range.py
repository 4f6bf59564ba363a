"""Finds or checks the range of values that a network wants its images in, and scales to it.

Encoders take images in [0, 1]. Many networks want another range, and most of them contain layers in
front that scale the images: those of EfficientNet divide by 255. What such layers do is found by
trying: constant images go through the network up to its first layer with weights, and the network
wants the range that arrives there as numbers of order one.
"""

import contextlib
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from keras_ssl._keras import all_layers, called_as, inner_layers, own_weights
from keras_ssl._tensors import Tensor

# The low and the high end, each a number or one number per channel; or a mode.
End = float | tuple[float, ...]
Range = tuple[End, End] | str

UNIT: Range = (0.0, 1.0)
UNIT_INPUT = "images_from_0_to_1"
"""The name of the input of a network that takes [0, 1]. A .keras file keeps it, at no cost."""

# "tf" is a plain range, [-1, 1].
_NAMED_PAIRS: dict[str, Range] = {"tf": (-1.0, 1.0)}


class _Scaling(NamedTuple):
    """Scales [0, 1] to a range: reverses channels or not, then multiplies and adds."""

    scale: list[float]
    offset: list[float]
    reverses_channels: bool = False


# Mean and standard deviation of ImageNet's pixels, as in keras.applications.imagenet_utils.
_TORCH_MEAN, _TORCH_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MODES = {
    "caffe": _Scaling([255.0] * 3, [-103.939, -116.779, -123.68], reverses_channels=True),
    "torch": _Scaling(
        [1 / deviation for deviation in _TORCH_DEVIATION],
        [-m / deviation for m, deviation in zip(_TORCH_MEAN, _TORCH_DEVIATION, strict=True)],
    ),
}

# The common ranges of images, the likeliest first.
_CANDIDATES: tuple[Range, ...] = (UNIT, (0.0, 255.0), (-1.0, 1.0))
# "Of order one": division by ImageNet's standard deviation turns [0, 1] into a range of width 4.4.
# Where the division is meant for [0, 255], it turns [0, 1] into one of width 1 / 57.
_ORDER_ONE = 20.0
# What rounding changes, as a part of a range.
_SLACK = 1e-3


def parse_range(text: Any) -> Any:
    """Reads an `input_range` of a command line: "0,255" is a pair, a word is a mode.

    What is no text, as a pair of Python's numbers, stays as it is.

    Example:
        >>> parse_range("0,255"), parse_range("caffe")
        (['0', '255'], 'caffe')
    """
    parts = text.split(",") if isinstance(text, str) else []
    return parts if len(parts) > 1 else text


def check_input_range(value: Any) -> Range | None:
    """Returns a stated range in its standard form, or raises an error.

    Args:
        value: A pair (low, high) of numbers, or of one number per channel; "caffe", "torch" or
            "tf", the modes of `keras.applications.imagenet_utils.preprocess_input`; or `None`.

    Returns:
        A pair of floats or of tuples of floats, "caffe", "torch", or `None`.

    Raises:
        ValueError: for anything else.
    """
    if value is None or (isinstance(value, str) and value in _MODES):
        return value
    if isinstance(value, str) and value in _NAMED_PAIRS:
        return _NAMED_PAIRS[value]
    try:
        low, high = (math.nan, math.nan) if isinstance(value, (str, bytes)) else map(_end, value)
        spread = np.subtract(high, low)  # Of different numbers of channels, it raises.
    except (TypeError, ValueError):
        spread = np.array(math.nan)
    if not np.all(np.isfinite(spread)) or not np.all(spread > 0):
        raise ValueError(
            "`input_range` must be a pair (low, high) of numbers, such as (0, 255), or the mode of "
            f'`preprocess_input`: "caffe", "torch" or "tf". Received: input_range={value!r}'
        )
    return low, high


def _end(value: Any) -> End:
    if isinstance(value, (list, tuple, np.ndarray)) and np.ndim(value) == 1:
        return tuple(map(float, value))
    return float(value)


def scale_images(images: Tensor, wanted: Range) -> Tensor:
    """Scales images in [0, 1] to another range, by stock Keras layers.

    Args:
        images: A symbolic tensor, (N, height, width, channels).
        wanted: What `check_input_range` returns.

    Raises:
        ValueError: if `wanted` is a mode for three channels and the images have another number.
    """
    if wanted == UNIT:
        return images
    if isinstance(wanted, str):
        if images.shape[-1] != 3:
            raise ValueError(
                f"`input_range` {wanted!r} is for images of 3 channels. Received: images of shape "
                f"{tuple(images.shape[1:])}"
            )
        scale, offset, reverses_channels = _MODES[wanted]
        if reverses_channels:
            images = ops.flip(images, axis=-1)
        return keras.layers.Rescaling(scale, offset, dtype="float32", name=f"to_{wanted}")(images)
    low, high = wanted
    channels = {len(end) for end in wanted if isinstance(end, tuple)}
    if channels - {images.shape[-1]}:
        raise ValueError(
            f"`input_range` of {max(channels)} channels must be for images of as many. Received: "
            f"images of shape {tuple(images.shape[1:])}"
        )
    scale, offset = np.subtract(high, low).tolist(), np.asarray(low).tolist()
    return keras.layers.Rescaling(scale, offset, dtype="float32", name="to_range")(images)


def call_on_images(model: keras.Model, images: Tensor, **kwargs: Any) -> Tensor:
    """Returns `model(images)`, also for a model whose one input is in a list or a dictionary."""
    if takes_structure(model):
        images = keras.tree.pack_sequence_as(model.input, [images])
    return model(images, **kwargs)


def takes_structure(model: keras.Model) -> bool:
    """Whether the one input of a model is in a list or a dictionary."""
    is_graph = bool(getattr(model, "inputs", None)) and not isinstance(model, keras.Sequential)
    return is_graph and not isinstance(model.input, keras.KerasTensor)


def describe_range(encoder: keras.layers.Layer) -> str:
    """Describes in one line the range that a network wants, and what scales to it.

    Args:
        encoder: What `as_encoder` returned, or read from a file.

    Example:
        >>> import keras
        >>> from keras_ssl.encoders import as_encoder
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
        >>> describe_range(as_encoder(model, input_range=(0, 255)))
        '[0, 255], scaled from [0, 1] by a layer in front'
    """
    for layer in getattr(encoder, "layers", ()):
        if layer.name == "to_range":
            low, high = np.asarray(layer.offset), np.add(layer.offset, layer.scale)
            ends = " to ".join(", ".join(f"{x:g}" for x in np.ravel(end)) for end in (low, high))
            ends = f"({ends}) per channel" if low.ndim or high.ndim else f"[{low:g}, {high:g}]"
            return f"{ends}, scaled from [0, 1] by a layer in front"
        if layer.name in {f"to_{mode}" for mode in _MODES}:
            mode = layer.name.removeprefix("to_")
            return f'that of `preprocess_input` in mode "{mode}", by a layer in front'
    return "[0, 1]"


def is_marked(model: keras.Model) -> bool:
    """Whether the name of the model's input says that it takes [0, 1]."""
    inputs: Any = getattr(model, "inputs", None)  # Networks that are not a graph have no inputs.
    return bool(inputs) and inputs[0].name == UNIT_INPUT


def find_range(model: keras.Model, image_shape: Sequence[int | None]) -> Range | None:
    """Finds the range for which a network's own layers in front of its first weights are made.

    Args:
        model: A built network from one batch of images.
        image_shape: (height, width, channels) of its images.

    Returns:
        [0, 1], [0, 255] or [-1, 1] as a pair, or `None` if no layer changes the values: then the
        range cannot be known.

    Raises:
        ValueError: if layers change the values in a way that fits none of these ranges.

    Example:
        Division by 255 tells that the network is made for bytes.

        >>> import keras
        >>> layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)]
        >>> find_range(keras.Sequential([keras.Input((8, 8, 3)), *layers]), (8, 8, 3))
        (0.0, 255.0)
        >>> print(find_range(keras.Sequential([keras.Input((8, 8, 3)), layers[1]]), (8, 8, 3)))
        None
    """
    if is_marked(model):
        return UNIT
    inputs: Any = getattr(model, "inputs", None)
    if inputs and keras.backend.is_int_dtype(inputs[0].dtype):
        return 0.0, 255.0  # bytes
    arrivals = {range_: _arrival(model, image_shape, range_) for range_ in _CANDIDATES}
    if all(arrival.tells_nothing for arrival in arrivals.values()):
        return None
    best = min(arrivals, key=lambda range_: arrivals[range_].rank)  # the first of equals
    if math.isinf(arrivals[best].misfit) or arrivals[best].spread < 1 / _ORDER_ONE:
        raise ValueError(
            f"`input_range` must be given: {model.name!r} scales its images itself, but neither "
            f"{_text(_CANDIDATES)} comes out as numbers of order one. Received: input_range=None"
        )
    return best


def contradicts(
    model: keras.Model, image_shape: Sequence[int | None], stated: Range
) -> Range | None:
    """Returns the range that a network's own layers are made for, if `stated` clearly is not."""
    arrivals = {range_: _arrival(model, image_shape, range_) for range_ in _CANDIDATES}
    if all(arrival.tells_nothing for arrival in arrivals.values()):
        return None
    best = min(arrivals, key=lambda range_: arrivals[range_].rank)
    ours = _arrival(model, image_shape, stated).misfit
    return best if ours > arrivals[best].misfit else None


def looks_trained(model: keras.layers.Layer) -> bool:
    """Whether a weight that starts as a constant (a bias, a moving average) has another value.

    Keras keeps no record of where weights come from. By its convention, the initializer of a
    weight `bias` is the layer's `bias_initializer`.
    """
    constants = (
        keras.initializers.Zeros,
        keras.initializers.Ones,
        keras.initializers.Constant,
    )
    for layer in all_layers(model):
        for weight in own_weights(layer):
            start = getattr(layer, f"{weight.name}_initializer", None)
            if isinstance(start, constants):
                expected = start(weight.shape, dtype=weight.dtype)
                if ops.any(ops.not_equal(weight, expected)):
                    return True
    return False


class _Arrival(NamedTuple):
    """The center and width of a range when it arrives at the first layer with weights."""

    center: float
    spread: float
    tells_nothing: bool  # The values arrive as they came, or they do not depend on the range.

    @property
    def misfit(self) -> float:
        """How far the values are from numbers of order one around zero, which give 0."""
        if self.spread == 0 or abs(self.center) > self.spread:
            return math.inf
        return max(abs(math.log(self.spread)) - math.log(_ORDER_ONE), 0.0)

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The key to compare arrivals by: the smallest fits best, and one with zero is smaller."""
        is_around_zero = abs(self.center) <= self.spread / 2 * (1 + _SLACK)
        return math.isinf(self.misfit), not is_around_zero, self.misfit


def _arrival(model: keras.Model, image_shape: Sequence[int | None], range_: Range) -> _Arrival:
    channels = image_shape[-1] or 3
    if isinstance(range_, str):
        scale, offset, _ = _MODES[range_]
        ends = [np.array(offset), np.array(scale) + offset]
    else:
        ends = [np.broadcast_to(np.asarray(end), (channels,)) for end in range_]
    sides = [side or 64 for side in image_shape[:2]]
    inputs: Any = getattr(model, "inputs", None)
    batch_size = (inputs[0].shape[0] if inputs else None) or 1
    images = [
        np.broadcast_to(end, (batch_size, *sides, channels)).astype("float32") for end in ends
    ]
    low, high = (_before_weights(model, image) for image in images)
    changes = low != high  # Padding does not.
    low, high = low[changes], high[changes]
    if not low.size:
        return _Arrival(0.0, 0.0, tells_nothing=True)
    came = np.unique(np.concatenate(ends))
    arrived = np.unique([low, high])
    # Resizing may round.
    apart = np.abs(arrived[:, None] - came).min(axis=1).max()
    return _Arrival(
        center=float(np.mean(low + high)) / 2,
        spread=float(np.mean(np.abs(high - low))),
        tells_nothing=bool(apart <= _SLACK * np.ptp(came)),
    )


class _Reached(BaseException):
    """Ends a call at the first layer with weights. Keras would add text to an `Exception`."""


def _before_weights(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns what reaches the first layer with weights; the output, if there is none."""

    def stop(inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
        raise _Reached(inputs)

    # A call that ends early also follows models that are not a graph, and operations between
    # layers. `Normalization` keeps its constants as weights. A layer that holds others with
    # weights, and has some of its own, such as a token, may scale images before it uses them.
    stops = [
        layer
        for layer in all_layers(model)
        if own_weights(layer)
        and not isinstance(layer, keras.layers.Normalization)
        and not any(inner.weights for inner in inner_layers(layer))
        and (layer is not model or not inner_layers(model))
    ]
    with contextlib.ExitStack() as stack:
        for layer in stops:
            stack.enter_context(called_as(layer, stop))
        try:
            reached = call_on_images(model, images, training=False)
        except _Reached as end:
            reached = end.args[0]
    return np.concatenate(
        [np.ravel(ops.convert_to_numpy(x)) for x in keras.tree.flatten(reached)], dtype="float32"
    )


def _text(ranges: Sequence[Any]) -> str:
    return " nor ".join(f"[{low:g}, {high:g}]" for low, high in ranges)
