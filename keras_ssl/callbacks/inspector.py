"""Looking into a run while it trains, in TensorBoard."""

import functools
import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from PIL import Image
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import api as hparams_api

from keras_ssl._text import plain
from keras_ssl._validation import check_count, check_optional_count
from keras_ssl.data import ImageSet, TwoViews
from keras_ssl.data.views import mosaic
from keras_ssl.inspection import EventLog, Inspection, Sample
from keras_ssl.inspection.diagnosis import learning_rate
from keras_ssl.inspection.event_log import RUN
from keras_ssl.training.strategies import is_chief

# By default a sample is looked at so often that this part of the images trained on is looked at:
# with the figures that are computed of them, under 3 % of the time (benchmarks/inspection.py).
_SHARE = 0.015

# The figures worth comparing between runs: the columns of the HParams tab.
_CHOSEN = {
    "evaluation/linear": "linear accuracy",
    "evaluation/knn": "kNN accuracy",
    "probe/accuracy": "online probe accuracy",
    "training/loss": "loss",
    "rank/representations": "RankMe",
    "pairs/positive_mean": "cosine of positives",
    "hypersphere/uniformity": "uniformity",
}


class EmbeddingInspector(keras.callbacks.Callback):
    """Shows in TensorBoard whether a method is learning: figures, histograms and pictures.

    A fixed sample of images, in views drawn once, passes through the model now and then, as in
    training (the views of the data set that is trained on are not seen). Beside it stands what
    `fit` logs of every epoch. Sections of the dashboard:

    - `training`: loss, learning rate, images per second; `criterion`: every term, unweighted;
      `probe`, `evaluation`: what the online probe and `EvaluationCallback` log
    - `sample_terms`, `gradient_share`, `duality`, `bounds`, `pairs`, `hypersphere`, `spread`,
      `rank`: see `keras_ssl.inspection.Inspection.figures`
    - histograms of cosines, norms, standard deviations and singular values; pictures of the views,
      of the Gram and the correlation matrix, of the spectrum, and of the classes where the sample
      has labels; the HParams tab; the Embedding Projector, at the end of training

    The x-axis counts epochs done, 0 being the model before training; with `every_steps`, steps.
    Training is the same, bit for bit, with this callback and without. It goes on where nothing can
    be written (`keras_ssl.inspection.EventLog`). Works beside `keras.callbacks.TensorBoard` on the
    same folder, whose `profile_batch` profiles. Put it behind `EvaluationCallback`, whose figures
    it writes.

    Args:
        images: The images that are trained on, or any: an `ImageSet`. Labels color pictures only.
        policy: What makes the views.
        log_dir: The folder to point TensorBoard to. `None`: nothing is written; other callbacks
            can read `latest`.
        every: Epochs between looks, at least 1. Default: as many as keep the images looked at below
            1.5 % of those trained on: under 3 % of the time of a run of two minutes or more.
        every_steps: Steps between looks, in the place of epochs.
        count: Number of images in the sample.
        pictures_every: Looks between pictures and histograms, which cost more than figures. The
            first and the last are always drawn.
        hparams: Options of the run for the HParams tab, added to those of the model.
        write_graph: Whether the graph from images to embeddings is written.
        seed: Seed of the sample's views.

    Attributes:
        latest: The `keras_ssl.inspection.Inspection` of the latest look, or `None`. Every look
            makes a new one: callbacks that stand behind this one in the list read it in their own
            hooks, as `CollapseDoctor` does.
        steps: Steps done, those before a resumed run included.
        log: The `keras_ssl.inspection.EventLog` of the run, `None` where nothing is written.

    Raises:
        ValueError: for numbers below 1, both `every` and `every_steps`, or fewer images than 2.
        TypeError: for images, a policy, a folder or options of another type.
    """

    def __init__(
        self,
        images: ImageSet,
        policy: TwoViews,
        log_dir: str | os.PathLike[str] | None = None,
        every: int | None = None,
        every_steps: int | None = None,
        count: int = 256,
        pictures_every: int = 10,
        hparams: Mapping[str, Any] | None = None,
        write_graph: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not isinstance(log_dir, (str, os.PathLike, type(None))):
            raise TypeError(
                f"`log_dir` must be a folder's path, or None. Received: log_dir={log_dir!r}"
            )
        if not isinstance(hparams, (Mapping, type(None))):
            raise TypeError(
                f"`hparams` must be a dictionary of options. Received: hparams={hparams!r}"
            )
        if every is not None and every_steps is not None:
            raise ValueError(
                "`every` counts epochs and `every_steps` steps: give one of them. "
                f"Received: every={every}, every_steps={every_steps}"
            )
        every = check_optional_count("every", every)
        self.every_steps = check_optional_count("every_steps", every_steps)
        self.pictures_every = check_count("pictures_every", pictures_every)
        self.sample = Sample(images, policy, count, seed)
        seldom = math.ceil(len(self.sample.images) / (_SHARE * len(images)))
        self.every = seldom if every is None else every
        self.log_dir, self.hparams, self.write_graph = log_dir, dict(hparams or {}), write_graph
        self.latest: Inspection | None = None
        self.steps = 0
        self.log: EventLog | None = None
        self._has_begun = False

    # --- Keras' hooks --------------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the log: of several machines, the first alone."""
        if self.log is not None:
            self.log.close()  # An error has ended the last run.
        writes = self.log_dir is not None and is_chief(self.model.distribute_strategy)
        self.log = EventLog(self.log_dir) if writes else None
        self._has_begun = self._has_options = False
        self._looks, self._epoch, self.steps, self._step_of_look = 0, 0, 0, -1
        self._step_of_pictures, self._looking, self._seconds = -1, 0.0, 0.0
        self.latest = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the model before its first epoch; starts the clock."""
        self._epoch = epoch
        if not self._has_begun:
            self._has_begun, self.steps = True, epoch * (self.params["steps"] or 0)
            self._look()
        self._start, self._looking, self._first_step = time.perf_counter(), 0.0, self.steps

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step, and looks where steps count."""
        before, self.steps = self.steps, self._first_step + batch + 1
        self._seconds = time.perf_counter() - self._start - self._looking
        if not self._has_options:
            self._has_options = True
            self._write("hparams", self._write_options)
        # Several steps may have passed (`steps_per_execution`).
        if self.every_steps and self.steps // self.every_steps > before // self.every_steps:
            self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the logs of the epoch, and looks where epochs count."""
        self._epoch = epoch + 1
        self._write_each(self._log_contents(logs or {}))
        if self.every_steps is None and self._epoch % self.every == 0:
            self._look()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Looks once more, writes the Embedding Projector's files and closes the log."""
        if self._has_begun:
            latest = self._look(is_last=True)
            if self.log is not None and latest.is_finite:
                write = functools.partial(self._write_projector, self.log.path, latest)
                self.log.write(self.now, write, "projector")
        if self.log is not None:
            self.log.close()
        self.log, self._has_begun = None, False

    # --- Looking -------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """The position on the x-axis."""
        return self.steps if self.every_steps is not None else self._epoch

    def _write(self, name: str, content: Callable[[], Any]) -> None:
        self._write_each({name: content})

    def _write_each(self, contents: Mapping[str, Callable[[], Any]]) -> None:
        if self.log is not None:
            self.log.write_each(self.now, contents)

    def _look(self, is_last: bool = False) -> Inspection:
        start = time.perf_counter()
        inspection = self.latest
        is_new = inspection is None or self.steps != self._step_of_look
        if inspection is None or is_new:
            inspection = self.latest = self.sample.inspect(self.model)
            self._step_of_look = self.steps
            if inspection.is_finite:
                self._write_each(_scalars(inspection.figures))
        with_pictures = is_last or (is_new and self._looks % self.pictures_every == 0)
        if with_pictures and inspection.is_finite and self._step_of_pictures != self.steps:
            self._step_of_pictures = self.steps
            self._write_each(self._picture_contents(inspection))
        if self._looks == 0 and self.write_graph:
            self._write("graph", lambda: tf.summary.graph(self.sample.embed_graph))
        if is_new:
            self._looks += 1
        self._looking += time.perf_counter() - start
        return inspection

    def _picture_contents(self, inspection: Inspection) -> dict[str, Callable[[], Any]]:
        """What writes each histogram and each picture, by its tag."""

        def image(tag: str, draw: Callable[[], np.ndarray]) -> None:
            tf.summary.image(tag, draw()[None])

        if self.log is None:
            return {}
        from keras_ssl.inspection import pictures  # matplotlib takes a second to import

        histograms = {
            tag: functools.partial(tf.summary.histogram, tag, values)
            for tag, values in inspection.distributions.items()
        }
        images = {
            tag: functools.partial(image, tag, draw)
            for tag, draw in pictures.all_pictures(self.sample, inspection).items()
        }
        return {**histograms, **images}

    def _log_contents(self, logs: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
        """What writes each figure that `fit` logs, and those of the epoch, by its tag."""
        figures = {_section(name): value for name, value in logs.items()}
        rate = learning_rate(self.model.optimizer)
        if rate is not None:
            figures["training/learning_rate"] = rate
        images = getattr(self.model, "images_per_step", None)
        steps = self.steps - self._first_step
        if images and steps:
            figures["training/images_per_second"] = images * steps / self._seconds
        return _scalars(figures)

    # --- Once a run ----------------------------------------------------------------------------

    def _write_options(self) -> None:
        values = {**self._options(), **self.hparams}
        values = {
            plain(name): value if isinstance(value, (bool, int, float)) else plain(value)
            for name, value in values.items()
            if value is not None
        }
        hparams_api.hparams_config(
            hparams=[hparams_api.HParam(name) for name in values],
            metrics=[hparams_api.Metric(tag, display_name=name) for tag, name in _CHOSEN.items()],
        )
        # The row's name in the tab, which has room for little.
        folder = pathlib.Path(self.log.path if self.log else "").resolve()
        name = plain("/".join(folder.parts[-3:]).removesuffix(f"/{RUN}"))
        hparams_api.hparams(values, trial_id=name)

    def _options(self) -> dict[str, Any]:
        """What the model and `fit` know of the options of the run."""
        model = self.model
        optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
        schedule = getattr(optimizer, "_learning_rate", None)
        is_schedule = isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule)
        widths = getattr(model.projector, "widths", None)
        embeddings = self.latest.embeddings[0].shape[1] if self.latest else None
        return {
            "method": type(model).__name__,
            "encoder": model.encoder.name,
            "projector": "-".join(map(str, widths)) if widths else model.projector.name,
            "embedding dimension": embeddings,
            "optimizer": type(optimizer).__name__,
            "learning rate": type(schedule).__name__ if is_schedule else learning_rate(optimizer),
            "weight decay": optimizer.weight_decay,
            "batch size": model.images_per_step,
            "micro batch size": model.micro_batch_size,
            "epochs": self.params.get("epochs"),
            "steps per epoch": self.params.get("steps"),
            "precision": model.dtype_policy.name,
            "replicas": model.distribute_strategy.num_replicas_in_sync,
            **{
                f"criterion {name}": value
                for name, value in model.criterion.get_config().items()
                if name != "name"
            },
        }

    def _write_projector(self, folder: pathlib.Path, inspection: Inspection) -> None:
        """The sample's embeddings for the Embedding Projector, with the images as sprites."""
        np.savetxt(folder / "embeddings.tsv", inspection.embeddings[0], "%.5g", delimiter="\t")
        images = self.sample.images
        side = math.ceil(len(images) ** 0.5)
        blank = np.ones((side * side - len(images), *images.shape[1:]), images.dtype)
        tiles = np.concatenate([images, blank]).reshape(side, side, *images.shape[1:])
        sprites = mosaic(list(tiles.swapaxes(0, 1)))
        # One sprite, its border included, in pixels of the picture; TensorBoard takes no picture
        # of more than 8192 on a side.
        sprite = [size // side for size in sprites.shape[1::-1]]
        picture = Image.fromarray(sprites)
        if max(picture.size) > 8192:
            sprite = [max(1, size * 8192 // max(picture.size)) for size in sprite]
            picture = picture.resize([size * side for size in sprite])
        picture.save(folder / "sprites.png")
        config = projector.ProjectorConfig()
        embedding = config.embeddings.add()
        embedding.tensor_name = "embeddings of the sample"
        embedding.tensor_path = "embeddings.tsv"
        embedding.sprite.image_path = "sprites.png"
        embedding.sprite.single_image_dim.extend(sprite)
        if self.sample.labels is not None:
            names = [plain(name) for name in self.sample.class_names or ()]
            lines = [names[label] + "\n" for label in self.sample.labels]
            (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
            embedding.metadata_path = "labels.tsv"
        projector.visualize_embeddings(str(folder), config)


def _scalars(figures: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """What writes each figure, by its tag."""

    def write(tag: str, value: Any) -> None:
        tf.summary.scalar(tag, float(value))

    return {tag: functools.partial(write, tag, value) for tag, value in figures.items()}


def _section(name: str) -> str:
    """The tag of a figure that `fit` logs."""
    if name.startswith("val_"):
        return f"evaluation/{name.removeprefix('val_')}"
    if name.startswith("probe_"):
        return f"probe/{name.removeprefix('probe_')}"
    return f"training/{name}" if name in ("loss", "learning_rate") else f"criterion/{name}"
