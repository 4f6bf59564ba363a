"""What all sources in shards have in common: names, a look at their beginnings, and a `Stream`."""

import contextlib
import operator
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_ssl import _log
from keras_ssl._tensorflow import check_installed, tf
from keras_ssl._validation import check_count, check_optional_count
from keras_ssl.data.image_set import ByPython
from keras_ssl.data.sources import files, raw, reading
from keras_ssl.data.sources.resizing import check_image_size
from keras_ssl.data.stream import Read, Stream, beginning, evenly, in_order

# Encoded images that are held in memory to be shuffled: 1 GiB at 100 KB each.
SHUFFLE_BUFFER = 10_000
# Images that are looked at to learn what the others are, and from how many shards.
SAMPLED, _SAMPLED_SHARDS = 100, 10
# Images whose labels are looked at to learn how many classes there are: of the 1,000 classes of
# ImageNet in any order, the last one is missed once in 20,000 times.
_LABELED, _LABELED_SHARDS = 10_000, 100
# Images that take the place of those that cannot be read.
_STAND_INS = 10
# Shards of a bucket that are looked for: one by one, thousands would take minutes.
_LOOKED_FOR = 100

_BRACES = re.compile(r"\{([^{}]*)\}")
_TFRECORD = re.compile(r"\.tfrec(ord)?s?\b")
_TAR = re.compile(r"\.(tar|tar\.gz|tgz)$")


def is_tfrecord(name: str) -> bool:
    """Whether a path is one of TFRecords, such as "a.tfrecord-00000-of-00010"."""
    return _TFRECORD.search(os.path.basename(name)) is not None


def is_tar(name: str) -> bool:
    """Whether a path is one of tar files."""
    return _TAR.search(name) is not None


def is_shards(name: str) -> bool:
    """Whether a path is one of shards, by its name."""
    return is_tfrecord(name) or is_tar(name)


def check_names(**names: Any) -> None:
    """Raises unless each argument is a text or `None`."""
    for argument, name in names.items():
        if not isinstance(name, (str, type(None))):
            raise TypeError(f"`{argument}` must be a text. Received: {argument}={name!r}")


def expand(paths: Any) -> tuple[str, ...]:
    """Returns the shards that a path or several name, sorted where they are found.

    Args:
        paths: A path or several, which may hold braces, as `{000..099}` and `{train,extra}`, and
            the wildcards `*`, `?` and `[...]`. A path may have a scheme that `tf.io.gfile` reads.

    Raises:
        TypeError: if they are not paths.
        ValueError: if there are no such shards.
    """
    check_installed("images in shards")
    given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
    if not isinstance(given, Sequence) or not all(isinstance(p, (str, os.PathLike)) for p in given):
        raise TypeError(
            "`paths` must be a path, or a list of paths. "
            f"Received: paths of type {type(paths).__name__}"
        )
    names = [name for path in given for name in _without_braces(os.fspath(path))]
    found: dict[str, None] = {}
    missing = []
    step = len(names) // _LOOKED_FOR + 1
    for i, name in enumerate(names):
        is_trusted = bool(files.has_scheme(name) and i % step)
        try:
            matches = [name] if is_trusted else _matches(name)
        except tf.errors.OpError as error:
            raise ValueError(
                "`paths` must name shards that can be looked for. "
                f"Received: {name}; {' '.join(error.message.split())}"
            ) from error
        found.update(dict.fromkeys(matches))
        missing += [] if matches else [name]
    if missing or not found:
        raise ValueError(
            "`paths` must name shards that exist. "
            f"Received: {reading.first(missing) or repr(paths)}, which "
            f"{'do' if len(missing) > 1 else 'does'} not"
        )
    return tuple(found)


def _without_braces(text: str) -> list[str]:
    """All texts that a text with braces stands for."""
    found = _BRACES.search(text)
    if found is None:
        return [text]
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", found[1])
    if numbers:
        first, last = int(numbers[1]), int(numbers[2])
        choices = [f"{i:0{len(numbers[1])}d}" for i in range(first, last + 1)]
    else:
        choices = found[1].split(",") if "," in found[1] else [found[0]]
    rests = _without_braces(text[found.end() :])
    return [text[: found.start()] + choice + rest for choice in choices for rest in rests]


def _matches(name: str) -> list[str]:
    """The files that a name with wildcards stands for, sorted."""
    if not re.search(r"[*?[]", name) or files.is_file(name):
        return [name] if files.is_file(name) else []
    try:
        return sorted(match for match in tf.io.gfile.glob(name) if files.is_file(match))
    except tf.errors.NotFoundError:  # There is no such folder.
        return []


def name_of(paths: Any, shards: Sequence[str]) -> str:
    """What messages call the shards that a path or several name."""
    return str(paths) if isinstance(paths, (str, os.PathLike)) else f"{shards[0]}, ..."


def as_stream(
    where: str,
    shards: Sequence[str],
    read: Read,
    count: Callable[[], int],
    image_size: int,
    channels: int | None,
    scaling: Any,
    examples: int | None,
    shuffle_buffer: int,
    class_names: Sequence[str] | None,
) -> Stream:
    """Makes a stream of shards, after a look at their beginnings.

    Args:
        where: Name of all shards, for messages.
        shards: Names of the shards.
        read: See `Stream`.
        count: Function that counts the images of all shards.
        image_size: See `keras_ssl.data.from_folder`.
        channels: See `keras_ssl.data.from_folder`.
        scaling: See `keras_ssl.data.from_folder`.
        examples: Images of an epoch. Default: `count()`.
        shuffle_buffer: Encoded images that are shuffled at a time.
        class_names: Names of the classes. Default: their numbers, up to the largest label of the
            first 10,000 images; none if the first image has no label.

    Raises:
        ValueError: if there are no images that can be read, or anything else is wrong with them.
    """
    check_installed("images that are read as they come")
    shards = tuple(shards)
    size, ranges = check_image_size(image_size), raw.check_scaling(scaling)
    reading.check_channels(channels)
    examples = check_optional_count("examples", examples)
    shuffle_buffer = check_count("shuffle_buffer", shuffle_buffer)
    sample = list(beginning(evenly(shards, _SAMPLED_SHARDS), read, SAMPLED))
    images = decoder(where, [file for file, _ in sample], size, channels, ranges)
    if sample[0][1] >= 0:
        if class_names is None:
            first = beginning(evenly(shards, _LABELED_SHARDS), read, _LABELED)
            class_names = [str(i) for i in range(1 + max(label for _, label in first))]
        read = _checked(read, len(class_names))
    elif class_names is not None:
        raise ValueError(
            f"`class_names` must come with labels. Received: {where}, which has no labels"
        )
    if examples is None:
        examples = count()

    def read_key(key: np.ndarray) -> np.ndarray:
        return images.read(files.Encoded(os.fsdecode(key[0]), key[1]))

    return Stream(
        keys=in_order(shards, read).take(examples),
        fetch=ByPython(read_key, images.decoding.shape, images.decoding.dtype),
        size=examples,
        image_shape=images.decoding.shape,
        class_names=None if class_names is None else tuple(map(str, class_names)),
        shuffle_buffer=min(examples, shuffle_buffer),
        replaced=images.replaced,
        name_of=operator.itemgetter(0),
        scaling=images.decoding.scaling,
        shards=shards,
        read=read,
    )


class Decoder(NamedTuple):
    """Decodes images, and another one in place of each that cannot be read.

    Attributes:
        decoding: How each becomes an image.
        stand_ins: Some that can be read.
        replaced: Gets the name of each that another takes the place of.
    """

    decoding: reading.Decoding
    stand_ins: list[files.Encoded]
    replaced: list[str]

    def read(self, file: files.Encoded) -> np.ndarray:
        """Returns the image, or the one that takes its place."""
        try:
            return self.decoding.read(file)
        except files.UNREADABLE as error:
            reading.note(self.replaced, file.name, error)
        # The choice follows from the name, so that a resumed run makes the same one.
        other = self.stand_ins[zlib.crc32(os.fsencode(file.name)) % len(self.stand_ins)]
        return self.decoding.read(other)


def decoder(
    where: str, sample: list[files.Encoded], size: int, channels: int | None, scaling: Any
) -> Decoder:
    """Looks at some images, chooses what is not given, and keeps a few of them as stand-ins.

    Args:
        where: Name of the source.
        sample: The images that are looked at.
        size: Height and width, in pixels.
        channels: See `keras_ssl.data.from_folder`.
        scaling: See `keras_ssl.data.from_folder`.

    Raises:
        ValueError: if none of them can be read.
    """
    if not sample:
        raise ValueError(f"`paths` must hold images. Received: {where}, which is empty")
    decoding = reading.choose_decoding(where, sample, size, channels, scaling)
    stand_ins: list[files.Encoded] = []
    for file in sample:
        with contextlib.suppress(files.UNREADABLE):
            decoding.read(file)
            stand_ins.append(file)
        if len(stand_ins) == _STAND_INS:
            break
    if not stand_ins:
        raise ValueError(
            f"`paths` must hold images that can be read. Received: {where}, where none of "
            f"{len(sample)} can: {reading.first([file.name for file in sample])}"
        )
    return Decoder(decoding, stand_ins, [])


def _checked(read: Read, classes: int) -> Read:
    """Reads the same images, and raises at a label that is not below `classes`."""

    def checked(shard: str) -> Iterator[tuple[files.Encoded, int]]:
        for file, label in read(shard):
            if not 0 <= label < classes:
                raise ValueError(
                    "`class_names` must name the class of every label, from 0. "
                    f"Received: {classes} names, and the label {label} of {file.name}"
                )
            yield file, label

    return checked


def count_in(shards: Sequence[str], count: Callable[[str], int]) -> Callable[[], int]:
    """Returns a function that counts the images of shards on a disk, and refuses those elsewhere.

    Args:
        shards: Names of the shards.
        count: Function that counts the images of one shard.
    """

    def total() -> int:
        if any(files.has_scheme(shard) for shard in shards):
            raise ValueError(
                "`examples`, the number of images of an epoch, must be given for shards of a "
                f"bucket: to count them would be to read them. Received: {shards[0]}"
            )
        number = sum(map(count, shards))
        _log.say(f"  {number:,} images in {len(shards)} shards")
        return number

    return total
