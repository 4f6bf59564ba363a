"""Two replicas with different data compute what one device does on the whole batch.

One process per number of logical devices: they are fixed before TensorFlow starts.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

PROGRAM = """
import json, sys
import numpy as np, tensorflow as tf
replicas = int(sys.argv[1])
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * replicas
)
from keras_ssl import data, losses
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
rng = np.random.RandomState(0)
x, kernel = rng.randn(2, 8, 6), rng.randn(6, 5)
results = {}
for criterion in [
    losses.VICRegLoss(dtype="float64"),
    losses.VICRegCtrLoss(dtype="float64"),
    losses.NTXentLoss(dtype="float64"),
    losses.BarlowTwinsLoss(dtype="float64"),
    losses.CodingRateLoss(dtype="float64"),
]:
    with strategy.scope():
        w = tf.Variable(kernel)

    @tf.function
    def step(pair):
        with tf.GradientTape() as tape:
            share = criterion(pair[0] @ w, pair[1] @ w)
        gradient = tape.gradient(share, w)
        context = tf.distribute.get_replica_context()
        return context.all_reduce("SUM", [share, gradient])

    rows = 8 // replicas
    pair = strategy.experimental_distribute_values_from_function(
        lambda c: tf.constant(x[:, c.replica_id_in_sync_group * rows :][:, :rows])
    )
    loss, gradient = strategy.experimental_local_results(strategy.run(step, args=(pair,)))[0]
    results[criterion.name] = [float(loss), np.ravel(gradient).tolist()]

# A layer inside a model: Keras mirrors the state of its random generator.
with strategy.scope():
    crop = data.RandomResizedCrop(seed=1)
image = np.random.RandomState(1).rand(4, 8, 8, 1).astype("float32")
draws = strategy.experimental_local_results(strategy.run(lambda: crop(image, training=True)))
results["draws"] = len(np.unique([np.asarray(d).ravel() for d in draws], axis=0))

# Metrics given to `compile`, which Keras builds by itself under a strategy: all replicas' sums.
import keras
from keras_ssl import duality, models
keras.utils.set_random_seed(0)
with strategy.scope():
    encoder = keras.Sequential([keras.layers.Input((2, 2, 1)), keras.layers.Flatten()])
    projector = keras.layers.Dense(3)
    model = models.VICReg(encoder, projector)
    model.compile("sgd", metrics=[duality.DualityMonitor(3)])
images = np.random.RandomState(2).rand(2, 16, 2, 2, 1).astype("float32")
dataset = tf.data.Dataset.from_tensor_slices((tuple(images),)).batch(8)
logs = model.evaluate(dataset, verbose=0, return_dict=True)
results["l_c"] = logs["l_c"]
print(json.dumps(results))
"""


@pytest.mark.parametrize("replicas", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_shares_and_gradients_add_up_to_those_of_one_device(replicas):
    runs = []
    for count in (1, replicas):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, str(count)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        runs.append(json.loads(done.stdout.splitlines()[-1]))
    one, many = runs
    assert (one.pop("draws"), many.pop("draws")) == (1, replicas)  # all different
    assert many.pop("l_c") == pytest.approx(one.pop("l_c"), rel=1e-5)
    assert len(one) == 5
    for name, (loss, gradient) in one.items():
        assert many[name][0] == pytest.approx(loss, rel=1e-12), name
        np.testing.assert_allclose(many[name][1], gradient, rtol=1e-9, atol=1e-12, err_msg=name)
