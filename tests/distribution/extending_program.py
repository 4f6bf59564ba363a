"""Prints what the methods of docs/extending.md learn on one or several replicas.

    python -m tests.distribution.extending_program 2

Replicas are logical devices, which must be set before TensorFlow starts, so this is a process of
its own.
"""

import json
import sys

import keras
import numpy as np
import tensorflow as tf

REPLICAS = int(sys.argv[1])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * REPLICAS
)
keras.config.set_floatx("float64")
keras.config.set_dtype_policy("float64")
strategy = tf.distribute.get_strategy()
if REPLICAS > 1:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])

from tests import extending  # noqa: E402 (devices first)

page = extending.load_classes()
results = {}
for name in extending.METHODS:
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = extending.make_method(page, name)
        model.compile(keras.optimizers.SGD(0.5))
    batches = extending.make_batches(name)
    whole = [np.concatenate([batch[0][i] for batch in batches]) for i in range(len(batches[0][0]))]
    dataset = tf.data.Dataset.from_tensor_slices(
        (tuple(view.astype("float64") for view in whole), np.zeros(len(whole[0]), "int64"))
    )
    history = model.fit(dataset.batch(16, drop_remainder=True), epochs=2, verbose=0).history
    weights = [np.asarray(v).tolist() for v in model.variables if v.dtype == "float64"]
    results[name] = {"losses": history["loss"], "weights": weights}
print(json.dumps(results))
