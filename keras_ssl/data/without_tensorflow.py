"""Batches by Python where TensorFlow is not installed, in the orders and draws of `tf.data`'s."""

from __future__ import annotations

import concurrent.futures
import functools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keras_ssl._tensorflow import check_installed
from keras_ssl._validation import check_count
from keras_ssl.data import draws
from keras_ssl.data.epochs import Epochs
from keras_ssl.data.orders import shuffled

if TYPE_CHECKING:
    from keras_ssl.data.image_set import ImageSet

# Orders that are kept: of the images to train on and of the probe's, and the next ones.
_ORDERS = 4


def check_source(images: ImageSet) -> None:
    """Raises an `ImportError` if the source of the images needs TensorFlow."""
    if not hasattr(images.fetch, "take") or not hasattr(images.keys, "places"):
        check_installed("these images, which it reads")


def fetch(images: ImageSet, places: Any) -> Any:
    """Returns the images at places of their source in an array, or of a tuple of such places."""
    take = images.fetch.take  # type: ignore[attr-defined]  # See `check_source`.
    return tuple(map(take, places)) if isinstance(places, tuple) else take(places)


def unit_floats(images: np.ndarray) -> np.ndarray:
    """Returns images as floats in [0, 1], as `to_unit_floats` does."""
    return images if images.dtype == np.float32 else images.astype("float32") / np.float32(255)


class InOrder(keras.utils.PyDataset):
    """All images in order: batches of arrays (images, labels).

    Args:
        images: The images.
        batch_size: Images of a batch; the last may have fewer.
        convert: What is done to the images of a batch.
    """

    def __init__(
        self, images: ImageSet, batch_size: int, convert: Callable[[Any], Any] = lambda x: x
    ) -> None:
        super().__init__()
        check_source(images)
        self.images, self.batch_size, self.convert = images, batch_size, convert

    def __len__(self) -> int:
        return -(-self.images.size // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        places, labels = (x[rows] for x in self.images.keys)
        return self.convert(fetch(self.images, places)), labels.copy()


class Shuffled:
    """The examples of an image set in random order, pass after pass.

    Args:
        images: The images.
        length: Examples of a pass; the last ones of its order are left out.
        in_groups: Whether an example is a group, of which there are two images, if there are any.
    """

    def __init__(self, images: ImageSet, length: int, in_groups: bool = True) -> None:
        check_source(images)
        if images.shuffle_buffer is not None and images.shuffle_buffer < images.size:
            check_installed("a `shuffle_buffer` smaller than the number of images")
        self.images, self.length = images, length
        self.in_groups = in_groups and images.groups is not None
        self._orders: dict[int, Any] = {}

    def batch(self, seed: int, first: int, count: int) -> tuple[Any, np.ndarray]:
        """Returns `count` examples from number `first` of all passes on: (images, labels).

        Args:
            seed: Seed of the order of the first pass; each further one has the next seed.
            first: Number of an example, from 0.
            count: Number of examples.
        """
        passes, places = np.divmod(np.arange(first, first + count), self.length)
        parts = [self._keys(seed + int(p), places[passes == p]) for p in np.unique(passes)]
        keys, labels = keras.tree.map_structure(lambda *x: np.concatenate(x), *parts)
        return fetch(self.images, keys), labels

    def _keys(self, seed: int, places: np.ndarray) -> Any:
        order = self._orders.get(seed)
        if order is None:
            order = self._order(seed)
            self._orders = {**dict(list(self._orders.items())[1 - _ORDERS :]), seed: order}
        return keras.tree.map_structure(lambda x: x[places], order)

    def _order(self, seed: int) -> Any:
        """The keys and labels of a pass, as `ImageSet.shuffled_keys` or `shuffled_pairs` does."""
        if self.in_groups:
            return pairs(self.images, seed)
        order = shuffled(self.images.size, seed)
        return tuple(x[order] for x in self.images.keys)


def pairs(images: ImageSet, seed: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Returns the keys of two images of every group, and their labels; see `shuffled_pairs`."""
    assert images.groups is not None
    members = np.argsort(images.groups, kind="stable")
    counts = np.bincount(images.groups)
    order = shuffled(len(counts), seed)
    numbers = draws.numbers(draws.key((seed,)), order.astype("int32"), 2)
    starts = (np.cumsum(counts) - counts)[order]
    first, second = (starts + i for i in draws.two_of(numbers, counts[order]))
    places, labels = (x[members] for x in images.keys)
    return (places[first], places[second]), labels[first]


class Batches(keras.utils.PyDataset):
    """Batches that follow from the epoch and the step; a thread makes the next one meanwhile.

    An object is in one epoch at a time. `fit` and `evaluate` of a method take one of their own.

    Args:
        make: Function from (epoch, step) to a batch.
        steps: Numbers of the steps of an epoch.
        epochs: Numbers the passes; see `keras_ssl.data.epochs`.
    """

    def __init__(self, make: Callable[[int, int], Any], steps: range, epochs: Epochs) -> None:
        super().__init__()
        self.make, self.steps, self.epochs = make, steps, epochs
        self._epoch = 0  # `fit` looks at a batch before the first epoch begins.
        self._ahead: tuple[Any, concurrent.futures.Future] | None = None

    def starting_at(self, step: int) -> Batches:
        """Returns the same batches without the first `step` of each epoch."""
        return Batches(self.make, self.steps[step:], self.epochs)

    def take(self, count: int) -> Batches:
        """Returns the same batches, but at most the first `count` of each epoch."""
        check_count("count", count)
        return Batches(self.make, self.steps[:count], self.epochs)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Any]:
        epoch = self.epochs.begin()
        return (self.make(epoch, step) for step in self.steps)

    def on_epoch_begin(self) -> None:
        """Asks for the number of the epoch."""
        self._epoch = self.epochs.begin()

    def __getitem__(self, index: int) -> Any:
        epoch, step = self._epoch, self.steps[index]
        ahead, self._ahead = self._ahead, None
        if ahead is not None and ahead[0] == (epoch, step):
            batch = ahead[1].result()
        else:
            batch = self.make(epoch, step)
        if index + 1 < len(self):
            following = epoch, self.steps[index + 1]
            self._ahead = following, self._thread.submit(self.make, *following)
        return batch

    @functools.cached_property
    def _thread(self) -> concurrent.futures.ThreadPoolExecutor:
        return concurrent.futures.ThreadPoolExecutor(1)
