"""A manifest: a CSV file with the paths of images, and what is known of them."""

import csv
import dataclasses
import io
import os
import pathlib
from collections.abc import Callable, Sequence

import numpy as np

from keras_ssl import _log
from keras_ssl.data.image_set import TEST_NAMES, ImageSet, Splits
from keras_ssl.data.sources import files, raw, reading
from keras_ssl.data.sources.resizing import check_image_size


def from_manifest(
    path: str | os.PathLike[str],
    image_size: int = 128,
    channels: int | None = None,
    scaling: Sequence[Sequence[float]] | None = None,
    path_column: str = "path",
    label_column: str | None = None,
    split_column: str | None = None,
    group_column: str | None = None,
    labels: bool = True,
) -> Splits:
    """Loads the images that a CSV file names, one in each row below the names of its columns.

        path,label,split,group
        day/001.tif,field,train,001
        night/001.tif,field,train,001

    Files are read as those of a folder are, see `from_folder`.

    Args:
        path: The file, in UTF-8, with commas, or tabs if it ends in ".tsv". It may have a scheme,
            such as "gs://".
        image_size: See `from_folder`.
        channels: See `from_folder`.
        scaling: See `from_folder`; it is measured on images to train on.
        path_column: Name of the column of paths, relative to the manifest's folder.
        label_column: Name of the column of classes, numbers or names. Default: "label", if there is
            one.
        split_column: Name of the column that says "train", or "test" ("validation", "val"). The
            first of these that is there is the test split; others are left out. Default: "split",
            if there is one; else all images are for training.
        group_column: Name of the column of groups: images of one thing, such as two moments or two
            stains, have the same text there, and two of them become the two views, see
            `make_views`. An image without text is a group by itself. Default: "group", if there is
            one.
        labels: Whether labels are used. If not, there is no test split.

    Returns:
        `Splits(train, test)`, test `None` if the file says nothing of splits or has no labels.

    Raises:
        ValueError: if the file cannot be read or has no rows; if it lacks a column that is asked
            for; if files are missing, a path stands in two splits, or a group has images of two
            splits or classes; if only some rows have a label.

    Example:
        Two of three images are one group, so that there are two examples.

        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with open(f"{folder}/photos.csv", "w", encoding="utf-8") as file:
        ...         print("path,group", file=file)
        ...         for name, group in {"day": 1, "night": 1, "other": 2}.items():
        ...             Image.new("L", (8, 8)).save(f"{folder}/{name}.png")
        ...             print(f"{name}.png,{group}", file=file)
        ...     train, test = from_manifest(f"{folder}/photos.csv", image_size=8)
        >>> len(train), train.example_count, test
        (3, 2, None)
    """
    name = os.fspath(path)
    size, ranges = check_image_size(image_size), raw.check_scaling(scaling)
    reading.check_channels(channels)
    rows = _rows(name)
    paths = _column(name, rows, path_column, "path_column") or []
    label = _column(name, rows, label_column or "label", "label_column", label_column is None)
    part = _column(name, rows, split_column or "split", "split_column", split_column is None)
    group = _column(name, rows, group_column or "group", "group_column", group_column is None)
    label = label if labels else None
    if label is not None and not any(label):
        label = None
    root = name.rpartition("/")[0] if files.has_scheme(name) else str(pathlib.Path(name).parent)

    def check(is_wrong: Callable[[int], bool], must: str) -> None:
        """Raises if any row is wrong, and names the first ones."""
        if wrong := [i for i in range(len(rows)) if is_wrong(i)]:
            texts = [f"line {rows[i][0]} ({paths[i]})" for i in wrong]
            raise ValueError(
                f"`path` must {must}. Received: {name}, where {len(wrong)} of {len(rows)} do not: "
                f"{reading.first(texts)}"
            )

    check(lambda i: not paths[i], f"have a path in each row of the column {path_column!r}")
    paths = [file if files.has_scheme(file) else str(pathlib.PurePath(file)) for file in paths]
    absolute = [files.join(root, file) for file in paths]
    if files.has_scheme(root):  # One by one, files of a bucket would take hours.
        looked_at = {*range(0, len(rows), len(rows) // 100 + 1)}
    else:
        looked_at = {*range(len(rows))}
    check(
        lambda i: i in looked_at and not files.is_file(absolute[i]),
        "name files that exist, relative to its own folder",
    )
    if label is not None:
        check(
            lambda i: not label[i],
            "have a label in each row or in none (or pass labels=False)",
        )
    test_name = None
    if part is not None:
        known = ("train", *TEST_NAMES)
        check(lambda i: part[i] not in known, f"say one of {', '.join(known)} of each split")
        test_name = next((s for s in TEST_NAMES if s in part), None)
        own = dict(zip(absolute, part, strict=True))
        check(lambda i: own[absolute[i]] != part[i], "have each path in one split")
    numbers = None
    if group is not None:
        texts = [text or f"\0{i}" for i, text in enumerate(group)]
        index = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        numbers = np.array([index[text] for text in texts])
        for column, what in ((part, "split"), (label, "class")):
            if column is not None:
                of_group = dict(zip(texts, column, strict=True))
                differs = [of_group[a] != b for a, b in zip(texts, column, strict=True)]
                check(differs.__getitem__, f"have all images of a group in one {what}")
    is_train = [part is None or part[i] == "train" for i in range(len(rows))]
    if not any(is_train):
        raise ValueError(f"`path` must have rows of the split 'train'. Received: {name}")
    to_measure = [file for file, is_one in zip(absolute, is_train, strict=True) if is_one]
    decoding = reading.choose_decoding(name, to_measure, size, channels, ranges)

    # A path may stand in several rows: rows are found again by their place.
    places: list[int] = []

    def classes(_: Sequence[str], good: Sequence[int]) -> tuple:
        places.extend(good)
        if label is None:
            return None, None
        names = sorted(set(label), key=_in_order)
        of = {text: i for i, text in enumerate(names)}
        return np.array([of[label[i]] for i in good]), names

    images = reading.read_files(name, root, paths, [], decoding, classes)
    return _splits(name, images, np.array(places), part, test_name, numbers)


def _splits(
    name: str,
    images: ImageSet,
    places: np.ndarray,
    part: list[str] | None,
    test_name: str | None,
    groups: np.ndarray | None,
) -> Splits:
    """The images whose rows are `places`, in their splits and groups."""
    if groups is not None:
        own = np.unique(groups[places], return_inverse=True)[1]
        images = dataclasses.replace(images, groups=own)
    if part is None:
        return Splits(images, None)
    split = np.array(part)[places]
    if others := sorted(set(split) - {"train", test_name}):
        _log.say(f"{name}: the split {' and '.join(others)} is left out.")
    train = images.subset(np.flatnonzero(split == "train"))
    if test_name is None or not images.has_labels:
        return Splits(train, None)
    return Splits(train, images.subset(np.flatnonzero(split == test_name)))


def _rows(name: str) -> list[tuple[int, dict[str, str | None]]]:
    """Line and content of each row that is not empty."""
    try:
        with files.open_bytes(name) as file:
            text = file.read().decode("utf-8-sig")
        delimiter = "\t" if name.endswith(".tsv") else ","
        lines = io.StringIO(text, newline="")
        table = csv.DictReader(lines, delimiter=delimiter, skipinitialspace=True)
        table.fieldnames = [column.strip() for column in table.fieldnames or ()]
        rows = [(table.line_num, row) for row in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"`path` must be a CSV file that can be read, in UTF-8. Received: {name}; {error}"
        ) from error
    if not rows:
        raise ValueError(
            f"`path` must have a line with the names of columns, and rows. Received: {name}"
        )
    return rows


def _column(
    name: str,
    rows: list[tuple[int, dict[str, str | None]]],
    column: str,
    argument: str,
    is_optional: bool = False,
) -> list[str] | None:
    """The texts of a column, or `None` if it is optional and not there."""
    names = [known for known in rows[0][1] if known is not None]
    if column not in names:
        if is_optional:
            return None
        raise ValueError(
            f"`{argument}` must be one of the columns of {name}: {', '.join(names)}. "
            f"Received: {argument}={column!r}"
        )
    return [(row[column] or "").strip() for _, row in rows]


def _in_order(text: str) -> tuple[int, int, str]:
    """Numbers by their value, before other texts."""
    return (0, int(text), text) if text.isdecimal() else (1, 0, text)
