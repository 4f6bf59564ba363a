"""Acts as one of two machines, on one: trains a model with `fit`, from its last checkpoint.

    TF_CONFIG=... python -m tests.distribution.multiworker_program FOLDER EPOCHS [DIE_AT_STEP]

The last argument makes this worker kill itself at the end of that step.
"""

import os
import pathlib
import signal
import sys

import keras
import numpy as np

from keras_ssl import callbacks, distribution, models
from tests.distribution.fit_program import encoder, views


class Die(keras.callbacks.Callback):
    """Ends the process as a power cut would."""

    def __init__(self, step):
        super().__init__()
        self.left = step

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


def main(folder, epochs, die_at=None):
    # It must come before anything else of TensorFlow.
    strategy = distribution.strategy("auto")
    keras.utils.set_random_seed(0)
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    found = callbacks.checkpoints(folder / "checkpoints")
    with strategy.scope():
        if found:
            model = keras.models.load_model(found[-1])
        else:
            model = models.VICReg(encoder(), "12-6", probe=3)
            model.compile(keras.optimizers.SGD(0.05, momentum=0.9))
    first = callbacks.epochs_done(found[-1]) if found else 0
    watchers = [callbacks.EpochCheckpoint(folder / "checkpoints")]
    if distribution.is_chief(strategy):
        watchers.append(keras.callbacks.TensorBoard(folder / "events", write_graph=False))
    if die_at is not None:
        watchers.append(Die(die_at))
    history = model.fit(
        views(24, 8),
        epochs=epochs,
        initial_epoch=first,
        shuffle=False,
        verbose=0,
        callbacks=watchers,
    ).history
    evaluated = model.evaluate(views(24, 8), verbose=0, return_dict=True)
    index = getattr(strategy.cluster_resolver, "task_id", 0) if strategy.cluster_resolver else 0
    np.savez(
        folder / f"result-{index}.npz",
        **{f"log {name}": np.asarray(values) for name, values in history.items()},
        **{f"evaluated {name}": np.asarray(value) for name, value in evaluated.items()},
        **{f"weight {i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.variables)},
    )


if __name__ == "__main__":
    try:
        main(pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:]))
    except distribution.WorkerLostError as error:
        print(f"lost: {error}", file=sys.stderr, flush=True)
        os._exit(3)
