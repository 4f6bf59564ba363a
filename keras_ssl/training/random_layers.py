"""Random layers on several replicas: each replica has draws of its own."""

import functools
from collections.abc import Iterator

import keras

from keras_ssl._keras import all_layers, own_seed_generators
from keras_ssl._tensors import Tensor
from keras_ssl.replicas import replica_id


def seed_generators(layer: keras.layers.Layer) -> Iterator[keras.random.SeedGenerator]:
    """Every `keras.random.SeedGenerator` within `layer`, its inner layers' included."""
    for inner in all_layers(layer):
        yield from own_seed_generators(inner)


def draw_apart(layer: keras.layers.Layer) -> None:
    """Lets every random layer within `layer` draw something else on each replica.

    Keras mirrors the state of a `SeedGenerator`: dropout, noise, stochastic depth would change the
    images of all replicas alike. With this, N replicas draw as independently as the images of one
    batch on one device do; they are not the draws of one device, which no number of replicas can
    repeat. On one device nothing changes. In place. (What draws with a fixed seed, or with
    `tf.random`, is not reached.)

    Args:
        layer: Layer or model, its inner layers included.
    """
    for generator in seed_generators(layer):
        generator.next = functools.partial(_next, generator)


def _next(generator: keras.random.SeedGenerator, ordered: bool = True) -> Tensor:
    """The generator's next seed, (2,), and this replica's own of it."""
    seed = type(generator).next(generator, ordered=ordered)
    number = replica_id()
    if isinstance(number, int):  # one device, or none of several
        return seed
    import tensorflow as tf

    return tf.random.experimental.stateless_fold_in(seed, number)
