"""Twenty steps of every method, from the same weights and on the same views, on any backend.

`python -m tests.backends.steps train FILE DTYPE` writes what they lead to, which
`test_across.py` compares. `drift` in the place of `train` is a network with batch normalization.
"""

import sys

import keras
import numpy as np

from keras_ssl import layers, models, optimizers
from keras_ssl._keras import replace_layer
from tests.catalog import METHODS, check_complete
from tests.conftest import tiny_encoder

STEPS, IMAGES, EPOCHS = 10, 12, 2
L2 = keras.regularizers.L2(2**-10)


class Views(keras.utils.PyDataset):
    """Batches of two noisy views of the same images, always in the same order."""

    def __init__(self, dtype):
        super().__init__()
        rng = np.random.RandomState(0)
        images = rng.uniform(size=(STEPS, 1, IMAGES, 8, 8, 1))
        noise = rng.normal(scale=0.1, size=(STEPS, 2, IMAGES, 8, 8, 1))
        self.views = np.clip(images + noise, 0, 1).astype(dtype)
        self.labels = rng.randint(3, size=(STEPS, IMAGES))

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        return tuple(self.views[index]), self.labels[index]


# Keras 3.15 rounds to float32 also where all is float64: on TensorFlow Python's numbers in
# schedules, in Adam on some backends and not on others; on JAX and PyTorch means, and with
# them batch normalization and pooling; on PyTorch products of matrices. So none of these is in a
# network or an optimizer here, and numbers are sums of few powers of two.


def encoder():
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Conv2D(6, 3, strides=2, activation="relu"),
            keras.layers.Conv2D(7, 3, kernel_regularizer=L2),
            keras.layers.Flatten(),
        ]
    )


def head(inputs=7, name="head"):
    """A projector or a predictor without batch normalization, for the reason above."""
    return keras.Sequential(
        [
            keras.layers.Reshape((1, 1, inputs)),
            keras.layers.Conv2D(9, 1, activation="relu"),
            keras.layers.Conv2D(8, 1),
            keras.layers.Flatten(),
        ],
        name=name,
    )


def fill(model):
    """Gives kernels values that any backend draws alike."""
    rng = np.random.RandomState(1)
    for variable in model.trainable_weights:
        if "kernel" in variable.path:
            variable.assign(rng.normal(scale=0.3, size=variable.shape))


OPTIMIZERS = {
    "SGD": lambda: keras.optimizers.SGD(2**-7, 0.875, clipnorm=1.0, use_ema=True),
    "LARS": lambda: optimizers.LARS(0.25),
    "LARS of TCR": lambda: optimizers.LARS(2**-5, clip_trust_ratio=True),
    "LARS of SimCLR": lambda: optimizers.LARS(0.25, learning_rate_in_momentum=True),
}

# Every method, each in another way.
RUNS = {
    "AlignmentUniformity": {},
    "BYOL": {"hidden": "8", "momentum": 0.75},
    "EMPSSL": {},
    "FroSSL": {},
    "IVNE": {"micro_batch_size": 4},
    "LeJEPA": {"optimizer": "LARS"},
    "MMCR": {},
    "MoCoV3": {"hidden": "8", "momentum": 0.75},
    "SimSiam": {"hidden": "8"},
    "VIbCReg": {},
    "WMSE": {},
    "BarlowTwins": {"optimizer": "LARS"},
    "DCL": {"optimizer": "LARS of SimCLR"},
    "SimCLR": {"layer_decay": 0.5},
    "SpectralContrastive": {},
    "TCR": {"optimizer": "LARS of TCR"},
    "VICReg": {"micro_batch_size": 4},
    "VICRegCtr": {"steps_per_execution": 2},
    "VICRegExp": {"optimizer": "LARS", "micro_batch_size": 6},
}
check_complete(RUNS, METHODS, "add it to RUNS in tests/backends/steps.py")


def train(method, optimizer="SGD", steps_per_execution=1, **arguments):
    """Returns a model that was trained, and its figures of every epoch."""
    probe = layers.OnlineProbe(3, keras.optimizers.SGD(0.125, 0.875), dtype=keras.config.floatx())
    model = getattr(models, method)(encoder(), head(), probe=probe, **arguments)
    if hasattr(model, "predictor"):
        replace_layer(model, "predictor", head(8, "predictor"))
    if keras.backend.backend() == "torch":
        steps_per_execution = 1  # Keras knows no other there.
    model.compile(OPTIMIZERS[optimizer](), steps_per_execution=steps_per_execution)
    model.build((None, 8, 8, 1))
    fill(model)
    views = Views(keras.config.floatx())
    history = model.fit(views, epochs=EPOCHS, shuffle=False, verbose=0).history
    return model, history


def figures(model, history):
    """Returns all numbers that a training has led to, by name."""
    arrays = {f"{key} by epoch": np.asarray(values) for key, values in history.items()}
    variables = [*model.variables, *model.optimizer.variables, *model.probe.optimizer.variables]
    for i, variable in enumerate(variables):
        if "seed" not in variable.path:
            arrays[f"{i} {variable.name}"] = keras.ops.convert_to_numpy(variable)
    return arrays


def all_runs():
    """Returns the figures of all runs, by run and name."""
    found = {}
    for name, arguments in RUNS.items():
        found |= {f"{name}: {k}": v for k, v in figures(*train(name, **arguments)).items()}
        keras.backend.clear_session()
    return found


def drift():
    """Returns the losses of four epochs in a network with batch normalization, by optimizer."""
    found = {}
    for method, optimizer in (("VICReg", optimizers.LARS(0.03)), ("SimCLR", "adamw")):
        model = getattr(models, method)(tiny_encoder(), "16-8")
        model.compile(optimizer)
        model.build((None, 8, 8, 1))
        fill(model)
        history = model.fit(Views("float32"), epochs=4, shuffle=False, verbose=0).history
        found[f"{method}, {model.optimizer.name}"] = np.asarray(history["loss"])
    return found


def go_on(model):
    """Trains a model for one more epoch."""
    model.fit(Views(keras.config.floatx()), shuffle=False, verbose=0)


def main(command, *arguments):
    *paths, dtype = arguments
    keras.config.set_floatx(dtype)
    if command == "train":
        np.savez(paths[0], **all_runs())
    elif command == "drift":
        np.savez(paths[0], **drift())
    else:
        model = keras.models.load_model(paths[0])
        go_on(model)
        model.save(paths[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
