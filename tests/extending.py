"""The code of docs/extending.md as a module, and data to train its methods on."""

import importlib.util
import pathlib
import re
import tempfile

import keras
import numpy as np

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "extending.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def load(blocks=BLOCKS):
    """Runs code of the page as a module, from a file, because TensorFlow's AutoGraph reads it."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "extending.py"
        path.write_text("\n\n".join(blocks), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("extending", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def load_classes():
    """Runs only the page's classes, without training anything."""
    return load([BLOCKS[0], *(block for block in BLOCKS if "\nclass " in block)])


def dense_encoder():
    """An encoder for images of any size. Without batch normalization, micro-batches are exact."""
    return keras.Sequential(
        [
            keras.layers.Input((None, None, 1)),
            keras.layers.Conv2D(8, 3, activation="tanh"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(12, activation="tanh"),
        ],
        name="dense",
    )


def linear_head():
    return keras.layers.Dense(8, name="head")


# The sizes of the views, by class.
METHODS = {"BYOL": (8, 8), "MultiCropSimCLR": (8, 8, 5, 5, 5), "FroSSL": (8, 8, 8)}


def make_method(page, name):
    """Makes a method without batch statistics, also in the predictor of BYOL."""
    model = getattr(page, name)(dense_encoder(), linear_head(), name=name.lower())
    if name == "BYOL":
        model.predictor = keras.layers.Dense(8, name="predictor")
    return model


def make_batches(name, count=3, rows=16, seed=0):
    """Makes arrays: (views, labels) for each of some batches."""
    random = np.random.RandomState(seed)
    return [
        (
            tuple(random.rand(rows, size, size, 1).astype("float32") for size in METHODS[name]),
            random.randint(0, 3, rows),
        )
        for _ in range(count)
    ]
