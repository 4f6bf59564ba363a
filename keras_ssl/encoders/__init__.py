"""Encoders: networks for small images, pretrained ones, and any Keras model made into an encoder.

All encoders take float images in [0, 1]: if a model wants another range, `as_encoder` puts a layer
that scales the images in front of it. The builders return plain functional Keras models of stock
layers, which load without this library when they are saved alone.
"""

from keras_ssl.encoders.adapt import (
    as_encoder,
    check_images,
    check_representations,
    trust,
)
from keras_ssl.encoders.anchor import anchored
from keras_ssl.encoders.blocks import Blocks, Part, find_blocks
from keras_ssl.encoders.by_name import ENCODERS, build_encoder, check_encoder
from keras_ssl.encoders.input_range import UNIT_INPUT, describe_range, find_range, parse_range
from keras_ssl.encoders.load import load_encoder
from keras_ssl.encoders.pooling import pooled
from keras_ssl.encoders.resnets import resnet, resnet8, resnet18, resnet34, resnet50
from keras_ssl.encoders.training_part import (
    describe_training,
    layer_factors,
    merged_encoder,
    plain_encoder,
    prepare_training,
    restore_training,
)
from keras_ssl.encoders.vits import vit, vit_small, vit_tiny

__all__ = [
    "ENCODERS",
    "UNIT_INPUT",
    "Blocks",
    "Part",
    "anchored",
    "as_encoder",
    "build_encoder",
    "check_encoder",
    "check_images",
    "check_representations",
    "describe_range",
    "describe_training",
    "find_blocks",
    "find_range",
    "layer_factors",
    "load_encoder",
    "merged_encoder",
    "parse_range",
    "plain_encoder",
    "pooled",
    "prepare_training",
    "resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet8",
    "restore_training",
    "trust",
    "vit",
    "vit_small",
    "vit_tiny",
]
