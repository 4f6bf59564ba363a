"""A folder of photos."""

import concurrent.futures
import contextlib
import dataclasses
import logging
import os
import pathlib
import threading
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_ssl.data.image_set import TEST_NAMES, ImageSet, Splits
from keras_ssl.data.sources import files
from keras_ssl.data.sources.arrays import from_arrays
from keras_ssl.data.sources.resizing import check_image_size

_logger = logging.getLogger("keras_ssl")

# Decoded folders up to this size are kept in memory; larger ones are decoded again every epoch.
_MEMORY_LIMIT = 4 * 2**30
# Files that are tried in the place of one that cannot be read any more.
_MOST_REPLACEMENTS = 100


def from_folder(
    path: str | os.PathLike[str],
    image_size: int = 128,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    labels: bool = True,
) -> ImageSet:
    """A folder of image files, of any sizes and of every format that Pillow reads.

    With two sub-folders or more, each is a class and its name the class's; files anywhere below it
    belong to it. Without, there are no labels. Of a file with several pictures, an animation, say,
    the first is taken. Files that cannot be read, HEIC without its plugin included, are named in a
    warning, skipped, and listed in `skipped`.

    Up to 4 GiB of pixels are decoded once and kept in memory. More are decoded again in every
    epoch; then only the beginnings of the files are looked at here, and a file that fails later is
    replaced by another of the folder, which follows from its path: batches do not shift, and a run
    that goes on is still the same run. `ImageSet.replaced` lists such files, and the log names
    each.

    Args:
        path: The folder.
        image_size: Height and width the images are brought to, in pixels, at most 8192: the shorter
            side is resized (bicubic, antialiased), the middle is cut out.
        channels: 1 (gray), 3 (RGB) or 4 (RGBA). Default: 1 if all of a hundred files are gray, else
            3.
        class_names: Names of the sub-folders in the order of their labels. Default: sorted.
        labels: `False`: sub-folders are no classes.

    Raises:
        ValueError: if the folder is not there, holds no images, or none that can be read.
    """
    root = pathlib.Path(path)
    if not root.is_dir():
        raise ValueError(f"`path` must be a folder. Received: path={str(path)!r}")
    size = check_image_size(image_size)
    if channels not in (None, 1, 3, 4) or isinstance(channels, (bool, float)):
        raise ValueError(f"`channels` must be 1, 3, 4 or None. Received: channels={channels!r}")
    found, skipped = files.find(str(root))
    if not found and not skipped:
        raise ValueError(
            "`path` must hold images, in a format that Pillow reads. "
            f"Received: {root}, with no such file"
        )
    if channels is None:
        some = found[:: len(found) // 100 + 1]
        channels = 1 if all(files.is_gray(str(root / file)) for file in some) else 3

    in_memory = len(found) * size * size * channels <= _MEMORY_LIMIT
    pixels = np.empty((len(found) if in_memory else 0, size, size, channels), np.uint8)

    def is_readable(i: int) -> bool:
        if not in_memory:
            return files.looks_readable(str(root / found[i]))
        try:
            pixels[i] = files.read(str(root / found[i]), size, channels)
        except files.UNREADABLE:
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor() as pool:
        is_good = np.array(list(pool.map(is_readable, range(len(found)))), bool)
    skipped = sorted([*skipped, *(found[i] for i in np.flatnonzero(~is_good))])
    good = [found[i] for i in np.flatnonzero(is_good)]
    named = f"{', '.join(skipped[:10])}{', ...' if len(skipped) > 10 else ''}"
    if not good:
        raise ValueError(
            f"`path` must hold images that can be read. Received: {root}, where none of "
            f"{len(skipped)} can: {named}{files.hints(skipped)}"
        )
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {len(skipped) + len(good)} images in {root} cannot be read and "
            f"are skipped: {named}{files.hints(skipped)}",
            stacklevel=2,
        )
    numbers, class_names = _classes(root, good, class_names) if labels else (None, None)
    names = tuple(str(root / file) for file in good)
    lost = tuple(str(root / file) for file in skipped)
    if in_memory:
        images = from_arrays(pixels[is_good] if skipped else pixels, numbers, class_names, lost)
        return dataclasses.replace(images, names=names)

    of_each = np.full(len(good), -1) if numbers is None else numbers
    replaced: list[str] = []
    reader = _Reader(names, of_each, size, channels, replaced)
    return ImageSet(
        keys=tf.data.Dataset.from_tensor_slices((np.arange(len(good)), of_each)),
        fetch=reader.fetch,
        reader=reader,
        size=len(good),
        image_shape=(size, size, channels),
        class_names=None if class_names is None else tuple(class_names),
        skipped=lost,
        names=names,
        replaced=replaced,
    )


def _classes(
    root: pathlib.Path, found: Sequence[str], class_names: Sequence[str] | None
) -> tuple[np.ndarray | None, Sequence[str] | None]:
    """The label of each file by its sub-folder, and their names; `None` where there are none."""
    folders = [pathlib.Path(file).parts[0] for file in found]
    loose = sum(len(pathlib.Path(file).parts) == 1 for file in found)
    if 0 < loose < len(found):
        warnings.warn(
            f"{loose} of {len(found)} images in {root} lie outside of its sub-folders, so that "
            "there are no labels; move them if the sub-folders are classes.",
            stacklevel=3,
        )
    if loose or (class_names is None and len(set(folders)) < 2):
        return None, None
    if class_names is None:
        class_names = sorted(set(folders))
    index = {name: i for i, name in enumerate(class_names)}
    if unknown := sorted(set(folders) - set(index)):
        raise ValueError(f"`path` must hold the classes {list(index)}. Received: {unknown}")
    return np.array([index[folder] for folder in folders]), class_names


class _Reader:
    """Reads files that could be read before; where one no longer can, another of its class."""

    def __init__(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        size: int,
        channels: int,
        replaced: list[str],
        members: np.ndarray | None = None,
    ) -> None:
        self.names, self.labels, self.size, self.channels = names, labels, size, channels
        self.replaced = replaced
        self.members = np.arange(len(names)) if members is None else members
        self._lock = threading.Lock()

    def narrowed(self, places: np.ndarray) -> "_Reader":
        """A reader of some of the members, by their places among these."""
        members = self.members[places]
        return _Reader(self.names, self.labels, self.size, self.channels, self.replaced, members)

    def fetch(self, index: Any) -> Any:
        """The image of a file, in a graph."""
        image = tf.numpy_function(self.read, [index], tf.uint8)
        return tf.ensure_shape(image, (self.size, self.size, self.channels))

    def read(self, index: Any) -> np.ndarray:
        """The image of a file, or of the one that stands in for it."""
        name = self.names[index]
        try:
            return files.read(name, self.size, self.channels)
        except files.UNREADABLE as error:
            self._note(name, error)
        # From the file's place: whenever the run goes on, the same file stands in.
        alike = self.members[self.labels[self.members] == self.labels[index]]
        for other in np.random.default_rng(int(index)).permutation(alike)[:_MOST_REPLACEMENTS]:
            with contextlib.suppress(files.UNREADABLE):
                return files.read(self.names[other], self.size, self.channels)
        raise ValueError(f"{name} cannot be read any more, nor can others of its class")

    def _note(self, name: str, error: Exception) -> None:
        with self._lock:
            if name in self.replaced:
                return
            self.replaced.append(name)
        _logger.warning(
            "%s cannot be read any more, and another image stands in for it: %s: %s",
            name,
            type(error).__name__,
            error,
        )


def read_folder(path: pathlib.Path, image_size: int, channels: int | None, labels: bool) -> Splits:
    """The images of a folder, in splits if it has them: see `keras_ssl.data.load`."""
    folders = {folder.name for folder in path.iterdir() if folder.is_dir()}
    # A class may be called "train" too; splits are alone among themselves.
    if "train" not in folders or not folders <= {"train", *TEST_NAMES}:
        return Splits(from_folder(path, image_size, channels, labels=labels), None)
    train = from_folder(path / "train", image_size, channels, labels=labels)
    for name in TEST_NAMES:
        if (path / name).is_dir() and train.has_labels:
            channels = train.image_shape[2]
            test = from_folder(path / name, image_size, channels, train.class_names)
            return Splits(train, test if test.has_labels else None)
    return Splits(train, None)
