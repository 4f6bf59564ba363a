"""Measures how much of the time of training the inspector and the doctor take.

    python benchmarks/inspection.py --data-dir ../shared/data

Trains VICReg with the default settings of `EmbeddingInspector` and `CollapseDoctor`, on digits as
`make pretrain` does and on 10,000 images of Fashion-MNIST as benchmarks/methods.py does. Adds up
the time in all hooks of the two and divides it by the rest of the time of `fit`. Both times come
from one run. The first look, until the first step has ended, traces a graph and draws the first
pictures. It is counted and also shown by itself, because it does not grow with a run.
"""

import argparse
import dataclasses
import tempfile
import time

import keras
from methods import build_encoder, fashion_mnist

from keras_ssl import callbacks, data, encoders, recipes


class Timed:
    """Adds up the time in the hooks of a callback."""

    def __init__(self, callback):
        self.seconds, self.first = 0.0, None
        for name in dir(callback):
            if name.startswith("on_"):
                setattr(callback, name, self._timed(getattr(callback, name)))

    def _timed(self, hook):
        def timed(*args, **kwargs):
            start = time.perf_counter()
            result = hook(*args, **kwargs)
            spent = time.perf_counter() - start
            self.seconds += spent
            if self.first is None and hook.__name__ == "on_train_batch_end":
                self.first = self.seconds
            return result

        return timed


def measure(name, encoder, images, epochs):
    """Trains one run and prints its row."""
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], epochs=epochs)
    policy = data.policy(recipe.policy)
    model = recipe.build_model(encoder)
    views = data.make_views(images, policy, recipe.batch_size)
    model.compile(recipe.build_optimizer(len(views)))
    with tempfile.TemporaryDirectory() as folder:
        inspector = callbacks.EmbeddingInspector(images, policy, folder)
        doctor = callbacks.CollapseDoctor(inspector)
        parts = [Timed(callback) for callback in (inspector, doctor)]
        start = time.perf_counter()
        model.fit(views, epochs=epochs, verbose=0, callbacks=[inspector, doctor])
        total = time.perf_counter() - start
    seconds = sum(part.seconds for part in parts)
    first = sum(part.first for part in parts)
    rest = total - seconds
    print(
        f"| {name} | {epochs} | {inspector.every} | {rest:.1f} | {seconds:.2f} | {first:.2f} | "
        f"{100 * seconds / rest:.1f} | {100 * (seconds - first) / rest:.1f} |",
        flush=True,
    )


def main():
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data-dir", required=True, help="folder that holds fashion-mnist/")
    options = parser.parse_args()
    print("| images | epochs | looks every | training, s | looking, s | the first look, s ", end="")
    print("| part, % | without the first, % |\n|---|---|---|---|---|---|---|---|", flush=True)
    digits = data.load("digits").train
    keras.utils.set_random_seed(0)
    measure("1,437 digits, 8 x 8", encoders.resnet8(digits.image_shape), digits, 40)
    fashion = fashion_mnist(options.data_dir, 10_000).train
    measure("10,000 of Fashion-MNIST", build_encoder(fashion.image_shape, 0), fashion, 20)


if __name__ == "__main__":
    main()
