"""A folder of image files."""

import os
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_ssl.data.image_set import TEST_NAMES, ImageSet, Splits
from keras_ssl.data.sources import files, raw, reading
from keras_ssl.data.sources.idx import is_idx
from keras_ssl.data.sources.resizing import check_image_size


def from_folder(
    path: str | os.PathLike[str],
    image_size: int = 128,
    channels: int | None = None,
    class_names: Sequence[str] | None = None,
    labels: bool = True,
    scaling: Sequence[Sequence[float]] | None = None,
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

    Photos, of 8 bits in 1, 3 or 4 channels, become bytes. If most files are measurements (16 bits,
    floats, another number of channels), all become floats: `scaling` says which number becomes 0
    and which 1, for each channel. It is measured on a hundred files, evenly spread over all: the
    1st and the 99.8th percentile of each channel, or, if the brighter of them lies in the upper
    half of what the type holds, the full range of the type. It is logged, and kept in
    `ImageSet.scaling`. Pass it on wherever the same encoder gets other images. TIFFs of several
    channels are read with the package tifffile.

    Up to 10,000 files and 4 GiB of pixels are decoded at once and kept in memory. Of larger
    folders, only the first bytes of each file are checked here (of a bucket's files, none), and
    files are decoded when they are needed: once, if the pixels take up to 4 GiB, else in every
    epoch. If a file then cannot be read, another file of its class takes its place. Which one
    follows from the file's place in the folder, so that batches stay the same and a resumed run is
    still the same run. `ImageSet.replaced` lists such files, and the log names each of them.

    Args:
        path: The folder. One with a scheme, such as "gs://bucket/photos", is read by `tf.io.gfile`.
        image_size: Height and width of the images, in pixels, at most 8192: the shorter side is
            resized to it (bicubic, antialiased), and the longer one is cropped to the center.
        channels: 1 (gray), 3 (RGB) or 4 (RGBA). Default: 1 if all of a hundred files are gray, else
            3. For measurements any number that the files have, by default that one.
        class_names: Names of the sub-folders in the order of their labels. Default: sorted.
        labels: Whether sub-folders are classes.
        scaling: Pairs of numbers (low, high) that become 0 and 1, one pair for each channel or one
            for all. Default: see above. An empty sequence makes bytes of every file, as versions
            before this argument did: of 16 bits the upper eight.
        in_memory: Whether images are kept in memory once they are decoded. Default: if they take at
            most 4 GiB. What goes over the images once needs `False`.

    Returns:
        `ImageSet` of images (image_size, image_size, channels), uint8 of photos, else float32.

    Raises:
        ValueError: if the folder does not exist, holds no images, or none that can be read; if
            `class_names` lacks a sub-folder; if files of measurements differ in their type or their
            number of channels.

    Example:
        >>> import os
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("cat", "dog"):
        ...         os.mkdir(f"{folder}/{name}")
        ...         Image.new("RGB", (40, 30)).save(f"{folder}/{name}/1.png")
        ...     images = from_folder(folder, image_size=32)
        >>> images.class_names, images.labels().tolist(), images.image_shape
        (('cat', 'dog'), [0, 1], (32, 32, 3))
    """
    root = str(path) if files.has_scheme(path) else str(pathlib.Path(path))
    if not files.is_folder(root):
        raise ValueError(f"`path` must be a folder. Received: path={str(path)!r}")
    size, ranges = check_image_size(image_size), raw.check_scaling(scaling)
    reading.check_channels(channels)
    found, unreadable, unlisted = files.find(root)
    left_out = (
        f"{len(unlisted)} folders in {root} cannot be listed, and what they hold is left out: "
        f"{reading.first(unlisted)}"
    )
    if not found and not unreadable:
        raise ValueError(
            "`path` must hold images, in a format that Pillow reads. "
            f"Received: {root}, with no such file{f'; {left_out}' if unlisted else ''}"
        )
    if unlisted:
        warnings.warn(left_out, stacklevel=2)
    paths = [files.join(root, file) for file in found]
    decoding = reading.choose_decoding(root, paths, size, channels, ranges)

    def classes(
        good: Sequence[str], _: Sequence[int]
    ) -> tuple[np.ndarray | None, Sequence[str] | None]:
        return _classes(root, good, class_names) if labels else (None, None)

    return reading.read_files(root, root, found, unreadable, decoding, classes, in_memory)


def warn_of_loose(loose: int, count: int, root: str | os.PathLike[str], stacklevel: int) -> None:
    """Warns if some of a folder's images, but not all, lie outside its sub-folders."""
    if 0 < loose < count:
        warnings.warn(
            f"{loose} of {count} images in {root} lie outside its sub-folders, so there are no "
            "labels. Move these images if the sub-folders are classes.",
            stacklevel=stacklevel,
        )


def _classes(
    root: str, found: Sequence[str], class_names: Sequence[str] | None
) -> tuple[np.ndarray | None, Sequence[str] | None]:
    """The label of each file by its sub-folder, and the names; `None` if there are no classes."""
    folders = [pathlib.PurePath(file).parts[0] for file in found]
    loose = sum(folder == file for folder, file in zip(folders, found, strict=True))
    warn_of_loose(loose, len(found), root, stacklevel=6)
    if loose or (class_names is None and len(set(folders)) < 2):
        return None, None
    if class_names is None:
        class_names = sorted(set(folders))
    index = {name: i for i, name in enumerate(class_names)}
    if unknown := sorted(set(folders) - set(index)):
        raise ValueError(f"`path` must hold the classes {list(index)}. Received: {unknown}")
    return np.array([index[folder] for folder in folders]), class_names


def read_folder(
    path: str,
    image_size: int,
    channels: int | None,
    labels: bool,
    scaling: Sequence[Sequence[float]] | None = None,
) -> Splits:
    """The images of a folder, in splits if it has them: see `keras_ssl.data.load`."""
    folders = files.sub_folders(path)
    # A class may be called "train" too: splits are the only sub-folders.
    if "train" not in folders or not folders <= {"train", *TEST_NAMES}:
        return Splits(from_folder(path, image_size, channels, None, labels, scaling), None)
    train = from_folder(files.join(path, "train"), image_size, channels, None, labels, scaling)
    for name in TEST_NAMES if train.has_labels else ():
        part = files.join(path, name)
        # Published test splits often have no classes.
        if name not in folders or not files.sub_folders(part) & set(train.class_names or ()):
            continue
        test = from_folder(
            part,
            image_size,
            train.image_shape[2],
            train.class_names,
            # Bytes are a scaling, too: a test part is not measured by itself.
            scaling=train.scaling or (),
        )
        if test.has_labels:
            return Splits(train, test)
    return Splits(train, None)


def check_outside(name: str, out: str | os.PathLike[str], images: Any) -> None:
    """Raises if the folder `out` lies in a folder of images, which its pictures would join."""
    if not isinstance(images, (str, os.PathLike)) or not os.path.isdir(images):
        return
    if is_idx(pathlib.Path(images)):
        return
    source, path = pathlib.Path(images).resolve(), pathlib.Path(out).resolve()
    if not path.is_relative_to(source):
        return
    # Hidden folders are left out where images are looked for.
    if any(part.startswith(".") for part in path.relative_to(source).parts):
        return
    raise ValueError(
        f"`{name}` must not lie in the folder of the images, which its pictures would join: name "
        f"another. Received: {name}={os.fspath(out)!r}, in {os.fspath(images)!r}"
    )
