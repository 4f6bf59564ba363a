"""Random layers on several replicas, each of which draws its own random numbers."""

import functools
from collections.abc import Iterator

import keras

from keras_ssl._keras import all_layers, own_seed_generators
from keras_ssl._tensors import Tensor
from keras_ssl.replicas import replica_id


def seed_generators(layer: keras.layers.Layer) -> Iterator[keras.random.SeedGenerator]:
    """Yields every `keras.random.SeedGenerator` in `layer` and its inner layers."""
    for inner in all_layers(layer):
        yield from own_seed_generators(inner)


def draw_apart(layer: keras.layers.Layer) -> None:
    """Makes every random layer in `layer` draw different random numbers on each replica.

    Keras mirrors the state of a `SeedGenerator`, so dropout, noise and stochastic depth would
    change the images of all replicas in the same way. After this call, replicas draw as
    independently as the images of a batch on one device. Their draws are not those of
    one device, which no number of replicas can repeat. On one device nothing changes. The layers
    are changed in place. (Layers that draw with a fixed seed or with `tf.random` are not reached.)

    Args:
        layer: A layer or a model; its inner layers are included.
    """
    for generator in seed_generators(layer):
        generator.next = functools.partial(_next, generator)


def _next(generator: keras.random.SeedGenerator, ordered: bool = True) -> Tensor:
    """Returns the generator's next seed, (2,), changed for this replica."""
    seed = type(generator).next(generator, ordered=ordered)
    number = replica_id()
    if isinstance(number, int):  # Not a tensor: there is only one replica.
        return seed
    import tensorflow as tf

    return tf.random.experimental.stateless_fold_in(seed, number)
