"""Compares fine-tuning with training from scratch and with a frozen probe, at few labels and many.

Every training is a row of a JSON file, which is written when the training is over. A comparison
that is stopped goes on with the first row that is not there.
"""

import dataclasses
import json
import os
import pathlib
import time
import zlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl._config import without_names
from keras_ssl._files import FolderLock, read_json, whole, write_json, write_whole
from keras_ssl._log import say
from keras_ssl._validation import check_count, check_optional_count, check_positive
from keras_ssl.callbacks import NonFiniteLossError
from keras_ssl.data import Augmentation, ImageSet, Stream, fingerprint
from keras_ssl.data.augmentation.base import check_augmentation
from keras_ssl.encoders import as_encoder, check_images, merged_encoder
from keras_ssl.encoders.computation import fingerprint_computation
from keras_ssl.evaluation import Features, extract, knn_accuracy, linear_accuracy, table, untrained
from keras_ssl.finetuning.subsets import check_label_fraction, label_subset
from keras_ssl.finetuning.training import (
    accuracy,
    build_classifier,
    check_labeled,
    check_last,
    check_part,
    default_augmentation,
    fit_classifier,
)
from keras_ssl.runs import duration

ROWS, TABLE = "few_labels.json", "few_labels.md"
CLASSIFIER, ABOUT = "classifier.keras", "classifier.json"


_REMEDY = "Remove it to begin again, or name another folder."
_TUNED, _SCRATCH, _FROZEN = "fine-tuned", "from scratch", "frozen"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What a comparison found.

    Attributes:
        rows: Figures of each row, by its name: "fraction", "images", "seed", "arm" and "accuracy",
            or "knn" and "linear" of a frozen encoder.
        classifier: The file of the classifier, from images in [0, 1] to class probabilities.

    Example:
        `compare` returns one. This one has two trainings on the same subset of the labels.

        >>> row = {"fraction": 0.1, "images": 50, "seed": 0}
        >>> tuned = {**row, "arm": "fine-tuned", "accuracy": 0.75}
        >>> scratch = {**row, "arm": "from scratch", "accuracy": 0.5}
        >>> comparison = Comparison({"1": tuned, "2": scratch}, pathlib.Path("classifier.keras"))
        >>> comparison.figures("fine-tuned", "accuracy", 0.1), comparison.differences(0.1)
        ({0: 0.75}, [0.25])
    """

    rows: dict[str, dict[str, Any]]
    classifier: pathlib.Path

    def figures(self, arm: str, figure: str, fraction: float) -> dict[int, float]:
        """Returns one figure of an arm at one fraction of the labels, by seed.

        Args:
            arm: "fine-tuned", "from scratch" or "frozen".
            figure: "accuracy", or of "frozen" "knn" or "linear".
            fraction: Fraction of the labels.
        """
        return {
            row["seed"]: row[figure]
            for row in self.rows.values()
            if row["arm"] == arm and row["fraction"] == fraction
        }

    def differences(self, fraction: float) -> list[float]:
        """Returns fine-tuned minus from scratch, for each subset of the labels that has both."""
        tuned = self.figures(_TUNED, "accuracy", fraction)
        scratch = self.figures(_SCRATCH, "accuracy", fraction)
        return [tuned[seed] - scratch[seed] for seed in sorted(tuned) if seed in scratch]

    @property
    def table(self) -> str:
        """The accuracies in percent as a Markdown table: means and their standard errors.

        The last column is the mean difference over the label subsets, paired: its standard error is
        that of the differences, so what all trainings on one subset have in common does not count.
        A dash stands for what was not run, and there is no error of a single seed, nor of a frozen
        encoder with all labels: they are one subset.
        """
        columns = {
            "frozen, kNN": (_FROZEN, "knn"),
            "frozen, linear": (_FROZEN, "linear"),
            "from scratch": (_SCRATCH, "accuracy"),
            "fine-tuned": (_TUNED, "accuracy"),
        }
        lines = {}
        for fraction in sorted({row["fraction"] for row in self.rows.values()}):
            some = [row for row in self.rows.values() if row["fraction"] == fraction]
            lines[f"{100 * fraction:g} % of labels"] = {
                "images": str(some[0]["images"]),
                "seeds": str(len({row["seed"] for row in some})),
                **{
                    column: mean_and_error([*self.figures(*which, fraction).values()])
                    for column, which in columns.items()
                },
                "fine-tuned - scratch": mean_and_error(self.differences(fraction), sign=True),
            }
        return table(lines)


def mean_and_error(values: Any, sign: bool = False) -> str:
    """Formats fractions in percent: their mean, and its standard error if there are several.

    Args:
        values: Numbers (N,).
        sign: Whether a plus is written.

    Returns:
        A text such as "61.2 ± 0.3", or "-" for no values.

    Example:
        >>> mean_and_error([0.50, 0.52])
        '51.0 ± 1.0'
    """
    percent = 100 * np.asarray(values, float)
    if not percent.size:
        return "-"
    mean = f"{percent.mean():{'+' if sign else ''}.1f}"
    if percent.size == 1:
        return mean
    return f"{mean} ± {percent.std(ddof=1) / np.sqrt(percent.size):.1f}"


def compare(
    encoder: keras.Model,
    train: ImageSet,
    test: ImageSet,
    folder: str | os.PathLike[str],
    labels: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: int = 5,
    part: str = "all",
    baselines: bool = True,
    steps: int | None = None,
    batch_size: int = 64,
    learning_rate: float = 3e-3,
    scratch_learning_rate: float = 1e-2,
    augmentation: Augmentation | None = None,
) -> Comparison:
    """Trains classifiers on parts of the labels, from an encoder and from new weights.

    Each seed chooses its own subset of the labels, see `label_subset`. Four learn from it: the
    fine-tuned encoder, the same architecture from new weights with as many steps, and kNN and
    logistic regression on the frozen features. All of them are judged on all test images, by which
    nothing is chosen.

    Args:
        encoder: See `keras_ssl.encoders.as_encoder`.
        train: Labeled images.
        test: Labeled images of the same classes, which nothing is trained on.
        folder: Folder for few_labels.json, which holds the rows, few_labels.md, classifier.keras
            and classifier.json. Rows that it holds are not computed again.
        labels: Fractions of the labels, each above 0 and at most 1.
        seeds: Number of subsets, and of trainings, of each fraction.
        part: The part of the encoder that is fine-tuned, see `fit_classifier`. Training from new
            weights always trains all.
        baselines: Whether there is something to compare with. `False`: only fine-tuning.
        steps: See `fit_classifier`.
        batch_size: See `fit_classifier`.
        learning_rate: Highest learning rate of fine-tuning, see `fit_classifier`.
        scratch_learning_rate: Highest learning rate of training from new weights. The default was
            better than 3e-3 in the same trial.
        augmentation: See `fit_classifier`.

    Returns:
        The `Comparison`. Its classifier is the one that was fine-tuned on the most labels with seed
        0.

    Raises:
        TypeError: for images of another type.
        ValueError: for images without labels or of other classes; for a value out of its range; if
            the folder holds rows of other settings, or another process writes to it.

    Example:
        It takes minutes. All of its images must have labels.

        >>> from keras_ssl import data
        >>> train, test = data.load("digits")
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> print(compare(encoder, train, test, "digits", seeds=2).table)  # doctest: +SKIP
        >>> compare(encoder, train, data.from_arrays(np.zeros((9, 8, 8, 1), "uint8")), "digits")
        Traceback (most recent call last):
            ...
        ValueError: `test` must have labels. Received: images without labels
    """
    check_labeled("train", train)
    if check_labeled("test", test).class_names != train.class_names:
        raise ValueError(
            "`test` must have the classes of `train`. Received: "
            f"{test.class_names} and {train.class_names}"
        )
    if isinstance(labels, (str, bytes)) or not isinstance(labels, Sequence) or not labels:
        raise ValueError(f"`labels` must be fractions, at least one. Received: labels={labels!r}")
    fractions = sorted({check_label_fraction("labels", fraction) for fraction in labels})
    seeds, batch_size = check_count("seeds", seeds), check_count("batch_size", batch_size)
    steps = check_optional_count("steps", steps)
    rate = check_positive("learning_rate", learning_rate)
    scratch_rate = check_positive("scratch_learning_rate", scratch_learning_rate)
    if augmentation is None:
        augmentation = default_augmentation()
    check_augmentation("augmentation", augmentation)
    encoder = merged_encoder(as_encoder(encoder, image_shape=train.image_shape))
    check_images(encoder, (None, *train.image_shape))
    check_images(encoder, (None, *test.image_shape))
    check_last(encoder, check_part("part", part))
    settings = {
        "encoder": _checksum(encoder),
        "computation": fingerprint_computation(encoder),
        "train": fingerprint(train),
        "test": fingerprint(test),
        "classes": _classes(train, test),
        "part": part,
        "steps": steps,
        "batch_size": batch_size,
        "augmentation": _plain(augmentation),
        "learning_rate": rate,
        "scratch_learning_rate": scratch_rate,
    }
    return _Run(pathlib.Path(folder), settings, encoder, train, test, augmentation).go(
        fractions, seeds, baselines
    )


# Settings of a comparison in words.
_SETTINGS = {
    "encoder": "checksum of the encoder",
    "train": "checksum of the images to train on",
    "test": "checksum of the images to test on",
    "classes": "checksum of all labels and of the names of the classes",
    "computation": "checksum of the encoder's layers, such as its range, pooling and precision",
    "part": "part of the encoder that is trained",
    "steps": "number of steps",
    "batch_size": "batch size",
    "learning_rate": "learning rate",
    "scratch_learning_rate": "learning rate from new weights",
}

# Earlier versions did not write these.
_NEW_SETTINGS = ("classes", "computation")


def _classes(train: ImageSet, test: ImageSet) -> int:
    """A checksum of all labels, of which `fingerprint` sees 64, and of the names of the classes."""
    checksum = zlib.crc32(os.fsencode("\0".join(train.class_names or ())))
    for images in (train, test):
        checksum = zlib.crc32(np.asarray(images.labels(), "int64").tobytes(), checksum)
    return checksum


class _Run:
    """A comparison that is going on in its folder."""

    def __init__(
        self,
        folder: pathlib.Path,
        settings: dict[str, Any],
        encoder: keras.Model,
        train: ImageSet,
        test: ImageSet,
        augmentation: Augmentation,
    ) -> None:
        self.folder, self.settings, self.encoder = folder, settings, encoder
        self.train, self.test, self.augmentation = train, test, augmentation
        self.features: tuple[Features, Features] | None = None
        self.rows: dict[str, dict[str, Any]] = {}

    def go(self, fractions: list[float], seeds: int, baselines: bool) -> Comparison:
        """Computes the rows that are missing, and writes each."""
        if self.folder.exists() and not self.folder.is_dir():
            raise ValueError(f"`folder` must be a folder. Received: {self.folder}, a file")
        self._read()
        try:
            lock = FolderLock(self.folder)
        except BlockingIOError:
            raise ValueError(
                f"`folder` must not be in use: another process writes to {self.folder}."
            ) from None
        try:
            self._read()
            self.train, self.test = self.train.in_memory(), self.test.in_memory()
            if isinstance(self.train, Stream):
                raise ValueError(
                    "`train` must be images that can be chosen from: of shards, at most 2 GiB of "
                    "images, decoded; take some of them, train.spread(10000), or name fewer "
                    f"shards. Received: {len(self.train)} images of {self.train.image_shape}"
                )
            arms = [_FROZEN, _SCRATCH, _TUNED] if baselines else [_TUNED]
            plan = [
                (fraction, seed, arm)
                for fraction in fractions
                for seed in range(seeds)
                for arm in arms
                # All labels are one subset, and what is frozen draws nothing else.
                if not (arm == _FROZEN and seed and self._is_all(fraction))
            ]
            for number, (fraction, seed, arm) in enumerate(plan, start=1):
                is_first = arm == _TUNED and fraction == fractions[-1] and seed == 0
                is_kept = is_first and self._kept_fraction() < fraction
                name = f"{100 * fraction:g} %, seed {seed}, {arm}"
                if name not in self.rows or is_kept:
                    start = time.monotonic()
                    try:
                        row = self._row(fraction, seed, arm, name if is_kept else None)
                    except NonFiniteLossError as error:
                        raise NonFiniteLossError(f"In {name}: {error}") from error
                    self.rows[name] = row
                    self._write()
                    took = duration(time.monotonic() - start)
                    say(f"{number} of {len(plan)}: {name}: {_figures(self.rows[name])} ({took})")
            comparison = Comparison(dict(self.rows), self.folder / CLASSIFIER)
            write_whole(self.folder / TABLE, comparison.table + "\n")
            return comparison
        finally:
            lock.release()

    def _row(self, fraction: float, seed: int, arm: str, kept_as: str | None) -> dict[str, Any]:
        chosen = label_subset(self.train.labels(), fraction, seed)
        row = {"arm": arm, "fraction": fraction, "images": len(chosen), "seed": seed}
        if arm == _FROZEN:
            train, test = self._features()
            few = Features(train.values[chosen], train.labels[chosen])
            return {**row, "knn": knn_accuracy(few, test), "linear": linear_accuracy(few, test)}
        some = self.train.subset(chosen)
        # A row depends on its own seed, not on the rows before it.
        keras.utils.set_random_seed(seed)
        is_new = arm == _SCRATCH
        start = untrained(self.encoder) if is_new else self.encoder
        classifier = build_classifier(start, self.train.class_names)
        fit_classifier(
            classifier,
            some,
            train="all" if is_new else self.settings["part"],
            learning_rate=self.settings["scratch_learning_rate" if is_new else "learning_rate"],
            batch_size=self.settings["batch_size"],
            steps=self.settings["steps"],
            augmentation=self.augmentation,
            probe_first=not is_new,
            seed=seed,
        )
        row["accuracy"] = accuracy(classifier, self.test)
        # It tells whether the training was long enough: not far below 1, unless labels are many.
        row["train_accuracy"] = accuracy(classifier, some.spread(1000))
        if kept_as is not None:
            self._save(classifier, row, kept_as)
        return row

    def _features(self) -> tuple[Features, Features]:
        if self.features is None:
            self.features = extract(self.encoder, self.train), extract(self.encoder, self.test)
        return self.features

    def _save(self, classifier: keras.Model, row: dict[str, Any], name: str) -> None:
        about = {
            "row": name,
            "class_names": self.train.class_names,
            "image_shape": self.train.image_shape,
            "images": "float32 in [0, 1], (N, height, width, channels)",
            "scaling": self.train.scaling,
            "trained_on": row["images"],
            "test_accuracy": row["accuracy"],
        }
        (self.folder / ABOUT).unlink(missing_ok=True)  # It never describes another classifier.
        with whole(self.folder / CLASSIFIER) as partial:
            classifier.save(partial)
        write_json(self.folder / ABOUT, about)

    def _is_all(self, fraction: float) -> bool:
        """Whether a fraction of the labels is all of them: of each class, it is rounded up."""
        labels = self.train.labels()
        return len(label_subset(labels, fraction)) == len(labels)

    def _kept_fraction(self) -> float:
        """The fraction of the labels that the classifier in the folder was fine-tuned on, or 0."""
        about = self.folder / ABOUT
        if not about.is_file() or not (self.folder / CLASSIFIER).is_file():
            return 0.0
        row = self.rows.get(str(read_json(about, _REMEDY).get("row")), {})
        return float(row.get("fraction", 0.0))

    def _read(self) -> None:
        path = self.folder / ROWS
        if not path.is_file():
            return
        content = read_json(path, _REMEDY)
        before = content.get("settings", {})
        for name, value in self.settings.items():
            if name in _NEW_SETTINGS and name not in before:  # A file of an earlier version.
                continue
            found = before.get(name)
            if name == "augmentation":
                found = without_names(found)
            if found != value:
                raise ValueError(
                    f"`folder` must hold rows of the same settings, or none: name another folder. "
                    f"Received: {path}, where the {_SETTINGS.get(name, name)} was {found!r} and "
                    f"now is {value!r}"
                )
        self.rows = dict(content["rows"])

    def _write(self) -> None:
        write_json(self.folder / ROWS, {"settings": self.settings, "rows": self.rows})


def _figures(row: dict[str, Any]) -> str:
    names = ("knn", "linear", "accuracy")
    return ", ".join(f"{name} {100 * row[name]:.1f} %" for name in names if name in row)


def _checksum(encoder: keras.Model) -> str:
    checksum = 0
    for weight in encoder.get_weights():
        checksum = zlib.crc32(np.ascontiguousarray(weight).tobytes(), checksum)
    return f"{encoder.count_params()} weights, {checksum:08x}"


def _plain(augmentation: Augmentation) -> Any:
    """Returns what describes an augmentation, as JSON gives it back."""
    serialized = without_names(keras.saving.serialize_keras_object(augmentation))
    return json.loads(json.dumps(serialized, default=str))
