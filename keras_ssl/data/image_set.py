"""`ImageSet`, which every source of images becomes, and `split`, which makes two of one.

An image set has keys that are cheap to shuffle (a place, an encoded image) and a function that
turns a key into an image. So all keys can be shuffled at once, and an image is decoded only when it
is needed.

Where TensorFlow is installed, `tf.data` fetches images and makes batches. Where it is not, Python
does, if the keys are `Places`: see `without_tensorflow.py`.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from keras.ops import convert_to_numpy

from keras_ssl._backend import is_dataset
from keras_ssl._keras import functions_of_tensorflow
from keras_ssl._python import as_it_is, numpy_function
from keras_ssl._require import marked
from keras_ssl._tensorflow import is_installed, tf
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count, check_fraction, check_seed
from keras_ssl.data import draws, without_tensorflow
from keras_ssl.data.augmentation.pixels import to_unit_floats

# The names that sources give their test split; the first that exists is taken.
TEST_NAMES = ("test", "validation", "val")


class Places(NamedTuple):
    """Keys in arrays: the places of images in their source, and their labels, int64 (size,)."""

    places: np.ndarray
    labels: np.ndarray


class InMemory:
    """Fetches images out of an array: the one at a place, or at once those of a batch of places.

    The array is not copied, and may be larger than memory (`numpy.memmap`).

    Args:
        pixels: (N, height, width, channels).
    """

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels
        self.dtype = pixels.dtype

    def __call__(self, place: Any) -> Tensor:
        """Returns images (..., height, width, channels) of places, an integer tensor (...)."""
        place = tf.convert_to_tensor(place)
        images = numpy_function(self.take, [place], self.pixels.dtype, stateful=False)
        return tf.ensure_shape(images, (*place.shape, *self.pixels.shape[1:]))

    def take(self, places: np.ndarray) -> np.ndarray:
        """Returns the same in an array, without TensorFlow."""
        images = self.pixels[places]
        # Of one place it is a view, and TensorFlow may overwrite what it is given.
        return images if np.ndim(places) else images.copy()


class ByPython:
    """Fetches images by a function of Python, one at a time.

    Args:
        read: Function from a key, as an array or one of its numbers, to an image.
        shape: (height, width, channels).
        dtype: The type of the images.
    """

    def __init__(self, read: Callable[[Any], np.ndarray], shape: Sequence[int], dtype: Any) -> None:
        self.read, self.shape, self.dtype = read, tuple(shape), dtype

    def __call__(self, key: Any) -> Tensor:
        """Returns the image of a key, in a graph."""
        return tf.ensure_shape(numpy_function(self._read, [key], self.dtype), self.shape)

    def _read(self, key: Any) -> np.ndarray:
        try:
            return self.read(key)
        except ValueError as error:
            raise ValueError(marked(str(error))) from error

    def take(self, places: np.ndarray) -> np.ndarray:
        """Returns the images at places (n,) in an array, without TensorFlow."""
        return np.stack(list(_readers().map(self.read, places)))


@functools.cache
def _readers() -> concurrent.futures.ThreadPoolExecutor:
    """The threads that read files for `ByPython.take`."""
    return concurrent.futures.ThreadPoolExecutor()


def unit_floats(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a batch of images as floats in [0, 1], and its labels."""
    return to_unit_floats(images), labels


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class ImageSet:
    """Images of one size, in a fixed order, with or without labels.

    Attributes:
        keys: `Places`, or a `tf.data.Dataset` of (key, label). The key stands for an image and is
            cheap to shuffle. The label is int64, and -1 if there are no labels.
        fetch: Function from a key to its image, uint8 or float32 (height, width, channels), in
            TensorFlow's operations. Python's `if` on a tensor needs `tf.function` around it. An
            `InMemory` also takes a batch of keys. Its method `take`, if there is one, returns the
            images at places in an array, without TensorFlow.
        size: Number of images; also `len(image_set)`.
        image_shape: (height, width, channels).
        class_names: Name of each label's class, or `None` if there are no labels.
        skipped: Names of the files that could not be read.
        shuffle_buffer: Number of keys that are shuffled at a time. Default: all.
        names: Path of each image's file, in order: row i of features is photo `names[i]`. `None` if
            images are not files.
        replaced: Files that could be read when the set was made, but not when they were fetched.
            Another file of the same set and class took their place. The list grows while images are
            fetched.
        reader: The object that reads the files, if images are files that are read in every epoch.
        scaling: Pairs (low, high) of the files' numbers that became 0 and 1, one for each channel
            or one for all; `None` for bytes. See `keras_ssl.data.from_folder`.
        name_of: Function from a key to the name by which `replaced` knows its image, where that is
            not in `names`.
        groups: Number of the group of each image, int64 (size,): images of one thing, such as two
            moments of a place. `make_views` makes the views of two of them. `None`: there are no
            groups, and all views are of one image.

    Example:
        Every source returns one, such as `from_arrays`.

        >>> import numpy as np
        >>> from keras_ssl import data
        >>> pixels = np.zeros((3, 8, 8, 1))
        >>> images = data.from_arrays(pixels, labels=[0, 1, 1], class_names=["cat", "dog"])
        >>> images
        <ImageSet: 3 images of 8 x 8 x 1, 2 classes>
        >>> len(images), images.image_shape, images.class_names
        (3, (8, 8, 1), ('cat', 'dog'))
        >>> images.subset([2, 0]).labels().tolist()
        [1, 0]
    """

    keys: Places | tf.data.Dataset
    fetch: Callable[[Any], Any]
    size: int
    image_shape: tuple[int, int, int]
    class_names: tuple[str, ...] | None = None
    skipped: tuple[str, ...] = ()
    shuffle_buffer: int | None = None
    names: tuple[str, ...] | None = None
    replaced: list[str] = dataclasses.field(default_factory=list)
    reader: Any = None
    scaling: tuple[tuple[float, float], ...] | None = None
    groups: np.ndarray | None = None
    name_of: Callable[[Any], Any] | None = None

    def __deepcopy__(self, memo: Any) -> ImageSet:
        # It does not change, and keras-tuner copies callbacks with their images for each trial.
        return self

    def __len__(self) -> int:
        return self.size

    def __repr__(self) -> str:
        # Without the images, and without thousands of names.
        shape = " x ".join("any" if n is None else str(n) for n in self.image_shape)
        classes = f", {len(self.class_names)} classes" if self.class_names else ", no labels"
        return f"<{type(self).__name__}: {self.size} images of {shape}{classes}>"

    @property
    def has_labels(self) -> bool:
        """Whether the labels mean something."""
        return self.class_names is not None

    def labels(self) -> np.ndarray:
        """Returns the labels of all images, int64 (size,), -1 if there are none."""
        if isinstance(self.keys, Places):
            return self.keys.labels.copy()
        labels = self.keys.map(as_it_is(lambda _, label: label)).batch(4096)
        return np.concatenate([batch.numpy() for batch in labels]).astype(np.int64)

    @functools.cached_property
    def key_dataset(self) -> tf.data.Dataset:
        """The keys as a data set of (key, label)."""
        if not isinstance(self.keys, Places):
            return self.keys
        with tf.init_scope():  # It is kept, also if it is first asked for in a graph.
            return tf.data.Dataset.from_tensor_slices(tuple(self.keys))

    def shuffled_keys(self, seed: Any, first: Any = 0) -> tf.data.Dataset:
        """Returns every key and label once, in random order; see `shuffled_batches`."""
        buffer = self.size if self.shuffle_buffer is None else self.shuffle_buffer
        keys = self.key_dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=False)
        return keys.skip(first)

    def shuffled_batches(self, batch_size: Any, seed: Any, first: Any = 0) -> tf.data.Dataset:
        """Returns every example once, in random order.

        Args:
            batch_size: Examples of a batch. What does not fill a batch is left out.
            seed: Seed of the order, an int or a tensor.
            first: Number of examples at the beginning of the order that are left out, and not
                fetched.

        Returns:
            Data set of (images, labels), or of ((images, images), labels) if there are groups; see
            `shuffled_pairs`.
        """
        shuffled = self.shuffled_keys if self.groups is None else self.shuffled_pairs
        return self.fetched(shuffled(seed, first), batch_size, drop_remainder=True)

    @property
    def example_count(self) -> int:
        """Number of examples of an epoch: of images, or of groups if there are any."""
        return self.size if self.groups is None else int(self.groups.max()) + 1

    def shuffled_pairs(self, seed: Any, first: Any = 0) -> tf.data.Dataset:
        """Returns the keys of two images of every group once, in random order.

        Which two, and which of them comes first, is drawn from the seed and the group's number, so
        that neither of two views always shows, say, the first moment. A group of one image gives it
        twice.

        Args:
            seed: Seed of the order and of the choices, an int or a tensor.
            first: Number of groups at the beginning of the order that are left out.

        Returns:
            Data set of ((key, key), label).
        """
        assert self.groups is not None
        places = np.argsort(self.groups, kind="stable")
        counts = np.bincount(self.groups)
        starts = np.cumsum(counts) - counts
        keys, labels = self._at(places)

        @as_it_is
        def pair(group: Any) -> Any:
            xp = functions_of_tensorflow()
            key = draws.key((seed,), xp)
            numbers = draws.numbers(key, tf.cast(group, tf.int32)[None], 2, xp)[0]
            count = tf.gather(counts, group)
            a, b = (tf.gather(starts, group) + i for i in draws.two_of(numbers, count, xp))
            return tuple(tf.gather(keys, i) for i in (a, b)), tf.gather(labels, a)

        groups = tf.data.Dataset.range(len(counts))
        groups = groups.shuffle(len(counts), seed=seed, reshuffle_each_iteration=False)
        return groups.skip(first).map(pair)

    def batches(self, batch_size: int) -> Iterable[Any]:
        """Returns all images in order: batches (float32 in [0, 1], labels).

        They are a `tf.data.Dataset`; without TensorFlow, arrays.
        """
        batch_size = check_count("batch_size", batch_size)
        if not is_installed():
            return without_tensorflow.InOrder(self, batch_size, without_tensorflow.unit_floats)
        floats = self.fetched(self.key_dataset, batch_size).map(as_it_is(unit_floats))
        return floats.prefetch(tf.data.AUTOTUNE)

    def named_batches(self, batch_size: int) -> Iterator[tuple[np.ndarray, list[str]]]:
        """Gives all images in order: batches, float32 in [0, 1], and what each image is called.

        Images that are in `replaced` when their batch is given could not be read.
        """
        if isinstance(self.keys, Places) or self.name_of is None:
            names = self.names
            if names is None and isinstance(self.keys, Places) and self.name_of is not None:
                names = tuple(map(self.name_of, self.keys.places))
            first = 0
            for images, _ in self.batches(batch_size):
                last = first + len(images)
                called = names[first:last] if names else [f"#{i}" for i in range(first, last)]
                yield np.asarray(images), list(called)
                first = last
            return
        name_of = self.name_of
        keys = self.keys.map(as_it_is(lambda key, _: (key, name_of(key))))
        for images, called in self.fetched(keys, batch_size).prefetch(tf.data.AUTOTUNE):
            yield to_unit_floats(images).numpy(), list(map(os.fsdecode, called.numpy()))

    def raw_batches(self, batch_size: int) -> Iterable[Any]:
        """Returns all images in order, as they are: batches (uint8 or float32, labels)."""
        if not is_installed():
            return without_tensorflow.InOrder(self, batch_size)
        return self.fetched(self.key_dataset, batch_size)

    def _examples(self, keys: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the images of keys, or of pairs of keys."""

        @as_it_is
        def example(key: Any, label: Any) -> Any:
            return tf.nest.map_structure(self.fetch, key), label

        return keys.map(example, num_parallel_calls=tf.data.AUTOTUNE)

    def fetched(
        self, keys: tf.data.Dataset, batch_size: Any, drop_remainder: bool = False
    ) -> tf.data.Dataset:
        """Returns the images of a data set of (key, label): a data set of (images, labels).

        Images in memory are fetched a batch at once, which takes a tenth of the time.
        """
        if not isinstance(self.fetch, InMemory):
            return self._examples(keys).batch(batch_size, drop_remainder)
        return self._examples(keys.batch(batch_size, drop_remainder))

    def spread(self, count: int) -> ImageSet:
        """Returns at most `count` of the images, evenly spaced over all.

        Groups stay whole, unless the first one has more images than `count`.
        """
        if check_count("count", count) >= self.size:
            return self
        count = int(count)
        if self.groups is not None and len(chosen := _spread_groups(self.groups, count)):
            return self.subset(self.places(chosen))
        places = spread_places(self.size, count)
        if isinstance(self.keys, Places):
            return self.subset(places)
        # Encoded images are large: those that are not chosen are passed by in every epoch.
        is_chosen = as_it_is(lambda i, _: i * count % self.size < count)
        chosen = self.keys.enumerate().filter(is_chosen).map(as_it_is(lambda _, key: key))
        return self._narrowed(chosen, places)

    def sample(self, count: int, seed: int = 0) -> tuple[tuple[Any, ...], Any, list[str]]:
        """Returns at most `count` examples, evenly spaced over all, as `make_views` gets them.

        Args:
            count: Number of examples.
            seed: Seed of the choice of two images of each group, if there are groups.

        Returns:
            `(batches, labels, captions)`: one batch of images, or two if there are groups, each an
            array, float32 in [0, 1], (count, height, width, channels); labels int64 (count,); and a
            text for each example.
        """
        count = min(check_count("count", count), self.example_count)
        if self.groups is None:
            images, labels = map(np.asarray, next(iter(self.spread(count).batches(count))))
            places = spread_places(self.size, count)
            texts = captions(places, self.names, self.class_names, labels)
            return (images,), labels, texts
        groups = np.arange(count) * self.example_count // count
        chosen = self.subset(self.places(groups))
        if isinstance(chosen.keys, Places) and hasattr(chosen.fetch, "take"):
            # By Python: TensorFlow's choice would depend on `tf.random.set_seed`, too.
            keys, labels = without_tensorflow.pairs(chosen, seed)
            pairs = without_tensorflow.fetch(chosen, keys)
            groups = groups[without_tensorflow.shuffled(len(groups), seed)]
        else:
            pairs, labels = next(iter(chosen.fetched(chosen.shuffled_pairs(seed), count)))
        texts = captions(groups, None, self.class_names, np.asarray(labels), "group")
        floats = tuple(convert_to_numpy(to_unit_floats(images)) for images in pairs)
        return floats, np.asarray(labels), texts

    def subset(self, indices: Any) -> ImageSet:
        """Returns images at `indices`, one or more whole numbers in [0, size), in that order."""
        numbers = np.asarray(indices)
        if np.issubdtype(numbers.dtype, np.unsignedinteger):
            numbers = numbers.astype(np.int64)
        is_right = numbers.ndim == 1 and numbers.size and np.issubdtype(numbers.dtype, np.integer)
        if not is_right or numbers.min() < 0 or numbers.max() >= self.size:
            raise ValueError(
                f"`indices` must be whole numbers from 0 to {self.size - 1}, at least one. "
                f"Received: indices={indices!r}"
            )
        keys: Any = self._at(numbers)
        if not isinstance(keys, Places):
            keys = tf.data.Dataset.from_tensor_slices(keys)
        return self._narrowed(keys, numbers)

    def _at(self, places: np.ndarray) -> Any:
        """Returns the keys and labels of the images at places of this set."""
        if isinstance(self.keys, Places):
            return Places(self.keys.places[places], self.keys.labels[places])
        return tuple(tf.gather(x, places) for x in self.keys.batch(self.size).get_single_element())

    def places(self, examples: np.ndarray) -> np.ndarray:
        """Returns the places of the images of some examples: of groups, all of their images."""
        return examples if self.groups is None else np.flatnonzero(np.isin(self.groups, examples))

    def _narrowed(self, keys: Places | tf.data.Dataset, places: np.ndarray) -> ImageSet:
        """Returns the images at `places`, which have these keys."""
        names = self.names and tuple(self.names[i] for i in places)
        groups = self.groups
        if groups is not None:
            groups = np.unique(groups[places], return_inverse=True)[1]
        narrowed = dataclasses.replace(
            self, keys=keys, size=len(places), names=names, groups=groups
        )
        if self.reader is None:
            return narrowed
        # Only a file of the same part may take another's place: no test image is trained on.
        reader = self.reader.narrowed(places)
        return dataclasses.replace(narrowed, reader=reader, fetch=reader.fetch)

    def in_memory(self, limit: int = 2**31) -> ImageSet:
        """Returns the same images, decoded once and kept, for those who visit them many times.

        Args:
            limit: Images that take more bytes than this are returned as they are. Default: 2 GiB.
        """
        if isinstance(self.fetch, InMemory):
            return self
        if self.size * np.prod(self.image_shape) * self.dtype.itemsize > limit:
            return self
        ((pixels, labels),) = self.raw_batches(self.size)
        return dataclasses.replace(
            self,
            keys=Places(np.arange(len(pixels)), np.asarray(labels, np.int64)),
            size=len(pixels),  # The size of a part of a stream is an estimate.
            fetch=InMemory(np.asarray(pixels)),
            shuffle_buffer=None,
            reader=None,
            name_of=None,
        )

    def to_decode(self) -> np.ndarray:
        """Returns the places of the images that are decoded at their first visit alone."""
        return np.array([], int) if self.reader is None else self.reader.to_decode()

    @property
    def dtype(self) -> np.dtype:
        """The type of the images."""
        own = getattr(self.fetch, "dtype", None)
        if own is None:
            spec = self._examples(self.key_dataset).element_spec
            own = tf.nest.flatten(spec)[0].dtype.as_numpy_dtype
        return np.dtype(own)

    def parts(self, test_fraction: float, seed: int) -> tuple[ImageSet, ImageSet]:
        """Returns two parts of labeled images; see `split`."""
        from sklearn.model_selection import train_test_split

        labels = self.labels()
        if self.groups is not None:
            labels = labels[np.unique(self.groups, return_index=True)[1]]  # One of each group.
        counts = np.bincount(labels)
        counts = counts[counts > 0]
        smaller_part = len(labels) * min(test_fraction, 1 - test_fraction)
        is_enough = counts.min() >= 2 and smaller_part >= len(counts)
        train, test = train_test_split(
            np.arange(len(labels)),
            test_size=test_fraction,
            random_state=seed,
            stratify=labels if is_enough else None,
        )
        return self.subset(self.places(train)), self.subset(self.places(test))

    def without_labels(self) -> ImageSet:
        """Returns the same images without their labels."""
        keys = self.keys
        if isinstance(keys, Places):
            keys = keys._replace(labels=np.full(self.size, -1))
        else:
            keys = keys.map(as_it_is(lambda key, label: (key, -tf.ones_like(label))))
        return dataclasses.replace(self, keys=keys, class_names=None)


def _spread_groups(groups: np.ndarray, count: int) -> np.ndarray:
    """Returns evenly spaced groups of at most `count` images in all; none if one has more."""
    sizes = np.bincount(groups)

    def spread(wanted: int) -> np.ndarray:
        return np.arange(wanted) * len(sizes) // max(wanted, 1)

    wanted = len(sizes)
    while (total := sizes[spread(wanted)].sum()) > count:
        wanted = min(wanted - 1, int(wanted * count / total))
    # A large group that is not among these may have counted for many.
    while wanted < len(sizes) and sizes[spread(wanted + 1)].sum() <= count:
        wanted += 1
    return spread(wanted)


def spread_places(size: int, count: int) -> np.ndarray:
    """Returns at most `count` numbers below `size`, as evenly spaced as possible.

    They are every k-th number if size = k * count.
    """
    return np.flatnonzero(np.arange(size) * count % size < count)


def captions(
    places: Iterable[int],
    names: Sequence[str] | None = None,
    class_names: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    unit: str = "image",
) -> list[str]:
    """Returns a text for each of some images of a set: its file, else its class, else its place.

    Args:
        places: Places of the images in the set.
        names: File names of the whole set, if images are files.
        class_names: Names of the classes, if there are any.
        labels: Labels of the chosen images, (len(places),), if there are any.
        unit: What has a place.
    """
    if names is not None:
        return [names[place] for place in places]
    if class_names is not None and labels is not None:
        return [str(class_names[label]) for label in labels]
    return [f"{unit} {place}" for place in places]


class Splits(NamedTuple):
    """Images to train on and images to test on; `test` is `None` if there are no labels.

    Example:
        `load` and `split` return it.

        >>> from keras_ssl import data
        >>> splits = data.load("digits")
        >>> len(splits.train), len(splits.test)
        (1437, 360)
        >>> data.load("digits", labels=False).test is None
        True
    """

    train: ImageSet
    test: ImageSet | None


def split(images: ImageSet, test_fraction: float = 0.2, seed: int = 0) -> Splits:
    """Splits labeled images in two, stratified by class unless classes are too small for that.

    Images of one group stay together. Of images that stream from shards, the second part is the
    same fraction of each shard, whatever the classes.

    Args:
        images: The images to split, with labels.
        test_fraction: Fraction of the images in the second part, above 0 and below 1.
        seed: Seed of the choice.

    Returns:
        `Splits(train, test)`.

    Raises:
        TypeError: if `images` is not an `ImageSet`.
        ValueError: if `images` has no labels, or a number is out of its range.

    Example:
        Each part has the same share of each class.

        >>> import numpy as np
        >>> from keras_ssl import data
        >>> images = data.from_arrays(np.zeros((10, 4, 4, 1)), labels=[0] * 5 + [1] * 5)
        >>> train, test = split(images, test_fraction=0.4)
        >>> np.bincount(train.labels()).tolist(), np.bincount(test.labels()).tolist()
        ([3, 3], [2, 2])
    """
    if not isinstance(images, ImageSet):
        raise TypeError(
            f"`images` must be a keras_ssl.data.ImageSet. Received: {type(images).__name__}"
        )
    if not images.has_labels:
        raise ValueError("`images` must have labels to be split. Received: images without labels")
    return Splits(*images.parts(check_test_fraction(test_fraction), check_seed("seed", seed)))


def check_test_fraction(value: Any) -> float:
    """Returns `value` as a float, or raises if it is not above 0 and below 1."""
    fraction = check_fraction("test_fraction", value)
    if not 0 < fraction < 1:
        raise ValueError(
            "`test_fraction` must be above 0 and below 1, so that there are images to train on and "
            f"images to test on. Received: test_fraction={value!r}"
        )
    return fraction


def check_image_set(name: str, value: Any) -> ImageSet:
    """Returns `value`, or raises an error that says how to make an `ImageSet` of it."""
    if isinstance(value, ImageSet):
        return value
    if isinstance(value, Splits):
        instead = "one of the two splits, such as `.train`"
    elif is_dataset(value):
        instead = (
            "made by keras_ssl.data.load, from_folder or from_arrays; a tf.data.Dataset of "
            "your own batches becomes views by `dataset.map(lambda images: (policy(images),))`"
        )
    elif isinstance(value, (str, os.PathLike)):
        instead = "loaded first, by keras_ssl.data.load"
    else:
        instead = "made of arrays by keras_ssl.data.from_arrays(images, labels)"
    raise TypeError(
        f"`{name}` must be a keras_ssl.data.ImageSet, {instead}. "
        f"Received: {name} of type {type(value).__name__}"
    )
