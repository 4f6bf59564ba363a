"""Trains every method on several devices of JAX, which are parts of this machine's CPU.

    export KERAS_BACKEND=jax XLA_FLAGS=--xla_force_host_platform_device_count=4
    python -m tests.backends.devices FILE data|model

writes what that leads to, and prints what each compiled step sends between the devices.
`test_devices.py` compares.
"""

import re
import sys

import jax
import keras
import numpy as np

from keras_ssl import losses
from tests.backends.steps import fill
from tests.catalog import METHODS
from tests.conftest import tiny_encoder

IMAGES, STEPS = 16, 3


def batches():
    rng = np.random.RandomState(0)
    views = rng.uniform(size=(2, STEPS * IMAGES, 8, 8, 1)).astype("float32")
    return tuple(views), rng.randint(3, size=STEPS * IMAGES)


# A tenth of its weights: a bias before batch normalization has a gradient of rounding alone, which
# grows with the loss.
CRITERIA = {"VIbCReg": lambda: losses.VIbCRegLoss(2.5, 5.0, 20.0)}


def train(name, **arguments):
    """Returns the weights of a method with batch normalization after a few steps, and its logs."""
    if name in CRITERIA:
        arguments["criterion"] = CRITERIA[name]()
    model = METHODS[name](tiny_encoder(), "16-8", probe=3, **arguments)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9))
    model.build((None, 8, 8, 1))
    fill(model)
    x, y = batches()
    history = model.fit(x, y, batch_size=IMAGES, shuffle=False, verbose=0).history
    logs = {f"{name} {key}": np.asarray(value) for key, value in history.items()}
    kept = {f"{name} {i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.weights)}
    return model, {**logs, **kept}


def collectives(model):
    """Returns the numbers that the collectives of a compiled step give, by kind."""
    x, y = batches()
    data = keras.tree.map_structure(lambda a: a[:IMAGES], (x, y))
    state = model._get_jax_state(True, True, True, True)
    distribution = keras.distribution.distribution()
    layout = jax.sharding.NamedSharding(
        distribution.device_mesh.backend_mesh, jax.sharding.PartitionSpec("batch")
    )
    data = jax.device_put(data, layout)
    text = jax.jit(model.train_step).lower(state, data).compile().as_text()
    kinds = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
    sent = {}
    for shapes, kind in re.findall(rf"= (.*?) ({kinds})(?:-start)?\(", text):
        for sizes in re.findall(r"[fsu]\d+\[([\d,]*)\]", shapes):
            numbers = int(np.prod([int(size) for size in sizes.split(",") if size]))
            sent[kind] = sent.get(kind, 0) + numbers
    return sent


def distribute(way):
    """Sets how Keras distributes what is created from now on."""
    if way == "data":
        keras.distribution.set_distribution(keras.distribution.DataParallel())
        return
    mesh = keras.distribution.DeviceMesh((jax.device_count() // 2, 2), ("batch", "model"))
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*dense.*kernel"] = (None, "model")
    layout[".*conv2d.*kernel"] = (None, None, None, "model")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")
    )


def main(file, way):
    if jax.device_count() > 1:
        distribute(way)
    found = {}
    for name in METHODS:
        model, figures = train(name)
        found |= figures
        if jax.device_count() > 1 and way == "data":
            print(f"{name}: {collectives(model)}")
    found |= {f"micro {k}": v for k, v in train("VICReg", micro_batch_size=8)[1].items()}
    np.savez(file, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
