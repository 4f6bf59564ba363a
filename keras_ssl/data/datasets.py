"""One loader for all images: the embedded digits, a folder, arrays, or a tensorflow-datasets name.

An `ImageSet` is what every source becomes: keys that are cheap to shuffle (an index, a path, an
encoded image) and a function that turns a key into an image. So orders are shuffled in full, and
images are only decoded when they are needed.
"""

import concurrent.futures
import contextlib
import dataclasses
import difflib
import gzip
import logging
import os
import pathlib
import threading
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_ssl._validation import check_choice, check_count, check_fraction, check_seed
from keras_ssl.data import files
from keras_ssl.data.augmentation import grey, to_unit_floats

# Labels below this are taken as they are, however few the images.
_FEW_CLASSES = 1000
_logger = logging.getLogger("keras_ssl")

_TEST_NAMES = ("test", "validation", "val")
# Decoded folders up to this size are kept in memory; larger ones are decoded again every epoch.
_MEMORY_LIMIT = 4 * 2**30
# Height and width of an image beyond which a single one takes 200 MB and more.
_LARGEST_IMAGE = 8192
# Files that are tried in the place of one that cannot be read any more.
_MOST_REPLACEMENTS = 100
# Encoded images of tensorflow-datasets that are held to be shuffled: 1 GiB at 100 KB each.
_ENCODED_BUFFER = 10_000


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images of one size, with labels or without, in a fixed order.

    Attributes:
        keys: Dataset of (key, label): what stands for each image, cheap to shuffle, and its label,
            int64, -1 where there are none.
        fetch: From a key to its image, uint8 or float32 (height, width, channels).
        size: Number of images; also `len(image_set)`.
        image_shape: (height, width, channels).
        class_names: Name of each label's class, or `None` where there are no labels.
        skipped: Names of the files that could not be read.
        shuffle_buffer: Number of keys that are shuffled at a time; by default all.
        names: Path of each image's file, in order: row i of features is photo `names[i]`. `None`
            where images are no files.
        replaced: Files that could be read when the set was made, and not when they were wanted;
            each time, another file of the set and the class stood in. Grows while images are
            fetched.
        reader: What fetches files, where images are files that are read in every epoch.
    """

    keys: tf.data.Dataset
    fetch: Callable[[Any], Any]
    size: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    shuffle_buffer: int | None = None
    names: tuple[str, ...] | None = None
    replaced: list[str] = dataclasses.field(default_factory=list, compare=False)
    reader: Any = None

    def __deepcopy__(self, memo: Any) -> "ImageSet":
        # Nothing in it changes; and keras-tuner copies callbacks, images and all, for each trial.
        return self

    def __len__(self) -> int:
        return self.size

    @property
    def has_labels(self) -> bool:
        """Whether the labels mean something."""
        return self.class_names is not None

    def labels(self) -> np.ndarray:
        """Labels of all images, int64 (size,), -1 where there are none."""
        labels = self.keys.map(lambda _, label: label).batch(4096)
        return np.concatenate([batch.numpy() for batch in labels]).astype(np.int64)

    def shuffled(self, seed: Any, first: Any = 0) -> tf.data.Dataset:
        """Dataset of (image, label), every image once, in the order of `seed` (int or tensor).

        The images before number `first` of that order are left out, without being fetched.
        """
        buffer = self.size if self.shuffle_buffer is None else self.shuffle_buffer
        keys = self.keys.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
        return self._examples(keys.skip(first))

    def batches(self, batch_size: int) -> tf.data.Dataset:
        """Dataset of (float32 images in [0, 1], labels) in batches, in order, all of them."""
        batches = self._examples(self.keys).batch(check_count("batch_size", batch_size))
        floats = batches.map(lambda images, labels: (to_unit_floats(images), labels))
        return floats.prefetch(tf.data.AUTOTUNE)

    def _examples(self, keys: tf.data.Dataset) -> tf.data.Dataset:
        return keys.map(
            lambda key, label: (self.fetch(key), label), num_parallel_calls=tf.data.AUTOTUNE
        )

    def spread(self, count: int) -> "ImageSet":
        """At most `count` of the images, spread evenly over all."""
        if check_count("count", count) >= self.size:
            return self
        # `count` of `size` numbers i, as even as can be; of a multiple, every so many-th.
        count = int(count)
        chosen = self.keys.enumerate().filter(lambda i, _: i * count % self.size < count)
        places = np.flatnonzero(np.arange(self.size) * count % self.size < count)
        return self._narrowed(chosen.map(lambda _, key: key), places)

    def subset(self, indices: Any) -> "ImageSet":
        """The images at `indices`, whole numbers in [0, size), at least one, in their order."""
        numbers = np.asarray(indices)
        if np.issubdtype(numbers.dtype, np.unsignedinteger):
            numbers = numbers.astype(np.int64)
        is_right = numbers.ndim == 1 and numbers.size and np.issubdtype(numbers.dtype, np.integer)
        if not is_right or numbers.min() < 0 or numbers.max() >= self.size:
            raise ValueError(
                f"`indices` must be whole numbers from 0 to {self.size - 1}, at least one. "
                f"Received: indices={indices!r}"
            )
        keys, labels = self.keys.batch(self.size).get_single_element()
        chosen = tf.gather(keys, numbers), tf.gather(labels, numbers)
        return self._narrowed(tf.data.Dataset.from_tensor_slices(chosen), numbers)

    def _narrowed(self, keys: tf.data.Dataset, places: np.ndarray) -> "ImageSet":
        """The images at some places, whose keys these are."""
        names = self.names and tuple(self.names[i] for i in places)
        narrowed = dataclasses.replace(self, keys=keys, size=len(places), names=names)
        if self.reader is None:
            return narrowed
        # What stands in for a file is to be of the same part: no test image is ever trained on.
        reader = self.reader.narrowed(places)
        return dataclasses.replace(narrowed, reader=reader, fetch=reader.fetch)

    def without_labels(self) -> "ImageSet":
        """The same images, their labels forgotten."""
        keys = self.keys.map(lambda key, label: (key, -tf.ones_like(label)))
        return dataclasses.replace(self, keys=keys, class_names=None)


class Splits(NamedTuple):
    """Images to train on and images to judge with; `test` is `None` where there are no labels."""

    train: ImageSet
    test: ImageSet | None


def load(
    source: str | os.PathLike[str],
    image_size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    labels: bool = True,
) -> Splits:
    """Loads images by name or path.

    Args:
        source: One of:
            "digits": 1,797 real handwritten digits of 8x8 grey pixels, which come with
            scikit-learn: no download;
            a folder of image files, see `from_folder`; with no other sub-folders than
            `train` and `test` (or `validation`, `val`), those are the splits;
            a folder with the four `.gz` files of MNIST, Fashion-MNIST or their likes;
            an `.npz` file with `x_train` (and `y_train`, `x_test`, `y_test`) or `images` (and
            `labels`);
            any tensorflow-datasets name, such as "cifar10" or "imagenette/160px-v2"; a split to
            train on may follow a colon, as in "stl10:unlabelled".
        image_size: Height and width that the images are brought to: the shorter side is resized
            (bicubic, antialiased), the middle cut out. Default: 128 for folders; else the images'
            own if they are all of one size, else 128.
        channels: 1, 3 or 4 for folders, by default 1 if the files are grey, else 3. 1 or 3 for
            arrays, by default their own. Not for tensorflow-datasets.
        test_fraction: Share of the labelled images set apart for judging where the source has no
            such split, in (0, 1), stratified by class (tensorflow-datasets: the last ones).
        seed: Seed of that choice.
        data_dir: Where tensorflow-datasets keeps its data.
        download: Whether tensorflow-datasets may download.
        labels: `False`: sub-folders are no classes, labels are forgotten, and nothing is held out:
            `test` is `None`, and `train` holds all images but those of a test split that the source
            has itself.

    Returns:
        `Splits(train, test)`.

    Raises:
        TypeError: for a source that is no text or path.
        ValueError: for a source that is neither a file, a folder nor a known name, an empty folder,
            a folder in which no image can be read.
    """
    test_fraction, seed = _check_test_fraction(test_fraction), check_seed("seed", seed)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "`source` must be a name or a path; arrays go to keras_ssl.data.from_arrays. "
            f"Received: source of type {type(source).__name__}"
        )
    if not str(source).strip():
        raise ValueError(
            f"`source` must name something: is a variable not set? Received: source={source!r}"
        )
    for name, value in {"labels": labels, "download": download}.items():
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False. Received: {name}={value!r}")
    if image_size is not None:
        image_size = _check_image_size(image_size)
    path = pathlib.Path(source)
    is_idx = (path / _IDX_FILES.format("train", "images", 3)).is_file()
    is_folder = path.is_dir() and not is_idx
    if not is_folder and (is_idx or str(source) == "digits" or path.suffix == ".npz"):
        read = _idx if is_idx else _npz if path.suffix == ".npz" else _digits
        own = read(path)
        test = own.test and _brought_to(own.test, image_size, channels)
        splits = Splits(_brought_to(own.train, image_size, channels), test)
    elif is_folder:
        splits = _folder_splits(path, image_size or 128, channels, labels)
    else:
        held_out = test_fraction if labels else None
        splits = _tfds(str(source), image_size, held_out, data_dir, download)
    if not labels:
        return Splits(splits.train.without_labels(), None)
    if splits.test is None and splits.train.has_labels:
        return split(splits.train, test_fraction, seed)
    return splits


def from_arrays(
    images: Any,
    labels: Any = None,
    class_names: Sequence[str] | None = None,
    skipped: Sequence[str] = (),
) -> ImageSet:
    """Images in memory.

    Args:
        images: Bytes (integers in [0, 255]), floats in [0, 1] or booleans, (N, height, width,
            channels), or (N, height, width) for one channel.
        labels: Whole numbers from 0, (N,) or (N, 1), or `None`.
        class_names: Names of the classes. Default: the numbers.
        skipped: Names of what could not be read, if anything.

    Raises:
        TypeError: for images of another dtype.
        ValueError: for images of another rank, no images, channels first, floats outside [0, 1],
            integers outside [0, 255] or of 0 and 1 alone, labels or names that do not match.
    """
    images = _check_images(images)
    if labels is None:
        if class_names is not None:
            raise ValueError(
                "`class_names` are those of labels. Received: class_names without labels"
            )
        numbers = np.full(len(images), -1)
    else:
        numbers = _check_labels(labels, len(images))
        class_names = _check_class_names(class_names, int(numbers.max()))
    pixels = tf.constant(images)

    return ImageSet(
        keys=tf.data.Dataset.from_tensor_slices((np.arange(len(images)), numbers.astype(np.int64))),
        fetch=lambda index: tf.gather(pixels, index),
        size=len(images),
        image_shape=images.shape[1:],
        class_names=None if class_names is None else tuple(class_names),
        skipped=tuple(skipped),
    )


def _check_images(images: Any) -> np.ndarray:
    """Images (N, height, width, channels) as uint8 or float32, or raises."""
    try:
        images = np.asarray(images)
    except ValueError as error:  # of several sizes
        raise ValueError(f"`images` must be one array. Received: {error}") from error
    if images.ndim == 3 and images.shape[-1] > 3:
        images = images[..., None]
    if images.ndim != 4 or not images.size:
        hint = "; one image is images[None]" if images.ndim == 3 and images.size else ""
        raise ValueError(
            "`images` must be (N, height, width, channels) or (N, height, width), N at least 1. "
            f"Received: shape={images.shape}{hint}"
        )
    if images.shape[1] <= 4 < min(images.shape[2:]):
        raise ValueError(
            "`images` must have their channels last: np.moveaxis(images, 1, -1). "
            f"Received: shape={images.shape}"
        )
    if images.dtype == bool:
        return images.astype(np.uint8) * np.uint8(255)
    is_integer = np.issubdtype(images.dtype, np.integer)
    if not is_integer and not np.issubdtype(images.dtype, np.floating):
        raise TypeError(
            "`images` must be integers in [0, 255] or floats in [0, 1]. "
            f"Received: dtype={images.dtype}"
        )
    low, high, top = images.min(), images.max(), 255 if is_integer else 1
    if not (low >= 0 and high <= top):  # Written so that NaN fails too.
        raise ValueError(
            "`images` must be integers in [0, 255] or floats in [0, 1]. "
            f"Received: {images.dtype} in [{low}, {high}]"
        )
    if is_integer and high == 1:
        raise ValueError(
            "`images` must be bytes from 0 to 255 if they are integers: as bytes, 1 is black. For "
            f"masks pass images.astype(bool). Received: {images.dtype} in [{low}, {high}]"
        )
    return images.astype(np.uint8 if is_integer else np.float32, copy=False)


def _check_labels(labels: Any, count: int) -> np.ndarray:
    """Labels as int64 (count,), or raises."""
    numbers = np.asarray(labels)
    if numbers.ndim == 2 and numbers.shape[1] > 1:
        raise ValueError(
            "`labels` must be one whole number per image; of one-hot rows, labels.argmax(axis=1). "
            f"Received: shape={numbers.shape}"
        )
    if numbers.shape not in ((count,), (count, 1)) or not np.issubdtype(numbers.dtype, np.integer):
        raise ValueError(
            "`labels` must be one whole number per image; names become numbers by "
            "np.unique(labels, return_inverse=True). "
            f"Received: {numbers.dtype} of shape {numbers.shape} for {count} images"
        )
    numbers = numbers.reshape(-1).astype(np.int64)
    if numbers.min() < 0:
        raise ValueError(
            "`labels` must be at least 0; images without a label make a set of their own. "
            f"Received: {numbers.min()}"
        )
    if numbers.max() >= max(_FEW_CLASSES, 2 * count):
        raise ValueError(
            "`labels` must number the classes from 0: np.unique(labels, return_inverse=True) does. "
            f"Received: labels up to {numbers.max()} for {count} images"
        )
    return numbers


def _check_class_names(class_names: Sequence[str] | None, last: int) -> list[str]:
    """A name for every label up to `last`, all different, or raises."""
    if class_names is None:
        return [str(i) for i in range(last + 1)]
    names = [class_names] if isinstance(class_names, str) else list(class_names)
    if len(names) <= last or len(set(names)) < len(names):
        raise ValueError(
            f"`class_names` must be {last + 1} different names, for labels from 0 to {last}. "
            f"Received: {names}"
        )
    return names


def _brought_to(images: ImageSet, image_size: int | None, channels: int | None) -> ImageSet:
    """Images in memory as of another size and number of channels, as files of a folder would be."""
    height, width, own = images.image_shape
    if channels not in (None, own) and (own, channels) not in ((1, 3), (3, 1)):
        raise ValueError(
            f"`channels` must be {own}, or 1 and 3 be changed into each other. "
            f"Received: channels={channels!r}, for images of {own} channels"
        )
    size = None if (image_size, image_size) == (height, width) else image_size
    if size is None and channels in (None, own):
        return images

    def fetch(key: Any) -> Any:
        image = images.fetch(key)
        if size is not None:
            image = _fit(image, size)
        if channels == 3 and own == 1:
            image = tf.repeat(image, 3, axis=-1)
        elif channels == 1 and own == 3:
            image = _like(image, grey(tf.cast(image, tf.float32)))
        return tf.ensure_shape(image, shape)

    shape = (size or height, size or width, channels or own)
    return dataclasses.replace(images, fetch=fetch, image_shape=shape)


def _check_test_fraction(value: Any) -> float:
    fraction = check_fraction("test_fraction", value)
    if not 0 < fraction < 1:
        raise ValueError(
            "`test_fraction` must be above 0 and below 1: something is to train on, and something "
            f"to judge with. Received: test_fraction={value!r}"
        )
    return fraction


def split(images: ImageSet, test_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Labelled images in two, stratified by class unless classes are too small for that.

    Args:
        images: What to split; must have labels.
        test_fraction: Share of the second part, above 0 and below 1.
        seed: Seed of the choice.

    Returns:
        `Splits(train, test)`.

    Raises:
        ValueError: for images without labels.
    """
    if not isinstance(images, ImageSet):
        raise TypeError(
            f"`images` must be a keras_ssl.data.ImageSet. Received: {type(images).__name__}"
        )
    if not images.has_labels:
        raise ValueError("`images` must have labels to be split. Received: images without labels")
    from sklearn.model_selection import train_test_split

    fraction, seed = _check_test_fraction(test_fraction), check_seed("seed", seed)
    labels = images.labels()
    counts = np.bincount(labels)
    counts = counts[counts > 0]
    smaller_part = images.size * min(fraction, 1 - fraction)
    is_enough = counts.min() >= 2 and smaller_part >= len(counts)
    train, test = train_test_split(
        np.arange(images.size),
        test_size=fraction,
        random_state=seed,
        stratify=labels if is_enough else None,
    )
    return Splits(images.subset(train), images.subset(test))


def _digits(path: pathlib.Path) -> Splits:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # 0 to 16 in the file
    return Splits(from_arrays(images, digits.target), None)


# As MNIST's authors named them; its likes (Fashion-MNIST, KMNIST) come under the same names.
_IDX_FILES = "{}-{}-idx{}-ubyte.gz"


def _idx(path: pathlib.Path) -> Splits:
    """A header of 4 + 4 bytes per axis, then bytes."""

    def read(part: str, kind: str, axes: int) -> np.ndarray:
        file = path / _IDX_FILES.format(part, kind, axes)
        try:
            with gzip.open(file) as content:
                header = np.frombuffer(content.read(4 + 4 * axes), ">u4")
                return np.frombuffer(content.read(), np.uint8).reshape(header[1:])
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise ValueError(
                f"`source` must hold {file.name}, bytes in the IDX format. Received: {error}"
            ) from error

    train, test = (
        from_arrays(read(part, "images", 3), read(part, "labels", 1)) for part in ("train", "t10k")
    )
    return Splits(train, test)


def _npz(path: pathlib.Path) -> Splits:
    if not path.is_file():
        raise ValueError(f"`source` must exist. Received: source={str(path)!r}")
    if not zipfile.is_zipfile(path):
        raise ValueError(
            f"`source` must be an archive of numpy.savez. Received: {str(path)!r}, which is none"
        )
    try:
        with np.load(path) as archive:
            arrays = dict(archive)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            "`source` must hold arrays of numbers that can be read. "
            f"Received: {str(path)!r}; {type(error).__name__}: {error}"
        ) from error
    if ("x_test" in arrays) != ("y_test" in arrays):
        raise ValueError(
            "`source` must hold both x_test and y_test, or neither: images without labels judge "
            f"nothing. Received: {path} with {sorted(arrays)}"
        )
    if "x_train" in arrays:
        train = from_arrays(arrays["x_train"], arrays.get("y_train"))
        if "x_test" in arrays:
            test = from_arrays(arrays["x_test"], arrays["y_test"])
            if test.image_shape != train.image_shape:
                raise ValueError(
                    "`source` must hold x_test of the shape of x_train. "
                    f"Received: {path} with images of {train.image_shape} and {test.image_shape}"
                )
            return Splits(train, test)
        return Splits(train, None)
    if "images" in arrays:
        return Splits(from_arrays(arrays["images"], arrays.get("labels")), None)
    raise ValueError(
        "`source` must hold x_train (and y_train, x_test, y_test) or images (and labels). "
        f"Received: {path} with {sorted(arrays)}"
    )


def _check_image_size(image_size: Any) -> int:
    size = check_count("image_size", image_size)
    if size > _LARGEST_IMAGE:
        raise ValueError(
            f"`image_size` must be at most {_LARGEST_IMAGE} pixels: one image of that height and "
            f"width would take {size * size * 3 / 2**30:.1f} GiB. Received: image_size={size}"
        )
    return size


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
    size = _check_image_size(image_size)
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


def _folder_splits(
    path: pathlib.Path, image_size: int, channels: int | None, labels: bool
) -> Splits:
    folders = {folder.name for folder in path.iterdir() if folder.is_dir()}
    # A class may be called "train" too; splits are alone among themselves.
    if "train" not in folders or not folders <= {"train", *_TEST_NAMES}:
        return Splits(from_folder(path, image_size, channels, labels=labels), None)
    train = from_folder(path / "train", image_size, channels, labels=labels)
    for name in _TEST_NAMES:
        if (path / name).is_dir() and train.has_labels:
            channels = train.image_shape[2]
            test = from_folder(path / name, image_size, channels, train.class_names)
            return Splits(train, test if test.has_labels else None)
    return Splits(train, None)


def _tfds(
    name: str,
    image_size: int | None,
    test_fraction: float | None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> Splits:
    import tensorflow_datasets as tfds

    name, _, split_name = name.partition(":")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            '`source` must be "digits", a folder, an .npz file, or a tensorflow-datasets name '
            "(https://www.tensorflow.org/datasets/catalog): "
            f"{_nearest(name, tfds.list_builders(with_community_datasets=False))}. "
            f"Received: source={name!r}"
        ) from error
    features = builder.info.features
    if "image" not in features:
        raise ValueError(
            f"`source` must have images under the key 'image'. Received: {name} with "
            f"{sorted(features)}"
        )
    if download:
        builder.download_and_prepare()
    elif not builder.is_prepared():
        # Asked for without being prepared, tensorflow-datasets tries the network for minutes.
        raise ValueError(
            f"{name} is not prepared in {builder.data_dir}: pass download=True, or `data_dir` if "
            "it is elsewhere."
        )

    is_class = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    label_key = "label" if is_class else None
    splits = builder.info.splits
    train_name = split_name or ("train" if "train" in splits else next(iter(splits)))
    check_choice("split", train_name, splits)

    def image_set(part: str) -> ImageSet:
        return _tfds_split(builder, part, image_size, label_key)

    def has_labels(part: str) -> bool:
        """Published test splits often have labels of -1."""
        return all(int(label) >= 0 for _, label in image_set(part).keys.take(1))

    if label_key is not None and not has_labels(train_name):
        return Splits(image_set(train_name).without_labels(), None)
    test_name = next((s for s in _TEST_NAMES if s in splits and has_labels(s)), None)

    if label_key is None or test_fraction is None:
        return Splits(image_set(train_name), None)
    if test_name is not None:
        return Splits(image_set(train_name), image_set(test_name))
    percent = round(100 * (1 - test_fraction))
    return Splits(image_set(f"{train_name}[:{percent}%]"), image_set(f"{train_name}[{percent}%:]"))


def _nearest(name: str, known: Sequence[str]) -> str:
    """The known names nearest to `name`, or how many there are."""
    near = difflib.get_close_matches(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"one of {len(known)}"


def _tfds_split(
    builder: Any, split_name: str, image_size: int | None, label_key: str | None
) -> ImageSet:
    """A split whose images stay encoded until they are fetched."""
    import tensorflow_datasets as tfds

    feature = builder.info.features["image"]
    height, width, channels = feature.shape
    if image_size is None and height is None:
        image_size = 128
    if image_size is not None:
        height = width = image_size
    encoded = builder.as_dataset(
        split=split_name, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False
    )
    keys = encoded.map(
        lambda example: (
            example["image"],
            tf.constant(-1, tf.int64) if label_key is None else example[label_key],
        )
    )

    def fetch(key: Any) -> Any:
        image = feature.decode_example(key)
        if image_size is not None:
            image = _fit(image, image_size)
        return tf.ensure_shape(image, (height, width, channels))

    names = None if label_key is None else tuple(builder.info.features[label_key].names)
    size = builder.info.splits[split_name].num_examples
    return ImageSet(
        keys=keys,
        fetch=fetch,
        size=size,
        image_shape=(height, width, channels),
        class_names=names,
        shuffle_buffer=min(size, _ENCODED_BUFFER),
    )


def _fit(image: Any, size: int) -> Any:
    """An image brought to (size, size): shorter side resized, antialiased, the middle cut out."""
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    target = tf.cast(tf.math.ceil(shape * (size / tf.reduce_min(shape))), tf.int32)
    resized = tf.image.resize(tf.cast(image, tf.float32), target, "bicubic", antialias=True)
    return _like(image, tf.image.resize_with_crop_or_pad(resized, size, size))


def _like(image: Any, pixels: Any) -> Any:
    """Pixels as `image` has them: whole numbers from 0 to 255, or floats from 0 to 1."""
    if image.dtype.is_floating:
        return tf.clip_by_value(pixels, 0, 1)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), image.dtype)
