"""Judges the encoder while it trains."""

from typing import Any

import keras

from keras_ssl._validation import check_count
from keras_ssl.data import ImageSet, Views
from keras_ssl.data.image_set import check_image_set
from keras_ssl.data.views import check_policy
from keras_ssl.evaluation import judge
from keras_ssl.evaluation.judgment import check_classes


class EvaluationCallback(keras.callbacks.Callback):
    """Adds `val_knn`, `val_linear` and `val_rankme` to the logs of an epoch.

    With a `policy`, it also adds `val_alpha_req` (and `val_alpha_req_distance`, its distance from
    the best value, 1), `val_uniformity` (lower is better) and `val_lidar`. Like RankMe, these need
    no labels: `ModelCheckpoint("best.keras", "val_lidar", mode="max", save_best_only=True)`. Later
    callbacks in the list can read all of them, so put this one before `EmbeddingInspector`,
    `CSVLogger`, `ModelCheckpoint` and `EarlyStopping`. The first and the last epoch are always
    judged.

    Args:
        train: Images whose features the classifiers learn from.
        test: Images on which the classifiers are tested. `None`: only figures that need no labels.
        every: Epochs between judgments, at least 1.
        batch_size: Images per step.
        policy: The policy that makes views; see `keras_ssl.evaluation.judge`.

    Attributes:
        latest: The figures of the last judgment, as `keras_ssl.evaluation.judge` returns them.
        latest_epoch: The number of epochs done at the last judgment.

    Raises:
        TypeError: for images that are not an `ImageSet`.
        ValueError: if `test` is given and either set has no labels.

    Example:
        >>> import numpy as np
        >>> from keras_ssl import data, models
        >>> images = np.random.RandomState(0).rand(8, 4, 4, 1).astype("float32")
        >>> encoder = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten()])
        >>> model = models.VICReg(encoder, projector="8")
        >>> model.compile("adamw", run_eagerly=True)
        >>> callback = EvaluationCallback(data.from_arrays(images))
        >>> history = model.fit((images, images), verbose=0, callbacks=[callback])
        >>> list(callback.latest), "val_rankme" in history.history
        (['rankme'], True)
    """

    def __init__(
        self,
        train: ImageSet,
        test: ImageSet | None = None,
        every: int = 1,
        batch_size: int = 256,
        policy: Views | None = None,
    ) -> None:
        super().__init__()
        check_image_set("train", train)
        if test is not None:
            check_image_set("test", test)
        if test is not None and not (train.has_labels and test.has_labels):
            raise ValueError(
                "`train` and `test` must have labels; with test=None, `val_rankme` needs none. "
                f"Received: train labeled {train.has_labels}, test labeled {test.has_labels}"
            )
        if test is not None:
            check_classes(train, test)
        self.train, self.test = train, test
        self.every = check_count("every", every)
        if policy is not None:
            check_policy("policy", policy)
        self.batch_size, self.policy = check_count("batch_size", batch_size), policy
        self.latest: dict[str, float] | None = None
        self.latest_epoch: int | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Judges the encoder and adds the figures to `logs`."""
        number = epoch + 1
        if logs is None or not (
            number == 1 or number % self.every == 0 or number == self.params["epochs"]
        ):
            return
        figures = judge(
            self.model.encoder, self.train, self.test, self.batch_size, policy=self.policy
        )
        self.latest, self.latest_epoch = dict(figures), number
        if "alpha_req" in figures:
            # The best value is 1, so that a monitor needs the distance from it.
            figures["alpha_req_distance"] = abs(figures["alpha_req"] - 1)
        logs.update({f"val_{name}": value for name, value in figures.items()})
