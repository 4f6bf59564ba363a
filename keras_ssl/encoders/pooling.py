"""How the output of a network becomes one representation per image.

A network may return representations (N, D), feature maps (N, height, width, D) or tokens (N, T, D),
or a dictionary that holds one of them. Feature maps are averaged over height and width. Of tokens,
either the class token is taken, which is the first, or the mean of the tokens that stand for a
place in the image: class and register tokens are left out where the network says how many it has.

Of a dictionary, the entry "pooled_output" is taken, where there is one and `pooling` does not ask
for tokens; then "sequence_output". Of a pyramid, whose entries are all feature maps, it is the
deepest one, which is the smallest.

References:
    - Caron et al. (DINO), ICCV 2021, and Oquab et al. (DINOv2), 2023: the class token is judged.
    - Beyer et al.: Better plain ViT baselines for ImageNet-1k, 2022: the mean does as well.
    - Darcet et al.: Vision transformers need registers, ICLR 2024: registers are thrown away.
"""

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor

POOLINGS = ("mean", "class")
# The entries of a dictionary that hold one vector per image, and tokens.
_VECTOR, _TOKENS = "pooled_output", "sequence_output"


def select_output(model: keras.Model, outputs: Any, pooling: str | None) -> Tensor:
    """Returns the one output that representations are made of.

    Args:
        model: The network, for messages.
        outputs: What it returns, symbolic.
        pooling: "mean", "class", or `None`.

    Raises:
        ValueError: if there are several outputs and none is known by its name.
    """
    if isinstance(outputs, Mapping):
        for name in (_VECTOR, _TOKENS) if pooling is None else (_TOKENS, _VECTOR):
            if name in outputs:
                return outputs[name]
        maps = list(outputs.values())
        if maps and all(len(getattr(x, "shape", ())) == 4 for x in maps):
            return min(maps, key=lambda x: [side or 0 for side in x.shape[1:3]] + [-x.shape[-1]])
    output, *others = keras.tree.flatten(outputs)
    if others:
        names = f" named {list(outputs)}" if isinstance(outputs, Mapping) else ""
        raise ValueError(
            f'`encoder` must have one output, or a dictionary with "{_VECTOR}" or "{_TOKENS}". '
            f"Received: encoder={model.name!r} with {1 + len(others)} outputs{names} of shapes "
            f"{[tuple(x.shape) for x in (output, *others)]}"
        )
    return output


def check_pooling(model: keras.Model, pooling: str | None, rank: int) -> None:
    """Raises a `ValueError` if `pooling` does not fit an output of a rank."""
    if pooling is not None and rank == 2:
        raise ValueError(
            f"`pooling` must be left out for {model.name!r}, which returns one vector (N, D) per "
            f"image. Received: pooling={pooling!r}"
        )
    has_no_class = rank == 4 or (rank == 3 and prefix_tokens(model) == 0)
    if pooling == "class" and has_no_class:
        raise ValueError(
            f'`pooling` must be "mean" for {model.name!r}, which has no class token. '
            "Received: pooling='class'"
        )


def prefix_tokens(model: keras.layers.Layer) -> int | None:
    """Returns how many tokens of a network stand for no place in the image, the class token first.

    The backbones of KerasHub tell it by their attributes. `None` means that it is not known.
    """
    if type(model).__name__ == "DeiTBackbone":
        return 2  # The class token, and one for distillation; there is no attribute.
    registers = getattr(model, "num_register_tokens", None)  # DINOv2 and DINOv3
    if isinstance(registers, int):
        return 1 + registers
    has_class = getattr(model, "use_class_token", None)  # ViT
    return int(has_class) if isinstance(has_class, bool) else None


def pool(model: keras.Model, output: Tensor, pooling: str | None) -> Tensor:
    """Returns representations (N, D), by stock Keras layers.

    Args:
        model: The network that `output` comes from.
        output: A symbolic tensor (N, D), (N, T, D) or (N, height, width, D).
        pooling: "mean", "class", or `None`: see `keras_ssl.encoders.as_encoder`.
    """
    if len(output.shape) == 4:
        return keras.layers.GlobalAveragePooling2D()(output)
    if len(output.shape) == 2:
        return output
    prefix = prefix_tokens(model)
    if pooling == "class" or (pooling is None and prefix):
        return output[:, 0]
    return keras.layers.GlobalAveragePooling1D()(output[:, prefix:] if prefix else output)


def pooled(features: Tensor) -> Tensor:
    """Averages feature maps (N, height, width, D) to (N, D); returns anything else as it is.

    Example:
        >>> import numpy as np
        >>> features = np.array([1.0, 2.0, 3.0, 6.0]).reshape(1, 2, 2, 1)
        >>> print(np.asarray(pooled(features)))
        [[3.]]
        >>> pooled(np.zeros((5, 3))).shape
        (5, 3)
    """
    return ops.mean(features, axis=(1, 2)) if len(features.shape) == 4 else features
