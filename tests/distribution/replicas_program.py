"""Prints what replicas share besides the loss, for one replica or several.

    python -m tests.distribution.replicas_program 2 '[{"method": "VICReg", ...}]'

The last argument is what `fit_program` takes. It is here so that both need only one process.

Replicas are logical devices, which must be set before TensorFlow starts, so this is a process of
its own.
"""

import json
import sys
import tempfile
import warnings
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

REPLICAS = int(sys.argv[1])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * (REPLICAS + 1),
)
# As the fast tests: its graphs run but a few steps.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS)])

from keras_ssl import callbacks, data, duality, models  # noqa: E402 (devices first)
from keras_ssl.inspection.events import read_events  # noqa: E402
from keras_ssl.optimizers.apply import apply_gradients  # noqa: E402
from tests.distribution.criteria_program import compare  # noqa: E402
from tests.distribution.fit_program import encoder, train_all, views  # noqa: E402


def steps(optimizer, gradients):
    """Returns a variable after some steps with given gradients for eight rows of a batch."""
    with strategy.scope():
        variable = keras.Variable(np.ones((2, 2), "float32"))
        optimizer = optimizer()
        optimizer.build([variable])

    @tf.function
    def step(rows):
        context = tf.distribute.get_replica_context()
        own = tf.split(rows, REPLICAS)
        own = tf.stack(own)[context.replica_id_in_sync_group]
        scaled = optimizer.scale_loss(tf.reduce_sum(own, axis=0))
        apply_gradients(optimizer, [scaled], [variable])

    for rows in gradients:
        strategy.run(step, args=(tf.constant(rows, "float32"),))
    return [
        np.asarray(v).tolist()
        for v in (variable, optimizer.iterations, getattr(optimizer, "dynamic_scale", 1.0))
    ]


def optimizer_steps():
    """Does steps that clip the sum of gradients, or overflow only on the last rows."""
    sgd, loss_scale = keras.optimizers.SGD, keras.optimizers.LossScaleOptimizer
    gradients = np.random.RandomState(0).randn(3, 8, 2, 2)
    overflow = gradients.copy()
    overflow[1, -1] = np.inf
    return {
        "clipnorm": steps(lambda: sgd(0.1, clipnorm=0.5), gradients),
        "global_clipnorm": steps(lambda: sgd(0.1, global_clipnorm=0.5), gradients),
        "clipvalue": steps(lambda: sgd(0.1, clipvalue=0.2), gradients),
        "scaled": steps(lambda: loss_scale(sgd(0.1)), gradients),
        "scaled and clipped": steps(lambda: loss_scale(sgd(0.1, clipnorm=0.5)), gradients),
        "overflow": steps(lambda: loss_scale(sgd(0.1), initial_scale=4.0), overflow),
    }


def distinct_draws():
    """Counts the replicas that crop differently, as Keras mirrors the state of a generator."""
    with strategy.scope():
        crop = data.RandomResizedCrop(seed=1)
    image = np.random.RandomState(1).rand(4, 8, 8, 1).astype("float32")
    draws = strategy.experimental_local_results(strategy.run(lambda: crop(image, training=True)))
    return len(np.unique([np.asarray(d).ravel() for d in draws], axis=0))


def compiled_metrics():
    """Returns metrics given to `compile`, which are sums over all replicas."""
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = models.VICReg(encoder(), keras.layers.Dense(3))
        model.compile("sgd", metrics=[duality.DualityMonitor(3)])
    return model.evaluate(views(16, 8), verbose=0, return_dict=True)


def inspected():
    """Returns what the inspector and the doctor see of a run, and whether they change the run."""
    images = data.from_arrays(np.random.RandomState(2).rand(24, 6, 6, 1).astype("float32"))
    found = []
    for callbacks_of in (lambda i: [i, callbacks.CollapseDoctor(i)], lambda i: []):
        keras.utils.set_random_seed(0)
        with strategy.scope():
            model = models.VICReg(encoder(), "12-6")
            model.compile(keras.optimizers.SGD(0.05))  # A constant learning rate is a variable.
        with tempfile.TemporaryDirectory() as folder:
            inspector = callbacks.EmbeddingInspector(images, data.weak(), folder, every=1, count=8)
            watchers = callbacks_of(inspector)
            with mock.patch("keras_ssl.inspection.pictures.all_pictures", return_value={}):
                model.fit(views(16, 8), shuffle=False, verbose=0, callbacks=watchers)
            scalars = read_events(folder).scalars if watchers else {}
        found.append([float(np.sum(keras.ops.convert_to_numpy(v))) for v in model.variables])
        if watchers:
            figures = {tag: points[-1][1] for tag, points in scalars.items()}
    del figures["training/images_per_second"]
    return {"same weights": found[0] == found[1], "figures": figures}


class OwnStatistics(keras.layers.Layer):
    """Centers by its own mean, of only this replica's images."""

    def build(self, input_shape):
        self.mean = self.add_weight(shape=input_shape[1:], initializer="zeros", trainable=False)

    def call(self, x, training=False):
        if training:
            self.mean.assign(0.9 * self.mean + 0.1 * keras.ops.mean(x, axis=0))
        return x - self.mean


class Draws(keras.layers.Layer):
    """Remembers what its dropout has drawn on this replica."""

    def __init__(self):
        super().__init__()
        self.dropout = keras.layers.Dropout(0.5, seed=3)
        self.drawn = self.add_weight(shape=(4, 16), initializer="zeros", trainable=False)

    def call(self, x, training=False):
        drawn = self.dropout(keras.ops.ones((4, 16)), training=training)
        if training:
            self.drawn.assign(drawn)
        return x


def own_layers():
    """Returns warnings about a layer's own statistics, and dropout's draws."""

    def train(*kinds, **options):
        keras.utils.set_random_seed(1)
        with strategy.scope(), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            inner = [kind() for kind in kinds]
            projector = keras.Sequential([*inner, keras.layers.Dense(4)])
            model = models.VICReg(encoder(), projector, **options)
            model.compile("sgd")
            model.fit(views(8 * REPLICAS, 4 * REPLICAS), shuffle=False, verbose=0)
        said = [str(w.message) for w in caught if "from replica to replica" in str(w.message)]
        return inner, said

    def draws(**options):
        ((layer,), _) = train(Draws, **options)
        drawn = layer.drawn.value
        return [np.asarray(x).tolist() for x in strategy.experimental_local_results(drawn)]

    return {
        "statistics": train(OwnStatistics, keras.layers.BatchNormalization)[1],
        "draws": draws(),
        "draws in micro-batches": draws(micro_batch_size=4),
    }


def more_replicas():
    """Returns the error for other replicas in a process that has trained with these."""
    with tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(REPLICAS + 1)]).scope():
        model = models.VICReg(encoder(), "4-4")
        model.compile("sgd")
    try:
        model.fit(views(12, 6), shuffle=False, verbose=0)
    except ValueError as error:
        return str(error)
    return "trained"


def refusals():
    """Returns the messages of what is refused before anything is trained."""
    messages = {}

    def refused(name, make, **compile_options):
        steps = compile_options.pop("steps_per_epoch", None)
        dataset = views(16, 8, compile_options.pop("drop_remainder", True)).repeat()
        try:
            model = make()
            model.compile(**{"optimizer": "sgd", **compile_options})
            model.fit(dataset, steps_per_epoch=steps or 2, shuffle=False, verbose=0)
        except ValueError as error:
            messages[name] = str(error)
        else:
            messages[name] = "not refused"

    def inside():
        with strategy.scope():
            return models.VICReg(encoder(), "4-4")

    def only_model_inside():
        outside = encoder()
        with strategy.scope():
            return models.VICReg(outside, "4-4")

    def with_activity_regularizer():
        with strategy.scope():
            activity = keras.layers.Dense(4, activity_regularizer="l2")
            return models.VICReg(encoder(), keras.Sequential([activity]))

    def in_micro_batches():
        with strategy.scope():
            return models.VICReg(encoder(), "4-4", micro_batch_size=2)

    sgd = keras.optimizers.SGD
    refused("activity regularizer", with_activity_regularizer)
    refused("remainder in micro-batches", in_micro_batches, drop_remainder=False)
    refused("jit", inside, jit_compile=True)
    refused("odd steps", inside, steps_per_execution=2, steps_per_epoch=3)
    refused("encoder outside", only_model_inside)
    for option in ("gradient_accumulation_steps", "ema_overwrite_frequency"):
        kwargs = {"use_ema": True} if option.startswith("ema") else {}

        with strategy.scope():
            optimizer = sgd(0.1, **{option: 2}, **kwargs)
        refused(option, inside, optimizer=optimizer)
    model = models.VICReg(encoder(), "4-4")
    model.compile("sgd")
    try:
        with strategy.scope():
            model.fit(views(16, 8), shuffle=False, verbose=0)
    except ValueError as error:
        messages["model outside"] = str(error)
    return messages


def batches_by_hand():
    """Returns losses and weights after `test_on_batch` and `train_on_batch` of arrays."""
    keras.utils.set_random_seed(1)
    with strategy.scope():
        model = models.SimCLR(encoder(), "12-6")
        model.compile(keras.optimizers.SGD(0.5))
    ((x, _),) = views(8, 8).take(1)
    x = keras.tree.map_structure(np.asarray, x)
    losses = [float(model.test_on_batch(x, return_dict=True)["loss"])]
    losses += [float(model.train_on_batch(x, return_dict=True)["loss"]) for _ in range(2)]
    weights = [float(np.sum(np.asarray(w))) for w in model.trainable_weights]
    try:
        model.train_on_batch(tuple(view[:7] for view in x))
    except ValueError as error:
        return losses, weights, str(error)
    return losses, weights, "trained"


if __name__ == "__main__":
    result = {
        "by hand": batches_by_hand(),
        "criteria": compare(strategy, ["wide"], brief=True) if REPLICAS > 1 else {},
        "steps": optimizer_steps(),
        "draws": distinct_draws(),
        "metrics": compiled_metrics(),
        "inspected": inspected(),
        "layers": own_layers(),
        "refusals": refusals() if REPLICAS > 1 else {},
        "more": more_replicas() if REPLICAS > 1 else "",
    }
    train_all(strategy, json.loads(sys.argv[2]))  # The last, because it changes `floatx`.
    print(json.dumps(result))
