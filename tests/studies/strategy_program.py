"""Runs a study, and one of keras-tuner's own tuners, whose trials train on two replicas each.

    python -m tests.studies.strategy_program FOLDER 2

Replicas are logical devices, which must be set before TensorFlow starts, so this is a program.
"""

import json
import sys

import keras_tuner
import tensorflow as tf

folder, replicas = sys.argv[1], int(sys.argv[2])
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * replicas
)

from keras_ssl import studies  # noqa: E402 (devices first)
from tests.studies import program  # noqa: E402

strategy = None
if replicas > 1:
    strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
arms = program.arms()
seen = []
for arm in arms.values():
    arm.measure = lambda model, images: (
        seen.append(model.distribute_strategy.num_replicas_in_sync) or {}
    )
results = studies.Study(f"{folder}/study", arms, 2, 1).run(strategy)
tuner = keras_tuner.RandomSearch(
    arms["vicreg"],
    arms["vicreg"].objective,
    max_trials=2,
    seed=1,
    directory=folder,
    project_name="tuner",
    distribution_strategy=strategy,
)
tuner.search(verbose=0)
print(
    json.dumps(
        {
            "replicas": sorted(set(seen)),
            # Only the search: a rounding may decide which draw is best.
            "losses": [r["figures"]["loss"] for r in results.rows if r["stage"] == "search"],
            "reasons": [row["reason"] for row in results.rows],
            "tuner": [
                trial.metrics.get_last_value("loss") for trial in tuner.oracle.trials.values()
            ],
        }
    )
)
