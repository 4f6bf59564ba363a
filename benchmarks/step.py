"""Measures a whole step of training, ours beside stock Keras' and lightly's with torch.

    python benchmarks/step.py                                   # seed 0
    python benchmarks/step.py --encoders resnet18 --batch-size 32 --turns 5

A step is two views of random images through encoder and projector, the criterion, the gradient and
AdamW. The contenders take turns on the same threads, and the program prints the median time of a
step and its ratio to ours. "Keras' batch norm" is our step without
`keras_ssl.training.batch_norm.fused`. "bare" is the encoder alone, with a mean square for a loss,
as Keras' `fit` trains it. "convolutions alone" are those of the encoder, each by itself. torch
takes part if it can be imported, with lightly's VICReg and tensors of channels last (`pip install
torch lightly torchvision`).
"""

import argparse
import contextlib
import importlib.util
import os
import statistics
import time
from unittest import mock

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

if importlib.util.find_spec("torch"):
    import torch  # After TensorFlow, its CUDA build crashes.
    from torch import nn

import keras
import numpy as np
import tensorflow as tf

from keras_ssl import encoders, models
from keras_ssl.training import batch_norm

PROJECTOR = "256-256-256"
BLOCKS = {"resnet8": (1, 1, 1), "resnet8-strided": (1, 1, 1), "resnet18": (2, 2, 2, 2)}
WIDTHS = {"resnet8": 16, "resnet8-strided": 16, "resnet18": 64}


def ours(name, shape):
    """VICReg's step, as `fit` takes it."""
    model = models.VICReg(encoders.build_encoder(name, shape[1:]), PROJECTOR)
    model.compile(keras.optimizers.AdamW(1e-3))
    return lambda views: model.train_on_batch(views)


def ours_without_fusing(name, shape):
    """The same step with Keras' batch normalization."""
    step = ours(name, shape)

    def traced_without(views):
        with mock.patch.object(batch_norm, "fused", lambda model: contextlib.nullcontext()):
            return step(views)

    return traced_without


class Bare(keras.Model):
    """An encoder alone, of two views one after the other, as a user of Keras writes it."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def call(self, views, training=False):  # noqa: D102
        return tuple(self.encoder(view, training=training) for view in views)

    def train_step(self, data):  # noqa: D102
        with tf.GradientTape() as tape:
            outputs = self(data[0], training=True)
            loss = sum(tf.reduce_mean(tf.square(output)) for output in outputs)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return {"loss": loss}


def bare(name, shape):
    """Stock Keras: the encoder without projector and criterion."""
    model = Bare(encoders.build_encoder(name, shape[1:]))
    model.compile(keras.optimizers.AdamW(1e-3))
    return lambda views: model.train_on_batch(views)


def convolutions(name, shape):
    """Only the encoder's convolutions, each by itself: of two views, forward and backward."""
    encoder = encoders.build_encoder(name, shape[1:])
    layers = [layer for layer in encoder.layers if isinstance(layer, keras.layers.Conv2D)]
    # Each view has numbers of its own: TensorFlow computes the same operation only once.
    inputs = [tf.random.uniform((2, shape[0], *layer.input.shape[1:])) for layer in layers]
    outputs = [tf.random.uniform((2, shape[0], *layer.output.shape[1:])) for layer in layers]

    @tf.function(autograph=False)
    def step():
        found = []
        for layer, views, slopes in zip(layers, inputs, outputs, strict=True):
            for x, upstream in zip(tf.unstack(views), tf.unstack(slopes), strict=True):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = layer(x)
                # The first layer needs no gradient at the images.
                sources = [layer.kernel.value, *([] if layer is layers[0] else [x])]
                found += tape.gradient(y, sources, output_gradients=upstream)
        return [tf.reduce_max(gradient) for gradient in found]

    return lambda views: step()


def torch_encoder(name, channels):
    """The same residual network in torch."""

    def convolution(before, after, size, stride):
        return nn.Sequential(
            nn.Conv2d(before, after, size, stride, size // 2, bias=False), nn.BatchNorm2d(after)
        )

    class Block(nn.Module):
        def __init__(self, before, after, stride):
            super().__init__()
            self.body = nn.Sequential(
                convolution(before, after, 3, stride), nn.ReLU(), convolution(after, after, 3, 1)
            )
            is_same = before == after and stride == 1
            self.shortcut = nn.Identity() if is_same else convolution(before, after, 1, stride)

        def forward(self, x):
            return torch.relu(self.body(x) + self.shortcut(x))

    width = WIDTHS[name]
    layers = [convolution(channels, width, 3, 2 if name.endswith("strided") else 1), nn.ReLU()]
    before = width
    for stage, count in enumerate(BLOCKS[name]):
        for block in range(count):
            after = width * 2**stage
            layers.append(Block(before, after, 2 if stage and not block else 1))
            before = after
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), before


def torch_model(name, channels):
    """Encoder and projector, channels last."""
    encoder, dimension = torch_encoder(name, channels)
    first, second, last = map(int, PROJECTOR.split("-"))
    projector = nn.Sequential(
        nn.Linear(dimension, first, bias=False),
        nn.BatchNorm1d(first),
        nn.ReLU(),
        nn.Linear(first, second, bias=False),
        nn.BatchNorm1d(second),
        nn.ReLU(),
        nn.Linear(second, last, bias=False),
    )
    return nn.Sequential(encoder, projector).to(memory_format=torch.channels_last)


def lightly(name, shape):
    """VICReg of lightly, in torch."""
    from lightly.loss import VICRegLoss

    model, criterion = torch_model(name, shape[3]), VICRegLoss()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3, weight_decay=4e-3)

    def step(views):
        tensors = (torch.from_numpy(view).permute(0, 3, 1, 2) for view in views)
        loss = criterion(*(model(tensor) for tensor in tensors))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--encoders", nargs="+", default=["resnet8", "resnet8-strided"], choices=BLOCKS
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--size", type=int, default=32, help="height and width of the images")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    contenders = {
        "keras_ssl VICReg": ours,
        "Keras' batch norm": ours_without_fusing,
        "stock Keras, bare": bare,
        "convolutions alone": convolutions,
    }
    if importlib.util.find_spec("lightly"):
        torch.set_num_threads(arguments.threads)
        contenders["lightly VICReg"] = lightly
    shape = (arguments.batch_size, arguments.size, arguments.size, 3)
    views = tuple(np.random.RandomState(0).uniform(size=(2, *shape)).astype("float32"))
    print(f"A step on {shape}, {arguments.threads} threads: milliseconds (ratio to ours)")
    for name in arguments.encoders:
        keras.utils.set_random_seed(0)
        steps = {label: make(name, shape) for label, make in contenders.items()}
        seconds = {label: [] for label in steps}
        for turn in range(arguments.turns + 2):  # Two to trace and to warm up.
            for label, step in steps.items():
                start = time.perf_counter()
                step(views)
                if turn > 1:
                    seconds[label].append(time.perf_counter() - start)
        times = {label: 1e3 * statistics.median(values) for label, values in seconds.items()}
        for label, value in times.items():
            ratio = value / times["keras_ssl VICReg"]
            print(f"  {name:<16} {label:<20} {value:8.1f}  ({ratio:.2f})", flush=True)


if __name__ == "__main__":
    main()
