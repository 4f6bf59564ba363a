"""Makes an encoder of any Keras model: from images in [0, 1] to one representation per image.

Views need not be images. A model of other inputs (tables, sequences, dictionaries) is an encoder as
it is, if it returns one representation for each row of a batch.
"""

import warnings
import weakref
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl._keras import all_layers
from keras_ssl._validation import check_choice
from keras_ssl.encoders.input_range import (
    UNIT,
    UNIT_INPUT,
    Range,
    call_on_images,
    check_input_range,
    contradicts,
    find_range,
    is_marked,
    looks_trained,
    scale_images,
    takes_structure,
)
from keras_ssl.encoders.pooling import POOLINGS, check_pooling, pool, select_output

# What `as_encoder` returned, and need not change again.
_encoders: weakref.WeakSet[keras.Model] = weakref.WeakSet()
# The range that was stated for a model, or found while it was untrained. So a user who trains a
# model as an encoder, and then judges it, need not state the range.
_settled: weakref.WeakKeyDictionary[keras.Model, Range] = weakref.WeakKeyDictionary()


def as_encoder(
    model: Any,
    input_range: Any = None,
    image_shape: Sequence[int | None] | None = None,
    pooling: str | None = None,
) -> keras.Model:
    """Makes an encoder of a Keras model or layer: from images in [0, 1] to one representation each.

    If the model's own first layers scale the images (`Rescaling`, `Normalization`,
    `preprocess_input` and similar ones), the range that it wants is found by trying. If they do
    not, [0, 1] is as good as any other range for an untrained model, and for a trained model the
    caller must state the range that it was trained on. A layer that scales the images is put in
    front of the model.

    Args:
        model: A Keras model or layer whose output is (N, D); feature maps (N, height, width, D),
            which are then averaged over height and width; tokens (N, T, D), see `pooling`; or a
            dictionary of these, see `keras_ssl.encoders.pooling`. A model whose inputs are not
            images is returned as it is. Models of `keras.applications` are built with
            `include_top=False`.
        input_range: The range of the images that the model was trained on: a pair (low, high) such
            as (0, 255), each a number or one number per channel; or the mode of its
            `preprocess_input`: "caffe" (ResNet50, VGG), "torch" (DenseNet), "tf" (the others that
            have no preprocessing of their own). Default: the range that is found; else [0, 1], if
            the model is untrained.
        image_shape: (height, width, channels) of the images, for models that do not know it.
        pooling: What becomes of tokens: "class" takes the first one, "mean" the mean of those that
            stand for a place in the image. Default: "class" for a KerasHub backbone that has a
            class token, because their authors judge them by it; else "mean", which is right for any
            tokens.

    Returns:
        A functional model from images in [0, 1] to (N, D) that shares the weights of `model`, or
        `model` itself if it is one already. When it is saved, it loads without this library, and
        `as_encoder` recognizes it. A model that does not know the shape of its images is returned
        as it is; call `as_encoder` again with an `image_shape`.

    Raises:
        TypeError: if `model` is not a Keras layer.
        ValueError: if the range must be stated or is stated wrongly, if `pooling` does not fit the
            output, or if the model has several outputs, ends in a classifier, wants channels first,
            or has an output of another rank.

    Warns:
        UserWarning: if the model's first layers are made for another range than the one stated.

    Example:
        The model takes bytes and returns feature maps. The encoder takes [0, 1] and averages them.

        >>> import keras
        >>> from keras_ssl.encoders import describe_range
        >>> layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(4, 3)]
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), *layers])
        >>> encoder = as_encoder(model)
        >>> model.output_shape, encoder.output_shape
        ((None, 6, 6, 4), (None, 4))
        >>> describe_range(encoder)
        '[0, 255], scaled from [0, 1] by a layer in front'
    """
    if not isinstance(model, keras.layers.Layer):
        raise TypeError(
            "`encoder` must be a Keras model or layer. "
            f"Received: encoder={model!r} of type {type(model).__name__}"
        )
    if not isinstance(model, keras.Model):
        model = keras.Sequential([model], name=model.name)  # with `predict`, and a file of its own
    stated = check_input_range(input_range)
    if pooling is not None:
        check_choice("pooling", pooling, POOLINGS)
    if stated not in (None, UNIT) and (model in _encoders or is_marked(model)):
        raise ValueError(
            f"`input_range` must be left out for {model.name!r}, which takes images in [0, 1] and "
            f"scales them itself. Received: input_range={input_range!r}"
        )
    if model in _encoders:
        check_pooling(model, pooling, 2)
        return model
    _check_graph(model)
    inputs = getattr(model, "inputs", None)
    if inputs and not _takes_images(model):
        if stated is not None:
            raise ValueError(
                f"`input_range` must be left out for {model.name!r}, which does not take images. "
                f"Received: input_range={input_range!r}"
            )
        check_pooling(model, pooling, 2)
        if len(model.outputs[0].shape) != 4:
            check_representations(model, tuple(model.outputs[0].shape))
        return trust(model)
    if stated is not None:
        _settled[model] = stated
    if inputs:
        image_shape = tuple(inputs[0].shape[1:])
    if image_shape is None:
        if pooling is not None:
            raise ValueError(
                "`image_shape` must be given with `pooling` for a model that does not know the "
                f"shape of its images. Received: pooling={pooling!r}, image_shape=None"
            )
        return model
    encoder = _adapted(model, tuple(image_shape), pooling)
    _encoders.add(encoder)
    return encoder


def trust(encoder: keras.Model) -> keras.Model:
    """Makes `as_encoder` return `encoder` as it is, because it is part of a saved method.

    The layers that it needs in front were added when the method was made.

    Example:
        Without it, these feature maps would be averaged over height and width.

        >>> import keras
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
        >>> as_encoder(model) is model
        False
        >>> as_encoder(trust(model)) is model
        True
    """
    if getattr(encoder, "inputs", None):
        _encoders.add(encoder)
    return encoder


def _adapted(
    model: keras.Model, image_shape: tuple[int | None, ...], pooling: str | None
) -> keras.Model:
    is_trained = looks_trained(model)  # Asked before the call, which makes the missing weights.
    images = keras.layers.Input(image_shape, name=UNIT_INPUT)
    outputs = call_on_images(model, images)
    output = select_output(model, outputs, pooling)
    check_pooling(model, pooling, len(output.shape))
    if len(output.shape) not in (3, 4):
        check_representations(model, tuple(output.shape))
    wanted = _settle(model, image_shape, is_trained)
    if (
        getattr(model, "inputs", None)
        and not takes_structure(model)
        and isinstance(outputs, keras.KerasTensor)
        and len(output.shape) == 2
        and wanted == UNIT
        and find_range(model, image_shape) == UNIT
    ):
        return model  # It is an encoder already.
    outputs = call_on_images(model, scale_images(images, wanted))
    output = pool(model, select_output(model, outputs, pooling), pooling)
    return keras.Model(images, output, name=model.name)


def _settle(model: keras.Model, image_shape: tuple[int | None, ...], is_trained: bool) -> Range:
    """Returns the range of the images that the model is given from now on."""
    stated = _settled.get(model)
    if stated is None:
        found = find_range(model, image_shape)
        if found is None and is_trained:
            raise ValueError(
                "`input_range` must be given for an encoder that is trained and whose layers do "
                "not tell what range its images have: a pair such as (0, 1) or (0, 255), or the "
                'mode of its `preprocess_input`: "caffe" (ResNet50, VGG), "torch" (DenseNet), "tf" '
                "(ResNet50V2, MobileNetV2, Inception, Xception, NASNet). "
                f"Received: encoder={model.name!r}, input_range=None"
            )
        _settled[model] = stated = UNIT if found is None else found
    elif (better := contradicts(model, image_shape, stated)) is not None:
        warnings.warn(
            f"`input_range` is {stated}, but the first layers of {model.name!r} are made for "
            f"{better}: leave `input_range` out.",
            UserWarning,
            stacklevel=4,
        )
    return stated


# --- What an encoder must be ---------------------------------------------------------------------


def _check_graph(model: keras.Model) -> None:
    """Raises for errors that can be found without calling the model."""
    if getattr(model, "inputs", None) and len(model.outputs) > 1:
        select_output(model, model.output, None)
    _check_channels_last(model)
    _check_no_classifier(model)


def _takes_images(model: keras.Model) -> bool:
    """Whether the one input of a model that knows its inputs is a batch of images."""
    return len(model.inputs) == 1 and len(model.inputs[0].shape) == 4


def _check_channels_last(model: keras.Model) -> None:
    layers = all_layers(model)
    first = [x for x in layers if getattr(x, "data_format", None) == "channels_first"]
    if first and not any(isinstance(x, keras.layers.Permute) for x in layers):
        raise ValueError(
            "`encoder` must take images with the channels last, (N, height, width, channels): "
            "build it with data_format='channels_last', or put a keras.layers.Permute((3, 1, 2)) "
            f"in front. Received: encoder={model.name!r} with layer {first[0].name!r} of "
            "data_format='channels_first'"
        )


def _check_no_classifier(model: keras.Model) -> None:
    last: Any = model
    while operations := getattr(last, "operations", None) or getattr(last, "layers", None):
        last = operations[-1]
    activation = getattr(last, "activation", None)
    is_softmax = type(last).__name__ in ("Softmax", "LogSoftmax") or activation in (
        keras.activations.softmax,
        keras.activations.log_softmax,
    )
    # These are keras.applications' names of heads; ConvNeXt's begins with the name of the model.
    is_named_so = last.name.endswith(("predictions", "_head_dense"))
    if is_softmax or (is_named_so and getattr(last, "units", 1000) == 1000):
        raise ValueError(
            "`encoder` must end in representations, not in a classifier: build it with "
            "`include_top=False`, or take the model up to the layer before: "
            f"keras.Model(model.input, model.layers[-2].output). Received: encoder={model.name!r} "
            f"with last layer {last.name!r}"
        )


def check_representations(encoder: keras.layers.Layer, shape: Any) -> None:
    """Raises unless `shape`, the output of `encoder`, is one vector (N, D) per image.

    Example:
        >>> import keras
        >>> encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
        >>> check_representations(encoder, (None, 4))
        >>> check_representations(encoder, encoder.output_shape)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `encoder` must return one representation (N, D) per image, feature maps ...
    """
    if not isinstance(shape, tuple) or len(shape) != 2 or shape[-1] is None:
        raise ValueError(
            "`encoder` must return one representation (N, D) per image, feature maps "
            "(N, height, width, D), or tokens (N, T, D). "
            f"Received: encoder={encoder.name!r} with output shape {shape}"
        )


def square_size(encoder: keras.Model) -> int | None:
    """Height and width of an encoder's images; `None` if they are of any size, or not square."""
    _, height, width, *_ = getattr(encoder, "input_shape", None) or (None,) * 4
    return height if height == width else None


def check_images(encoder: keras.layers.Layer, shape: Sequence[int | None]) -> None:
    """Raises unless images of `shape` (N, height, width, channels) fit the encoder's input.

    Example:
        >>> import keras
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()], name="net")
        >>> check_images(encoder, (16, 8, 8, 1))
        >>> check_images(encoder, (16, 9, 8, 1))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: Images must fit the encoder: 'net' was built for height 8 (input shape ...
    """
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
