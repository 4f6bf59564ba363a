"""A folder of image files, decoded once into memory or again in every epoch."""

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

from keras_ssl._tensors import Tensor
from keras_ssl.data.image_set import TEST_NAMES, ImageSet, Splits
from keras_ssl.data.sources import files
from keras_ssl.data.sources.arrays import from_arrays
from keras_ssl.data.sources.resizing import check_image_size

_logger = logging.getLogger("keras_ssl")

# Decoded folders up to this size are kept in memory; larger ones are decoded again every epoch.
_MEMORY_LIMIT = 4 * 2**30
# Files that are tried in place of one that cannot be read any more.
_MOST_REPLACEMENTS = 100


def from_folder(
    path: str | os.PathLike[str],
    image_size: int = 128,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    labels: bool = True,
    in_memory: bool | None = None,
) -> ImageSet:
    """Makes an image set of a folder of image files, of any sizes and every format of Pillow's.

    If the folder has two sub-folders or more, each is a class named after it, and all files below
    it belong to the class. Otherwise there are no labels. Links to files and to folders are
    followed; hidden files and folders are left out. A file with several pictures, such as an
    animation, counts as its first one.

    Nothing is left out silently. A warning names the files that cannot be read, HEIC files without
    the plugin among them; they are skipped, and listed in `skipped`. Another warning names the
    folders that cannot be listed: those without permission, links to folders that are not there,
    and links back to a folder that they lie in.

    Up to 4 GiB of pixels are decoded once and kept in memory. Larger folders are decoded again in
    every epoch, and only the beginning of each file is checked here. If a file then cannot be read,
    another file of its class takes its place. Which one follows from the file's place in the
    folder, so that batches stay the same and a resumed run is still the same run.
    `ImageSet.replaced` lists such files, and the log names each of them.

    Args:
        path: The folder.
        image_size: Height and width of the images, in pixels, at most 8192: the shorter side is
            resized to it (bicubic, antialiased), and the longer one is cropped to the center.
        channels: 1 (gray), 3 (RGB) or 4 (RGBA). Default: 1 if all of a hundred files are gray, else
            3.
        class_names: Names of the sub-folders in the order of their labels. Default: sorted.
        labels: Whether sub-folders are classes.
        in_memory: Whether the images are decoded at once and kept in memory. Default: if they take
            at most 4 GiB. What goes over the images once needs `False`.

    Returns:
        `ImageSet` of uint8 images (image_size, image_size, channels).

    Raises:
        ValueError: if the folder does not exist, holds no images, or none that can be read; if
            `class_names` lacks a sub-folder.
    """
    root = pathlib.Path(path)
    if not root.is_dir():
        raise ValueError(f"`path` must be a folder. Received: path={str(path)!r}")
    size = check_image_size(image_size)
    if channels not in (None, 1, 3, 4) or isinstance(channels, (bool, float)):
        raise ValueError(f"`channels` must be 1, 3, 4 or None. Received: channels={channels!r}")
    found, skipped, unlisted = files.find(str(root))
    left_out = (
        f"{len(unlisted)} folders in {root} cannot be listed, and what they hold is left out: "
        f"{_first(unlisted)}"
    )
    if not found and not skipped:
        raise ValueError(
            "`path` must hold images, in a format that Pillow reads. "
            f"Received: {root}, with no such file{f'; {left_out}' if unlisted else ''}"
        )
    if unlisted:
        warnings.warn(left_out, stacklevel=2)
    if channels is None:
        some = found[:: len(found) // 100 + 1]
        channels = 1 if all(files.is_gray(str(root / file)) for file in some) else 3

    if in_memory is None:
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
    named = _first(skipped)
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


def _first(paths: Sequence[str]) -> str:
    """At most ten paths as text."""
    return f"{', '.join(paths[:10])}{', ...' if len(paths) > 10 else ''}"


def _classes(
    root: pathlib.Path, found: Sequence[str], class_names: Sequence[str] | None
) -> tuple[np.ndarray | None, Sequence[str] | None]:
    """The label of each file by its sub-folder, and the names; `None` if there are no classes."""
    folders = [pathlib.Path(file).parts[0] for file in found]
    loose = sum(len(pathlib.Path(file).parts) == 1 for file in found)
    if 0 < loose < len(found):
        warnings.warn(
            f"{loose} of {len(found)} images in {root} lie outside its sub-folders, so there are "
            "no labels. Move these images if the sub-folders are classes.",
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
    """Reads the files of a folder, and another of the class where one can no longer be read.

    Args:
        names: Paths of all files.
        labels: Label of each file.
        size: Height and width of the images, in pixels.
        channels: 1, 3 or 4.
        replaced: Gets the path of each file that another takes the place of.
        members: Places of the files that may take another's place. Default: all.
    """

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
        """A reader of some of the members, given by their places among them."""
        members = self.members[places]
        return _Reader(self.names, self.labels, self.size, self.channels, self.replaced, members)

    def fetch(self, index: Any) -> Tensor:
        """The image of the file at a place, uint8 (size, size, channels), in a graph."""
        image = tf.numpy_function(self.read, [index], tf.uint8)
        return tf.ensure_shape(image, (self.size, self.size, self.channels))

    def read(self, index: Any) -> np.ndarray:
        """The image of the file at a place, or of the file that takes its place."""
        name = self.names[index]
        try:
            return files.read(name, self.size, self.channels)
        except files.UNREADABLE as error:
            self._note(name, error)
        # The choice follows from the file's place, so that a resumed run makes the same one.
        alike = self.members[self.labels[self.members] == self.labels[index]]
        for other in np.random.default_rng(int(index)).permutation(alike)[:_MOST_REPLACEMENTS]:
            with contextlib.suppress(files.UNREADABLE):
                return files.read(self.names[other], self.size, self.channels)
        raise ValueError(f"{name} cannot be read any more, and no other file of its class can")

    def _note(self, name: str, error: Exception) -> None:
        with self._lock:
            if name in self.replaced:
                return
            self.replaced.append(name)
        _logger.warning(
            "%s cannot be read any more, and another image takes its place: %s: %s",
            name,
            type(error).__name__,
            error,
        )


def read_folder(path: pathlib.Path, image_size: int, channels: int | None, labels: bool) -> Splits:
    """The images of a folder, in splits if it has them: see `keras_ssl.data.load`."""
    folders = {folder.name for folder in path.iterdir() if folder.is_dir()}
    # A class may be called "train" too: splits are the only sub-folders.
    if "train" not in folders or not folders <= {"train", *TEST_NAMES}:
        return Splits(from_folder(path, image_size, channels, labels=labels), None)
    train = from_folder(path / "train", image_size, channels, labels=labels)
    for name in TEST_NAMES:
        if (path / name).is_dir() and train.has_labels:
            channels = train.image_shape[2]
            test = from_folder(path / name, image_size, channels, train.class_names)
            return Splits(train, test if test.has_labels else None)
    return Splits(train, None)
