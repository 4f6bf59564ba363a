"""Shows in TensorBoard what happens in a run while it trains."""

import functools
import math
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_ssl._keras import schedule_of, unscaled
from keras_ssl._text import plain
from keras_ssl._validation import check_count, check_optional_count
from keras_ssl.data import ImageSet, Views
from keras_ssl.data.pictures import mosaic
from keras_ssl.inspection import EventLog, Inspection, Sample, summaries
from keras_ssl.inspection.diagnosis import learning_rate
from keras_ssl.inspection.event_log import RUN, tag
from keras_ssl.training.strategies import is_chief

# By default, the images looked at are this part of the images trained on. With the figures that are
# computed from them, that takes some 5 % of the time (benchmarks/inspection.py).
_SHARE = 0.015

# The figures worth comparing between runs: the columns of the HParams tab.
_CHOSEN = {
    "evaluation/linear": "linear accuracy",
    "evaluation/knn": "kNN accuracy",
    "training/probe_accuracy": "online probe accuracy",
    "training/loss": "loss",
    "rank/representations": "RankMe",
    "pairs/positive_mean": "cosine of positives",
    "hypersphere/uniformity": "uniformity",
}


class EmbeddingInspector(keras.callbacks.Callback):
    """Shows in TensorBoard whether a method is learning: figures, histograms and pictures.

    A fixed sample of images, whose views are drawn once, passes through the model from time to
    time, as in training (the callback does not see the views of the data set that is trained on).
    It also writes what `fit` logs for every epoch. Sections of the dashboard:

    - `1_training`: loss, learning rate, images per second, the online probe; `2_evaluation`: the
      logs of `EvaluationCallback`; `criterion`: every term, unweighted. TensorBoard sorts sections
      by name, and numbers first
    - `sample_terms`, `gradient_share`, `duality`, `bounds`, `pairs`, `hypersphere`, `spread`,
      `rank`: see `keras_ssl.inspection.Inspection.figures`
    - histograms of cosines, norms, standard deviations and singular values; pictures of the views,
      of the Gram and the correlation matrix, of the spectrum, and of the classes where the sample
      has labels; the HParams tab; the Embedding Projector, at the end of training

    The x-axis counts the epochs done, where 0 is the model before training; with `every_steps`, it
    counts steps. Training is the same, bit for bit, with and without this callback, and goes on if
    nothing can be written (`keras_ssl.inspection.EventLog`). The callback works beside
    `keras.callbacks.TensorBoard` on the same folder, whose `profile_batch` profiles. Put it after
    `EvaluationCallback`, whose figures it writes.

    Args:
        images: An `ImageSet` of the images that are trained on, or of any others. Their labels are
            only used to color pictures. It can also be a `keras_ssl.inspection.Sample` of your own
            views, which need not be images.
        policy: The policy that makes the views; `None` if `images` is a sample.
        log_dir: The folder to point TensorBoard to. `None`: nothing is written, and other callbacks
            can read `latest`.
        every: Epochs between looks, at least 1. The default keeps the images looked at below 1.5 %
            of those trained on, which takes 4 to 6 % of the time of a run of minutes. For a sample
            of your own, the default is 1.
        every_steps: Steps between looks, instead of epochs.
        count: Number of images in the sample.
        pictures_every: Looks between pictures and histograms, which cost more than figures. They
            are always drawn at the first and the last look.
        hparams: Options of the run for the HParams tab, in addition to those of the model.
        write_graph: Whether the graph from images to embeddings is written.
        seed: Seed of the sample's views.

    Attributes:
        latest: The `keras_ssl.inspection.Inspection` of the latest look, or `None`. Every look
            makes a new one. Callbacks that come after this one in the list can read it in their
            hooks, as `CollapseDoctor` does.
        steps: Steps done, including those before the run was resumed.
        log: The `keras_ssl.inspection.EventLog` of the run, or `None` if nothing is written.

    Raises:
        ValueError: for numbers below 1, both `every` and `every_steps`, or fewer than 2 images.
        TypeError: for images, a policy, a folder or options of another type.

    Example:
        The views of this sample are rows of numbers, and nothing is written.

        >>> from keras_ssl import models
        >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> model = models.VICReg(encoder, projector="4")
        >>> model.compile("adamw", run_eagerly=True)
        >>> views = tuple(np.random.RandomState(0).rand(2, 16, 8).astype("float32"))
        >>> inspector = EmbeddingInspector(Sample.of(views))
        >>> history = model.fit(views, batch_size=8, verbose=0, callbacks=[inspector])
        >>> inspector.steps, inspector.latest.embeddings[0].shape
        (2, (16, 4))
    """

    def __init__(
        self,
        images: ImageSet | Sample,
        policy: Views | None = None,
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
                "`every` (epochs) and `every_steps` (steps) must not both be given. "
                f"Received: every={every}, every_steps={every_steps}"
            )
        every = check_optional_count("every", every)
        self.every_steps = check_optional_count("every_steps", every_steps)
        self.pictures_every = check_count("pictures_every", pictures_every)
        if isinstance(images, Sample):
            self.sample, seldom = images, 1
        else:
            self.sample = Sample(images, policy, count, seed)  # type: ignore[arg-type]  # checked
            seldom = math.ceil(len(self.sample) / (_SHARE * len(images)))
        self.every = seldom if every is None else every
        self.log_dir, self.hparams, self.write_graph = log_dir, dict(hparams or {}), write_graph
        self.latest: Inspection | None = None
        self.steps = 0
        self.log: EventLog | None = None
        self._has_begun = False

    # --- Keras' hooks --------------------------------------------------------------------------

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Opens the log; on several machines, only the first does."""
        if self.log is not None:
            self.log.close()  # An error has ended the last run.
        writes = self.log_dir is not None and is_chief(self.model.distribute_strategy)
        self.log = EventLog(self.log_dir) if writes else None
        self._has_begun = self._has_options = False
        self._looks, self._epoch, self.steps, self._step_of_look = 0, 0, 0, -1
        self._step_of_pictures, self._looking, self._seconds = -1, 0.0, 0.0
        self._draw_first_pictures: Callable[[], None] | None = None
        self.latest = None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the model before its first epoch, and starts the clock."""
        self._epoch, self._done_before = epoch, 0
        if not self._has_begun:
            self._has_begun = True
            # `fit` may go on within an epoch, whose first steps it did earlier.
            self._done_before = self.params.get("initial_step", 0)
            self.steps = epoch * (self.params["steps"] or 0) + self._done_before
            # A model between two epochs has no place on an axis of epochs.
            self._look(is_written=self.every_steps is not None or self._done_before == 0)
        self._start, self._looking = time.perf_counter(), 0.0
        self._first_step = self.steps - self._done_before

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the step, and looks if looks are counted in steps."""
        done = batch + 1
        if self.params["steps"]:  # With `steps_per_execution`, Keras counts on beyond the end.
            done = min(done, self.params["steps"])
        before, self.steps = self.steps, self._first_step + done
        self._seconds = time.perf_counter() - self._start - self._looking
        if not self._has_options:
            self._has_options = True
            self._write("hparams", self._hparams_summary)
            self._draw_if_due()
        # One call may end several steps (`steps_per_execution`).
        if self.every_steps and self.steps // self.every_steps > before // self.every_steps:
            self._look()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the logs of the epoch, and looks if looks are counted in epochs."""
        self._epoch = epoch + 1
        self._write_each(self._log_contents(logs or {}))
        if self.every_steps is None and self._epoch % self.every == 0:
            self._look()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Looks once more, writes the Embedding Projector's files and closes the log."""
        if self._has_begun:
            self._draw_if_due()
            latest = self._look(is_last=True)
            if self.log is not None and latest.is_finite:
                write = functools.partial(self._write_projector, self.log.path, latest)
                self.log.write_files(write, "projector")
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

    def _look(self, is_last: bool = False, is_written: bool = True) -> Inspection:
        start = time.perf_counter()
        inspection = self.latest
        is_new = inspection is None or self.steps != self._step_of_look
        if inspection is None or is_new:
            inspection = self.latest = self.sample.inspect(self.model)
            self._step_of_look = self.steps
            if inspection.is_finite and is_written:
                self._write_each(_scalars(inspection.figures))
        is_due = is_written and is_new and self._looks % self.pictures_every == 0
        with_pictures = (is_last or is_due) and inspection.is_finite
        if with_pictures and self._step_of_pictures != self.steps:
            self._step_of_pictures = self.steps
            draw = functools.partial(self._draw, self.now, inspection)
            if self._looks:
                draw()
            else:  # The first step does not wait for pictures.
                self._draw_first_pictures = draw
        if self._looks == 0 and self.write_graph and self.sample.embed_graph is not None:
            self._write("graph", lambda: summaries.graph(self.sample.embed_graph))
        if is_new:
            self._looks += 1
        self._looking += time.perf_counter() - start
        return inspection

    def _draw(self, now: int, inspection: Inspection) -> None:
        if self.log is not None:
            self.log.write_each(now, self._picture_contents(inspection))

    def _draw_if_due(self) -> None:
        """Draws the pictures of the first look, if they are not drawn yet."""
        draw, self._draw_first_pictures = self._draw_first_pictures, None
        if draw is not None:
            start = time.perf_counter()
            draw()
            self._looking += time.perf_counter() - start

    def _picture_contents(self, inspection: Inspection) -> dict[str, Callable[[], Any]]:
        """Returns functions that make the summary of each histogram and each picture, by name."""

        def image(name: str, draw: Callable[[], np.ndarray]) -> Any:
            return summaries.image(name, draw())

        from keras_ssl.inspection import pictures  # matplotlib takes a second to import

        histograms = {
            name: functools.partial(summaries.histogram, name, values)
            for name, values in inspection.distributions.items()
        }
        images = {
            name: functools.partial(image, name, draw)
            for name, draw in pictures.all_pictures(self.sample, inspection).items()
        }
        return {**histograms, **images}

    def _log_contents(self, logs: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
        """Returns functions that make summaries of `fit`'s logs and of the epoch, by name."""
        figures = {_section(name): value for name, value in logs.items()}
        rate = learning_rate(self.model.optimizer)
        if rate is not None:
            figures["training/learning_rate"] = rate
        images = getattr(self.model, "images_per_step", None)
        steps = self.steps - self._first_step - self._done_before
        if images and steps:
            figures["training/images_per_second"] = images * steps / self._seconds
        return _scalars(figures)

    # --- Once per run --------------------------------------------------------------------------

    def _hparams_summary(self) -> Any:
        """Returns the summary of the HParams tab: its columns, and the row of this run."""
        from tensorboard.plugins.hparams import summary_v2 as hparams_api

        values = {**self._options(), **self.hparams}
        values = {
            plain(name): value if isinstance(value, (bool, int, float)) else plain(value)
            for name, value in values.items()
            if value is not None
        }
        summary = hparams_api.hparams_config_pb(
            hparams=[hparams_api.HParam(name) for name in values],
            metrics=[
                hparams_api.Metric(tag(figure), display_name=name)
                for figure, name in _CHOSEN.items()
            ],
        )
        # The name of the row in the tab, which has little room.
        folder = pathlib.Path(self.log.path if self.log else "").resolve()
        name = plain("/".join(folder.parts[-3:]).removesuffix(f"/{RUN}"))
        summary.MergeFrom(hparams_api.hparams_pb(values, trial_id=name))
        return summary

    def _options(self) -> dict[str, Any]:
        """Returns the options of the run that the model and `fit` know."""
        model = self.model
        optimizer = unscaled(model.optimizer)
        schedule = schedule_of(optimizer)
        widths = getattr(model.projector, "widths", None)
        embeddings = self.latest.embeddings[0].shape[1] if self.latest else None
        return {
            "method": type(model).__name__,
            "encoder": model.encoder.name,
            "projector": "-".join(map(str, widths)) if widths else model.projector.name,
            "embedding dimension": embeddings,
            "optimizer": type(optimizer).__name__,
            "learning rate": type(schedule).__name__ if schedule else learning_rate(optimizer),
            # LARS adds it to the gradient, and tells Keras of none.
            "weight decay": getattr(optimizer, "coupled_weight_decay", optimizer.weight_decay),
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
        """Writes the embeddings for the Embedding Projector, with the images as sprites."""
        from tensorboard.plugins import projector

        np.savetxt(folder / "embeddings.tsv", inspection.embeddings[0], "%.5g", delimiter="\t")
        config = projector.ProjectorConfig()
        embedding = config.embeddings.add()
        embedding.tensor_name = "embeddings of the sample"
        embedding.tensor_path = "embeddings.tsv"
        if self.sample.images is not None:
            embedding.sprite.image_path = "sprites.png"
            sprite = _write_sprites(folder / "sprites.png", self.sample.images)
            embedding.sprite.single_image_dim.extend(sprite)
        if self.sample.labels is not None:
            names = [plain(name) for name in self.sample.class_names or ()]
            lines = [f"{names[i] if names else i}\n" for i in self.sample.labels]
            (folder / "labels.tsv").write_text("".join(lines), encoding="utf-8")
            embedding.metadata_path = "labels.tsv"
        projector.visualize_embeddings(str(folder), config)


def _write_sprites(path: pathlib.Path, images: np.ndarray) -> list[int]:
    """Writes all images into one picture, and returns the (width, height) of each in pixels."""
    from PIL import Image

    side = math.ceil(len(images) ** 0.5)
    blank = np.ones((side * side - len(images), *images.shape[1:]), images.dtype)
    tiles = np.concatenate([images, blank]).reshape(side, side, *images.shape[1:])
    sprites = mosaic(list(tiles.swapaxes(0, 1)))
    # The size of one sprite, including its border, in pixels of the picture. TensorBoard does not
    # accept pictures of more than 8192 pixels on a side.
    sprite = [size // side for size in sprites.shape[1::-1]]
    picture = Image.fromarray(sprites)
    if max(picture.size) > 8192:
        sprite = [max(1, size * 8192 // max(picture.size)) for size in sprite]
        picture = picture.resize([size * side for size in sprite])
    picture.save(path)
    return sprite


def _scalars(figures: Mapping[str, Any]) -> dict[str, Callable[[], Any]]:
    """Returns functions that make the summary of each figure, by name."""
    return {
        name: functools.partial(summaries.scalar, tag(name), value)
        for name, value in figures.items()
    }


def _section(name: str) -> str:
    """Returns section and name of a figure that `fit` logs."""
    if name.startswith("val_"):
        return f"evaluation/{name.removeprefix('val_')}"
    is_training = name in ("loss", "learning_rate") or name.startswith("probe_")
    return f"training/{name}" if is_training else f"criterion/{name}"
