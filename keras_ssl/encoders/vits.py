"""Vision transformers, also for small images.

They are plain functional Keras models of stock layers, which load without this library when they
are saved alone. One layer turns patches into tokens and adds the embeddings of their positions: its
bias has a row for each position. The class token is the row of a patch of zeros.

References:
    - Dosovitskiy et al. (ViT): An image is worth 16x16 words, ICLR 2021.
    - Touvron et al. (DeiT), ICML 2021, table 1: the sizes tiny and small.
    - Beyer et al.: Better plain ViT baselines for ImageNet-1k, 2022: the mean of the tokens.
"""

import math
from collections.abc import Sequence

import keras
from keras import layers

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice, check_count, check_optional_count
from keras_ssl.encoders.input_range import UNIT_INPUT
from keras_ssl.encoders.pooling import POOLINGS
from keras_ssl.encoders.resnets import check_image_shape

_EPSILON = 1e-6  # As in ViT's and DeiT's code.
# A patch of 16 pixels is the usual one. With fewer than 7 patches a side, an image of 32 pixels
# would have 2 or 4 of them.
_LARGEST_PATCH, _FEWEST_PATCHES = 16, 7
# The attention of so many tokens takes 16 MiB an image, layer and head.
_MOST_TOKENS = 2048


def _initializer() -> keras.initializers.Initializer:
    # As in DeiT's code. Keras' default takes the heads of an attention for a receptive field.
    return keras.initializers.TruncatedNormal(stddev=0.02)


def fitting_patch_size(height: int, width: int) -> int:
    """Returns the size of patches that divides both sides of an image.

    It is the largest one, up to 16 pixels, with 7 patches a side at least: 2 pixels for an image of
    14, 4 for 28 and 32, 8 for 64, 12 for 96, 16 for 128 and 224.
    """
    shared = math.gcd(height, width)
    fitting = [p for p in range(1, _LARGEST_PATCH + 1) if shared % p == 0]
    enough = [p for p in fitting if min(height, width) // p >= _FEWEST_PATCHES]
    return max(enough, default=1)


def _block(x: Tensor, width: int, heads: int, name: str) -> Tensor:
    """Adds self-attention, then two dense layers, each to what is normalized before it."""
    y = layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm_1")(x)
    y = layers.MultiHeadAttention(
        heads, width // heads, kernel_initializer=_initializer(), name=f"{name}_attention"
    )(y, y)
    x = layers.Add(name=f"{name}_add_1")([x, y])
    y = layers.LayerNormalization(epsilon=_EPSILON, name=f"{name}_norm_2")(x)
    y = layers.Dense(
        4 * width, activation="gelu", kernel_initializer=_initializer(), name=f"{name}_dense_1"
    )(y)
    y = layers.Dense(width, kernel_initializer=_initializer(), name=f"{name}_dense_2")(y)
    return layers.Add(name=f"{name}_add_2")([x, y])


def vit(
    input_shape: Sequence[int],
    width: int = 384,
    blocks: int = 12,
    heads: int = 6,
    patch_size: int | None = None,
    pooling: str = "mean",
    name: str = "vit",
) -> keras.Model:
    """Builds a vision transformer from images to representations.

    Args:
        input_shape: (height, width, channels) of the images.
        width: D, a multiple of `heads`. Default 384, DeiT's small one.
        blocks: Blocks of attention and two dense layers, the first of them 4 D wide.
        heads: Heads of each attention. Default 6, so that each has 64 dimensions, as in ViT.
        patch_size: Pixels on a side of a patch, which must divide both sides of the images.
            Default: what fits, see `fitting_patch_size`.
        pooling: "mean" averages the last tokens; "class" adds a class token to those of the patches
            and returns it. Default "mean", which does as well (Beyer et al.) and needs one token
            less.
        name: Name of the model.

    Returns:
        A functional `keras.Model` from float (N, height, width, channels) in [0, 1] to
        representations (N, D).

    Raises:
        ValueError: for an input shape that is not three numbers, or that patches do not divide.

    Example:
        An image of 8 x 8 pixels has four patches of 4 x 4. Each position has an embedding.

        >>> encoder = vit((8, 8, 1), width=6, blocks=1, heads=2, patch_size=4)
        >>> encoder.output_shape
        (None, 6)
        >>> tuple(encoder.get_layer("patch_and_position_embedding").bias.shape)
        (4, 6)
    """
    rows, columns, channels = check_image_shape("input_shape", input_shape)
    if rows is None or columns is None:
        raise ValueError(
            "`input_shape` must have a known height and width, because each patch has its own "
            f"position. Received: input_shape={tuple(input_shape)}"
        )
    check_choice("pooling", pooling, POOLINGS)
    blocks, width, heads = (
        check_count(name, value)
        for name, value in (("blocks", blocks), ("width", width), ("heads", heads))
    )
    if width % heads:
        raise ValueError(f"`width` must be a multiple of `heads`. Received: {width=}, {heads=}")
    patch = check_optional_count("patch_size", patch_size) or fitting_patch_size(rows, columns)
    if rows % patch or columns % patch:
        raise ValueError(
            "`patch_size` must divide the height and width of the images. "
            f"Received: patch_size={patch}, images of {rows} x {columns} pixels"
        )
    high, wide = rows // patch, columns // patch
    if high * wide > _MOST_TOKENS:
        raise ValueError(
            f"Images must have at most {_MOST_TOKENS} patches: resize them, so that 8 or 16 divides"
            f" their sides, or give `patch_size`. Received: images of {rows} x {columns} pixels, "
            f"which patches of {patch} pixels divide"
        )

    images = layers.Input((rows, columns, channels), name=UNIT_INPUT)
    x = layers.Reshape((high, patch, wide, patch, channels), name="patch_grid")(images)
    x = layers.Permute((1, 3, 2, 4, 5), name="patch_order")(x)
    x = layers.Reshape((high * wide, patch * patch * channels), name="patches")(x)  # (N, T, P)
    tokens = high * wide
    if pooling == "class":
        x = layers.ZeroPadding1D((1, 0), name="class_token")(x)
        tokens += 1
    x = layers.EinsumDense(
        "btp,pd->btd",
        (tokens, width),
        bias_axes="td",
        kernel_initializer=_initializer(),
        bias_initializer=_initializer(),
        name="patch_and_position_embedding",
    )(x)  # (N, T, D)
    for i in range(blocks):
        x = _block(x, width, heads, f"block_{i + 1}")
    x = layers.LayerNormalization(epsilon=_EPSILON, name="norm")(x)
    x = x[:, 0] if pooling == "class" else layers.GlobalAveragePooling1D(name="mean")(x)
    return keras.Model(images, x, name=name)


def vit_tiny(
    input_shape: Sequence[int] = (32, 32, 3),
    patch_size: int | None = None,
    pooling: str = "mean",
) -> keras.Model:
    """Builds DeiT's tiny transformer, D = 192. See `vit` for the arguments.

    Example:
        >>> encoder = vit_tiny((32, 32, 3))  # doctest: +SKIP
        >>> encoder.output_shape, encoder.count_params()  # doctest: +SKIP
        ((None, 192), 5360256)
        >>> vit_tiny((None, None, 3))  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `input_shape` must have a known height and width, because each ...
    """
    return vit(input_shape, 192, 12, 3, patch_size, pooling, name="vit_tiny")


def vit_small(
    input_shape: Sequence[int] = (224, 224, 3),
    patch_size: int | None = None,
    pooling: str = "mean",
) -> keras.Model:
    """Builds DeiT's small transformer, D = 384. See `vit` for the arguments.

    Example:
        >>> vit_small((224, 224, 3)).output_shape  # doctest: +SKIP
        (None, 384)
        >>> vit_small((224, 224, 3), patch_size=15)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
            ...
        ValueError: `patch_size` must divide the height and width of the images. Received: ...
    """
    return vit(input_shape, 384, 12, 6, patch_size, pooling, name="vit_small")
