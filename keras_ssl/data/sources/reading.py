"""An `ImageSet` of files that were found: decoded once into memory, or when they are needed."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import logging
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_ssl import _log
from keras_ssl.data.image_set import ByPython, ImageSet, Places
from keras_ssl.data.sources import files, raw
from keras_ssl.data.sources.arrays import from_arrays

_logger = logging.getLogger("keras_ssl")

# Sets up to this size are kept in memory; of larger ones, files are decoded again in every epoch.
_MEMORY_LIMIT = 4 * 2**30
# Sets of up to this many files are decoded at once: 8 s at 0.8 ms each.
_DECODED_AT_ONCE = 10_000
# Files that are looked at to learn what the others are.
_SAMPLED = 100
# Files that are checked at the same time: more than cores, because a network disk answers late.
_CHECKERS = 32
# Files that are tried in place of one that cannot be read any more.
_MOST_REPLACEMENTS = 100
# Files are fetched by several threads.
_NOTING = threading.Lock()


class Decoding(NamedTuple):
    """How each file of a set becomes an image.

    Attributes:
        size: Height and width, in pixels.
        channels: Number of channels.
        scaling: Scaling of measurements, or `None` for photos; see `raw.py`.
        numbers: Name of the type that the numbers of all measurements have, or `None` for any.
    """

    size: int
    channels: int
    scaling: raw.Scaling | None
    numbers: str | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images."""
        return (self.size, self.size, self.channels)

    @property
    def dtype(self) -> type:
        """The type of the images: bytes, or floats in [0, 1]."""
        return np.uint8 if self.scaling is None else np.float32

    def read(self, path: files.File) -> np.ndarray:
        """Reads a file; an error of any kind says that it cannot be read."""
        if self.scaling is None:
            return files.read(path, self.size, self.channels)
        return raw.read(path, self.size, self.channels, self.scaling, self.numbers)


def check_channels(channels: Any, possible: Sequence[int] = ()) -> None:
    """Raises unless `channels` is `None` or a count, and one of those that are possible, if any."""
    is_count = isinstance(channels, int) and not isinstance(channels, bool) and channels > 0
    if channels is not None and not (is_count and (not possible or channels in possible)):
        numbers = ", ".join(map(str, possible)) or "a whole number above 0"
        raise ValueError(
            f"`channels` must be {numbers} or None for these files. Received: channels={channels!r}"
        )


def choose_decoding(
    where: str,
    paths: Sequence[files.File],
    size: int,
    channels: int | None,
    scaling: raw.Scaling | None,
) -> Decoding:
    """Looks at a hundred files, and chooses what is not given.

    Args:
        where: Name of the folder or manifest.
        paths: All files, at least one.
        size: Height and width of the images, in pixels.
        channels: See `keras_ssl.data.from_folder`.
        scaling: See `keras_ssl.data.from_folder`.

    Raises:
        ValueError: if most of the files are measurements, and the others something else; if
            `channels` or `scaling` do not go with the files.
    """
    some = paths[:: len(paths) // _SAMPLED + 1]
    kinds: dict[files.File, raw.Kind | None] = {}
    for path in some if scaling != () else ():
        try:
            kinds[path] = raw.kind(path)
        except ImportError as error:  # Without the package, such files would be read in part.
            raise ValueError(str(error)) from error
        except files.UNREADABLE:
            pass
    found = collections.Counter(kinds.values())
    measured = sum(count for kind, count in found.items() if kind is not None)
    if scaling == () or (scaling is None and measured * 2 <= len(kinds)):
        check_channels(channels, (1, 3, 4))
        if channels is None:
            channels = 1 if all(files.is_gray(path) for path in some) else 3
        if scaling is None and measured:
            names = [f"{path} ({kind})" for path, kind in kinds.items() if kind is not None]
            warnings.warn(
                f"{measured} of {len(kinds)} files in {where} that were looked at are measurements "
                "beside photos, and become 8 bits, from 0 to the largest number of their type, or "
                "are left out: put them into a folder of their own to have them scaled. They are: "
                f"{first(names)}",
                stacklevel=4,
            )
        return Decoding(size, channels, None)

    (most, _), *_ = found.most_common() or [(None, 0)]
    # A run that goes on takes what it began with, and `channels` says that files may differ.
    numbers = None if most is None or channels or scaling else most.dtype
    if channels is None:
        if others := [path for path, kind in kinds.items() if kind != most]:
            raise ValueError(
                f"`path` must hold files of one kind, as most files in {where} are {most}; pass "
                f"`channels` if they may differ. Received: {len(others)} of {len(kinds)} files "
                f"that were looked at differ: {first([f'{p} ({kinds[p]})' for p in others])}"
            )
        channels = 3 if most is None else most.channels
    if scaling is None:
        alike = [path for path, kind in kinds.items() if kind is not None]
        scaling, count = raw.measure(alike, most.dtype if most else "uint8", channels)
        _log.say(
            f"{where}: {most}; {raw.describe(scaling)} becomes 0 to 1, measured on {count} files."
        )
    if len(scaling) not in (1, channels):
        raise ValueError(
            f"`scaling` must have one pair, or one for each of {channels} channels. "
            f"Received: scaling={scaling}"
        )
    return Decoding(size, channels, scaling, numbers)


def read_files(
    where: str,
    root: str,
    found: Sequence[str],
    unreadable: Sequence[str],
    decoding: Decoding,
    classes: Callable[..., tuple[np.ndarray | None, Sequence[str] | None]],
    in_memory: bool | None = None,
) -> ImageSet:
    """Makes an image set of the files that can be read; a warning names the others.

    Args:
        where: Name of the folder or manifest.
        root: The folder that paths are relative to.
        found: Paths of files that may be read.
        unreadable: Paths of pictures that cannot be read.
        decoding: How a file becomes an image.
        classes: Function from the paths that can be read, and their places in `found`, to labels
            and names of classes; `None` and `None` if there are none.
        in_memory: See `keras_ssl.data.from_folder`.

    Raises:
        ValueError: if no file can be read, or files have different numbers of channels.
    """
    if in_memory is None:
        in_memory = _bytes(len(found), decoding) <= _MEMORY_LIMIT
    good, pixels, why = _check(where, root, found, decoding, in_memory)
    is_good = np.zeros(len(found), bool)
    is_good[good] = True
    skipped = sorted([*unreadable, *(found[i] for i in range(len(found)) if not is_good[i])])
    readable = [found[i] for i in good]
    named = f"{first(skipped)}{files.hints(skipped)}{why}"
    if not readable:
        raise ValueError(
            f"`path` must hold images that can be read. Received: {where}, where none of "
            f"{len(skipped)} can: {named}"
        )
    if skipped:
        warnings.warn(
            f"{len(skipped)} of {len(skipped) + len(readable)} images in {where} cannot be read "
            f"and are skipped: {named}",
            stacklevel=3,
        )
    numbers, class_names = classes(readable, good)
    names = tuple(files.join(root, file) for file in readable)
    lost = tuple(files.join(root, file) for file in skipped)
    common: dict[str, Any] = {"names": names, "scaling": decoding.scaling}
    if pixels is not None:
        if skipped:
            pixels = pixels[good]
        images = from_arrays(pixels, numbers, class_names, lost)
        return dataclasses.replace(images, **common)

    of_each = np.full(len(names), -1) if numbers is None else numbers
    replaced: list[str] = []
    memory = _Memory(len(names), decoding) if in_memory else None
    reader = Reader(names, of_each, decoding, replaced, memory)
    return ImageSet(
        keys=Places(np.arange(len(names)), of_each.astype(np.int64)),
        fetch=reader.fetch,
        reader=reader,
        size=len(names),
        image_shape=decoding.shape,
        class_names=None if class_names is None else tuple(class_names),
        skipped=lost,
        replaced=replaced,
        **common,
    )


def _check(
    where: str, root: str, found: Sequence[str], decoding: Decoding, in_memory: bool
) -> tuple[list[int], np.ndarray | None, str]:
    """The places of files that can be read, the pixels of all if they were decoded, and a reason.

    The reason says why the first of the other files cannot be read: "" or " (...)".
    """
    places = range(len(found))
    if not in_memory or len(found) > _DECODED_AT_ONCE:
        # To look at each file of a bucket would take longer than to train on it.
        if files.has_scheme(root):
            return list(places), None, ""
        blocks = [places[i : i + 256] for i in range(0, len(places), 256)]

        def readable(block: Sequence[int]) -> list[int]:
            return [i for i in block if files.looks_readable(files.join(root, found[i]))]

        with concurrent.futures.ThreadPoolExecutor(_CHECKERS) as pool:
            return [i for block in pool.map(readable, blocks) for i in block], None, ""

    pixels: np.ndarray = np.empty((len(found), *decoding.shape), decoding.dtype)
    others, reasons = [], {}

    def is_readable(i: int) -> bool:
        try:
            pixels[i] = decoding.read(files.join(root, found[i]))
        except raw.OtherKindError as error:
            others.append(str(error))
            return False
        except files.UNREADABLE as error:
            reasons[i] = f" ({found[i]}: {type(error).__name__}: {error})"
            return False
        return True

    with concurrent.futures.ThreadPoolExecutor() as pool:
        good = np.flatnonzero(list(pool.map(is_readable, places)))
    if others:
        alike = " and one type of numbers; pass `channels` if they may differ"
        raise ValueError(
            f"`path` must hold images of {decoding.channels} channels"
            f"{alike if decoding.numbers else ''}. Received: {where}, where "
            f"{len(others)} of {len(found)} differ: {first(sorted(others))}"
        )
    why = reasons[min(reasons)] if reasons else ""
    return [int(i) for i in good], pixels, why


def _bytes(count: int, decoding: Decoding) -> int:
    return int(count * np.prod(decoding.shape) * np.dtype(decoding.dtype).itemsize)


def first(texts: Sequence[str]) -> str:
    """At most ten texts as one."""
    return f"{', '.join(texts[:10])}{', ...' if len(texts) > 10 else ''}"


def note(replaced: list[str], name: str, error: Exception) -> None:
    """Adds a file to the list of those that cannot be read, and names it in the log, once."""
    with _NOTING:
        if name in replaced:
            return
        replaced.append(name)
    _logger.warning(
        "%s cannot be read, and another image takes its place: %s: %s",
        name,
        type(error).__name__,
        error,
    )


class _Memory:
    """Images that were decoded once, and no others that took their place."""

    def __init__(self, count: int, decoding: Decoding) -> None:
        # The system gives memory to a page when it is first written to.
        self.pixels: np.ndarray = np.empty((count, *decoding.shape), decoding.dtype)
        self.is_there = np.zeros(count, bool)

    def get(self, index: int, read: Callable[[], np.ndarray]) -> np.ndarray:
        """The image at a place, which is read if it is not there."""
        if not self.is_there[index]:
            self.pixels[index] = read()
            self.is_there[index] = True
        return self.pixels[index]


class Reader:
    """Reads files when they are needed, and another, of the same class if one can be read.

    Args:
        names: Paths of all files.
        labels: Label of each file.
        decoding: How a file becomes an image.
        replaced: Gets the path of each file that another takes the place of.
        memory: Keeps what was read, if not `None`.
        members: Places of the files that may take another's place. Default: all.
    """

    def __init__(
        self,
        names: Sequence[str],
        labels: np.ndarray,
        decoding: Decoding,
        replaced: list[str],
        memory: _Memory | None = None,
        members: np.ndarray | None = None,
    ) -> None:
        self.names, self.labels, self.decoding = names, labels, decoding
        self.replaced, self.memory = replaced, memory
        self.members = np.arange(len(names)) if members is None else members

    def narrowed(self, places: np.ndarray) -> "Reader":
        """A reader of some of the members, given by their places among them."""
        members = self.members[places]
        return Reader(self.names, self.labels, self.decoding, self.replaced, self.memory, members)

    def to_decode(self) -> np.ndarray:
        """Returns the places among the members of those that will be kept, and are not yet."""
        if self.memory is None:
            return np.array([], int)
        return np.flatnonzero(~self.memory.is_there[self.members])

    @property
    def fetch(self) -> ByPython:
        """The function of an `ImageSet` of the files."""
        return ByPython(self.read, self.decoding.shape, self.decoding.dtype)

    def read(self, index: Any) -> np.ndarray:
        """The image of the file at a place, or of the file that takes its place."""
        name = self.names[index]
        try:
            if self.memory is not None:
                return self.memory.get(index, lambda: self.decoding.read(name))
            return self.decoding.read(name)
        except files.UNREADABLE as error:
            note(self.replaced, name, error)
        # The choice follows from the file's place, so that a resumed run makes the same one.
        alike = self.members[self.labels[self.members] == self.labels[index]]
        if len(alike) < 2:  # Few images, which are only looked at, may have one of a class.
            alike = self.members
        for other in np.random.default_rng(int(index)).permutation(alike)[:_MOST_REPLACEMENTS]:
            with contextlib.suppress(files.UNREADABLE):
                return self.decoding.read(self.names[other])
        raise ValueError(f"{name} cannot be read any more, and no other file of its class can")
