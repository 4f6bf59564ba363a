"""Measures what comes before and after the steps: in a run, and in a trial of a study.

    python benchmarks/starting.py
    python benchmarks/starting.py --path ../other-checkout   # the same of another version

Each contender runs in a process of its own, and they take turns. Figures are medians of CPU time in
seconds. Of `keras-ssl pretrain digits --epochs 2` and of stock Keras, which trains the same encoder
alone on the same images, it is the time since the process began. Of a study, it is the time of a
trial on a tiny network, and of what a trial does beside its steps. The seed is 0.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def run():
    """Pretrains on digits."""
    import keras

    import keras_ssl

    marks = {"imports": time.process_time()}

    def mark_first(name, function):
        def marked(*args, **kwargs):
            marks.setdefault(name, time.process_time())
            return function(*args, **kwargs)

        return marked

    method = keras_ssl.models.JointEmbeddingModel
    fit, end = method.fit, keras.callbacks.CallbackList.on_train_batch_end
    keras.callbacks.CallbackList.on_train_batch_end = mark_first("first step", end)

    def marked_fit(*args, **kwargs):
        marks.setdefault("fit begins", time.process_time())
        result = fit(*args, **kwargs)
        marks["fit ends"] = time.process_time()
        return result

    method.fit = marked_fit
    with tempfile.TemporaryDirectory() as folder:
        keras_ssl.pretrain("digits", out=f"{folder}/run", epochs=2, quiet=True)
    return {**marks, "end": time.process_time()}


def stock():
    """Trains the same encoder by Keras alone."""
    import keras
    import numpy as np
    from sklearn.datasets import load_digits

    from keras_ssl import encoders

    images, labels = load_digits(return_X_y=True)
    images = (images.reshape(-1, 8, 8, 1) / 16).astype("float32")
    encoder = encoders.build_encoder("resnet8", (8, 8, 1))
    model = keras.Sequential([encoder, keras.layers.Dense(10)])
    model.compile("adamw", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    marks = []
    note = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: marks.append(time.process_time())
    )
    model.fit(images, np.asarray(labels), batch_size=128, verbose=0, callbacks=[note])
    return {"first step": marks[0]}


def trial():
    """Runs four trials on a tiny network; the first one of a process is slower, and left out."""
    import dataclasses

    import keras
    import keras_tuner

    from keras_ssl import data, hypermodels, recipes

    overheads, whole = [], []

    def encoder(hp, shape):
        return keras.Sequential(
            [
                keras.Input(shape),
                keras.layers.Conv2D(8, 3, activation="relu"),
                keras.layers.GlobalAveragePooling2D(),
            ]
        )

    class Timed(hypermodels.PretrainingHyperModel):
        def build(self, hp):
            keras.backend.clear_session()
            self.start = time.process_time()
            return super().build(hp)

        def fit(self, hp, model, *, callbacks=(), **kwargs):
            ends = []
            note = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs: ends.append(time.process_time())
            )
            result = super().fit(hp, model, callbacks=[*callbacks, note], **kwargs)
            total = time.process_time() - self.start
            step = statistics.median(b - a for a, b in zip(ends, ends[1:], strict=False))
            overheads.append(total - step * len(ends))
            whole.append(total)
            return result

    images = data.hold_out(data.load("digits"))
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], epochs=3)
    hypermodel = Timed(recipe, images, encoder=encoder)
    with tempfile.TemporaryDirectory() as folder:
        tuner = keras_tuner.RandomSearch(
            hypermodel, hypermodel.objective, max_trials=4, seed=0, directory=folder
        )
        tuner.search(verbose=0)
    return {
        "trial": statistics.median(whole[1:]),
        "of which not steps": statistics.median(overheads[1:]),
    }


CONTENDERS = {"run": run, "stock Keras": stock, "study": trial}


def main():
    """Prints the figures, or measures one contender."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--path", default=None, help="folder of another version of keras_ssl")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        print(json.dumps(CONTENDERS[arguments.contender]()))
        return
    paths = {"": None} if arguments.path is None else {"": None, " (--path)": arguments.path}
    found = {}
    for _ in range(arguments.turns):
        for label, path in paths.items():
            for contender in CONTENDERS:
                with tempfile.TemporaryDirectory() as home:
                    environment = {**os.environ, "KERAS_HOME": home}
                    if path is not None:
                        environment["PYTHONPATH"] = os.path.abspath(path)
                    command = [sys.executable, __file__, "--contender", contender]
                    done = subprocess.run(
                        command, stdout=subprocess.PIPE, check=True, env=environment
                    )
                for mark, value in json.loads(done.stdout.decode().splitlines()[-1]).items():
                    found.setdefault((contender + label, mark), []).append(value)
    for (contender, mark), values in found.items():
        print(f"{contender:<22} {mark:<20} {statistics.median(values):6.2f} s", flush=True)


if __name__ == "__main__":
    main()
