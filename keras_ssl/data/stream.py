"""`Stream`: images in shards, large files of many images that are read from their beginning."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_ssl import _require
from keras_ssl._python import until_the_end
from keras_ssl._tensorflow import tf
from keras_ssl._validation import check_count
from keras_ssl.data.image_set import ImageSet
from keras_ssl.data.sources.files import Encoded

# Images of a shard in order, each with its label, or -1.
Read = Callable[[str], Iterable[tuple[Encoded, int]]]

# Shards that are read in turns. More mix better, and each is an open file. Orders depend on it.
_IN_TURNS = 16
# A few images of all are taken from the beginnings of at most so many shards.
_SPREAD_OVER = 100

# Images that Python hands over to TensorFlow at a time, which takes a millisecond.
_BLOCK = 32


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Stream(ImageSet):
    """Images in shards, which are read as they are needed and never listed.

    An epoch visits the shards in a new order, 16 of them in turns, and shuffles their encoded
    images in a buffer. All of that follows from the seed. An epoch has `size` images: if the shards
    hold more, it stops there; if they hold fewer, it goes on from its beginning.

    A stream has no places, so `subset` is refused. `spread` gives an ordinary image set of the
    first images of the shards.

    Attributes:
        shards: Names of the shards.
        read: Function from the name of a shard to its images, in order: pairs of a
            `keras_ssl.data.sources.files.Encoded` and a label, -1 without labels. A `ValueError`
            says what is wrong with the shard.

    Example:
        `from_webdataset` and `from_tfrecords` return it. An epoch may visit one image 100 times.

        >>> import tarfile
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_ssl import data
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8)).save(f"{folder}/0.png")
        ...     with tarfile.open(f"{folder}/photos-0.tar", "w") as shard:
        ...         shard.add(f"{folder}/0.png", "0.png")
        ...     stream = data.from_webdataset(f"{folder}/photos-*.tar", image_size=8, examples=100)
        >>> len(stream), len(stream.shards)
        (100, 1)
    """

    shards: tuple[str, ...]
    read: Read

    def shuffled_keys(self, seed: Any, first: Any = 0) -> tf.data.Dataset:
        """See `ImageSet.shuffled_keys`; images that are left out are read, but not decoded."""
        names = tf.data.Dataset.from_tensor_slices(list(self.shards))
        names = names.shuffle(len(self.shards), seed=seed, reshuffle_each_iteration=False)
        keys = in_turns(names, self.read, min(len(self.shards), _IN_TURNS)).take(self.size)
        keys = keys.shuffle(
            self.shuffle_buffer or self.size, seed=seed, reshuffle_each_iteration=False
        )
        return keys.skip(first)

    def spread(self, count: int) -> ImageSet:
        """Returns at most `count` images, as many from the beginning of each of some shards."""
        count = min(int(check_count("count", count)), self.size)
        some = evenly(self.shards, min(count, _SPREAD_OVER))
        others = [shard for shard in self.shards if shard not in some]
        names = tf.data.Dataset.from_tensor_slices([*some, *others])
        # The size of a part is an estimate: better to miss an image than to have it twice.
        return self._listed(once_in_turns(names, self.read, len(some)).take(count), count)

    def sample(self, count: int, seed: int = 0) -> tuple[tuple[Any, ...], Any, list[str]]:
        """See `ImageSet.sample`; captions count the images of the sample."""
        return self.spread(count).sample(count, seed)

    def in_memory(self, limit: int = 2**31) -> ImageSet:
        """See `ImageSet.in_memory`; what is in memory is not a stream any more."""
        listed = self._listed(self.keys, self.size)
        kept = listed.in_memory(limit)
        return self if kept is listed else kept

    def subset(self, indices: Any) -> ImageSet:
        """Raises, as a stream knows no places."""
        raise ValueError(
            "`images` stream from shards, and cannot be chosen by their places: take some of them "
            f"first, by images.spread(10000). Received: indices={indices!r}"
        )

    def without_labels(self) -> Stream:
        """Returns the same images without their labels."""
        read = self.read
        unlabeled = self._reading(lambda shard: ((file, -1) for file, _ in read(shard)), self.size)
        return dataclasses.replace(unlabeled, class_names=None)

    def parts(self, test_fraction: float, seed: int) -> tuple[Stream, Stream]:
        """Returns the images in two parts, the second of about a fraction of each shard."""
        read, number = self.read, {shard: i for i, shard in enumerate(self.shards)}

        def of(is_test: bool) -> Read:
            def some(shard: str) -> Iterator[tuple[Encoded, int]]:
                drawn = random.Random(f"{seed}, {number[shard]}")
                for image in read(shard):
                    if (drawn.random() < test_fraction) == is_test:
                        yield image

            return some

        test = min(max(round(self.size * test_fraction), 1), self.size - 1)
        sizes = {False: self.size - test, True: test}
        for part in sizes:
            if not any(True for shard in self.shards for _ in of(part)(shard)):
                raise ValueError(
                    "`images` must be enough for two parts. "
                    f"Received: {self.size} images in {len(self.shards)} shards"
                )
        train, held_out = (self._reading(of(part), size) for part, size in sizes.items())
        return train, held_out

    def _reading(self, read: Read, size: int) -> Stream:
        keys = in_order(self.shards, read).take(size)
        return dataclasses.replace(self, read=read, keys=keys, size=size)

    def _listed(self, keys: tf.data.Dataset, size: int) -> ImageSet:
        """An ordinary image set of some of the images."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(ImageSet)}
        return ImageSet(**{**own, "keys": keys, "size": size})


def evenly(shards: tuple[str, ...], count: int) -> list[str]:
    """Returns at most `count` of the shards, evenly spaced."""
    count = min(count, len(shards))
    return [shards[i * len(shards) // count] for i in range(count)]


def beginning(shards: Sequence[str], read: Read, count: int) -> Iterator[tuple[Encoded, int]]:
    """Gives at most `count` images: about as many from the beginning of each shard."""
    done = 0
    for i, shard in enumerate(shards):
        wanted = -(-(count - done) // (len(shards) - i))
        for image in itertools.islice(read(shard), wanted):
            yield image
            done += 1


def in_order(shards: Sequence[str], read: Read) -> tf.data.Dataset:
    """Returns the keys and labels of all images of some shards, one shard after another."""
    return tf.data.Dataset.from_tensor_slices(list(shards)).flat_map(lambda s: _keys(s, read))


def in_turns(names: tf.data.Dataset, read: Read, count: int) -> tf.data.Dataset:
    """Returns the keys and labels of shards, `count` of them at a time, again and again."""
    return once_in_turns(names, read, count).repeat()


def once_in_turns(names: tf.data.Dataset, read: Read, count: int) -> tf.data.Dataset:
    """Returns the keys and labels of shards, `count` of them at a time."""
    return names.interleave(
        lambda shard: _keys(shard, read),
        cycle_length=count,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )


def _keys(shard: Any, read: Read) -> tf.data.Dataset:
    """The images of a shard as keys, (name, encoded image), string (2,), and labels."""
    signature = (tf.TensorSpec((None, 2), tf.string), tf.TensorSpec((None,), tf.int64))
    return tf.data.Dataset.from_generator(
        functools.partial(_blocks, read), args=(shard,), output_signature=signature
    ).unbatch()


def _blocks(read: Read, shard: bytes) -> Iterator[tuple[np.ndarray, list[int]]]:
    """The keys and labels of a shard in blocks."""
    images = iter(read(shard.decode()))
    next_block = until_the_end(lambda: list(itertools.islice(images, _BLOCK)))
    try:
        while block := next_block():
            keys = [[os.fsencode(file.name), file.content] for file, _ in block]
            yield np.array(keys, object), [label for _, label in block]
    except ValueError as error:
        raise ValueError(_require.marked(str(error))) from error
