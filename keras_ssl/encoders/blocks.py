"""The blocks of a network, from its images on: what "the first k blocks" and "depth" mean here.

Networks tell their blocks by the names of their layers: "block_3", "conv2_block1", "block2a",
"layers_11" are in the names of KerasHub, `keras.applications` and this library. What comes before
the first block is the stem (block 0), and what comes after the last one, such as the normalization
of the last tokens, is the tail. In a network without such names, every layer with a matrix or a
kernel is a block, together with the normalizations behind it, and there is no tail.
"""

import itertools
import re
from collections.abc import Iterator
from typing import NamedTuple

import keras

from keras_ssl._keras import inner_layers, own_weights

# Those of InceptionResNetV2 are "block35_1" to "block35_10", and so on.
_BLOCK = re.compile(
    r"(?:.*/)?block(?:35|17|8)_\d+(?![a-z\d])|.*?(?:block|layer)s?_?\d+[a-z]?(?![a-z])"
)


class Part(NamedTuple):
    """A layer that has variables of its own, with all that is inside it.

    Attributes:
        path: The names of the layers from the network down to this one, joined by "/".
        layer: The layer.

    Example:
        `find_blocks` returns them.

        >>> from keras_ssl.encoders import resnet
        >>> encoder = resnet((8, 8, 1), blocks=(1,), width=2)
        >>> [part.path for part in find_blocks(encoder).stem]
        ['stem_conv', 'stem_norm']
    """

    path: str
    layer: keras.layers.Layer


class Blocks(NamedTuple):
    """The layers of a network, in order.

    Attributes:
        stem: What comes before the first block.
        blocks: The layers of each block.
        tail: What comes after the last block.

    Example:
        `find_blocks` returns it.

        >>> from keras_ssl.encoders import vit
        >>> stem, blocks, tail = find_blocks(vit((8, 8, 1), width=4, blocks=2, heads=1))
        >>> [part.path for part in stem], len(blocks), [part.path for part in tail]
        (['patch_and_position_embedding'], 2, ['norm'])
    """

    stem: list[Part]
    blocks: list[list[Part]]
    tail: list[Part]

    @property
    def parts(self) -> list[Part]:
        """All layers in order."""
        return [*self.stem, *(part for block in self.blocks for part in block), *self.tail]


def find_blocks(encoder: keras.layers.Layer) -> Blocks:
    """Returns the layers of a network that have variables, grouped in blocks.

    Args:
        encoder: A built network.

    Example:
        Without names of blocks, every layer with a matrix begins one.

        >>> import keras
        >>> layers = [keras.layers.Dense(4, name="a"), keras.layers.LayerNormalization(name="b")]
        >>> layers += [keras.layers.Dense(2, name="c")]
        >>> blocks = find_blocks(keras.Sequential([keras.Input((8,)), *layers])).blocks
        >>> [[part.path for part in block] for block in blocks]
        [['a', 'b'], ['c']]
    """
    parts = list(_parts(encoder, ""))
    names = _block_names([part.path for part in parts])
    if not any(names):
        starts = [i for i, part in enumerate(parts) if _has_matrix(part.layer)]
        names = [str(sum(start <= i for start in starts)) for i in range(len(parts))]
        names = [None if name == "0" else name for name in names]
    named = [i for i, name in enumerate(names) if name is not None]
    if not named:
        return Blocks(parts, [], [])
    first, last = named[0], named[-1]
    blocks: list[list[Part]] = []
    name = None
    for i in range(first, last + 1):
        if names[i] not in (None, name):  # Between blocks, a layer belongs to the one before.
            blocks.append([])
            name = names[i]
        blocks[-1].append(parts[i])
    return Blocks(parts[:first], blocks, parts[last + 1 :])


def _block_names(paths: list[str]) -> list[str | None]:
    """The name of the block that each path tells, or `None`."""
    if all("/" in path for path in paths) and len({path.split("/")[0] for path in paths}) == 1:
        paths = [path.split("/", 1)[1] for path in paths]  # The network's own name tells nothing.
    names = [match.group() if (match := _BLOCK.match(path)) else None for path in paths]
    # Keras itself names the first layer of a class "my_block", and the second "my_block_1".
    firsts = {name.removesuffix("_1") for name in names if name and name.endswith("_1")}
    return [
        name or next((start for start in _starts(path) if start in firsts), None)
        for name, path in zip(names, paths, strict=True)
    ]


def _starts(path: str) -> Iterator[str]:
    """The beginnings of a path: "a", "a/b", "a/b/c"."""
    return itertools.accumulate(path.split("/"), "{}/{}".format)


def _parts(layer: keras.layers.Layer, path: str) -> Iterator[Part]:
    if own_weights(layer):
        yield Part(path or layer.name, layer)
        return
    for child in inner_layers(layer):
        yield from _parts(child, f"{path}/{child.name}" if path else child.name)


def _has_matrix(layer: keras.layers.Layer) -> bool:
    return any(len(variable.shape) > 1 for variable in layer.weights)
