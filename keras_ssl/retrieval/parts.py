"""`Parts`: what is embedded already, in whole files, so that a killed `embed` goes on."""

import contextlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_ssl._files import (
    DamagedFileError,
    FolderLock,
    partial_files,
    read_json,
    whole,
    write_json,
)

_IDENTITY = "identity.json"
_SUFFIX = ".parts"
_NAME = re.compile(r"part-(\d+)-(\d+)\.npz")


class Part(NamedTuple):
    """Features of consecutive images.

    Attributes:
        kept: int64 (N,): the places of the images that could be read, among all images.
        features: float32 (N, D).
    """

    kept: np.ndarray
    features: np.ndarray


def differing(found: Mapping[str, Any], identity: Mapping[str, Any]) -> list[str]:
    """What of an identity differs from one that was found, which may be of an earlier version."""
    if not found:
        return sorted(identity)
    return sorted(key for key in identity if key in found and found[key] != identity[key])


class Parts:
    """A folder of parts beside the file that will be made of them, locked against other processes.

    A part is named after its first image and the number of its images, those that could not be read
    included. It is written whole, so that those in the folder are complete.

    Args:
        out: The file that will be made of the parts. Their folder is `out` with ".parts" behind.
        identity: What the features depend on, in JSON's types: parts of another identity are
            refused.
        anew: Whether parts of another identity are deleted instead.

    Raises:
        ValueError: if the folder holds parts of another identity, or another process writes to it.
    """

    def __init__(
        self, out: str | os.PathLike[str], identity: Mapping[str, Any], anew: bool = False
    ) -> None:
        self.folder = pathlib.Path(f"{os.fspath(out)}{_SUFFIX}")
        try:
            self._lock = FolderLock(self.folder)
        except BlockingIOError:
            raise ValueError(
                f"`out` must be written by one process at a time. Received: out={os.fspath(out)!r},"
                f" whose parts in {self.folder} another process writes"
            ) from None
        try:
            self._check(identity, anew)
        except BaseException:
            self._lock.release()
            raise

    def _check(self, identity: Mapping[str, Any], anew: bool) -> None:
        """Takes up the parts if they are of this identity; else raises, or deletes them."""
        file = self.folder / _IDENTITY
        found = {}
        if file.is_file():
            with contextlib.suppress(*([DamagedFileError] if anew else [])):
                found = read_json(file, "Delete its folder, or pass `overwrite`.")
        other = differing(found, identity)
        if found and other and not anew:
            raise ValueError(
                f"`out` has parts in {self.folder} that were made with another "
                f"{' and another '.join(other)}: delete that folder, pass `overwrite`, or name "
                f"another `out`. Received: out={str(self.folder)[: -len(_SUFFIX)]!r}"
            )
        # Left are what a kill has cut off, and what lies behind a part that somebody deleted.
        kept = [] if other else [file, *self.files()]
        for old in {*self.folder.glob("part-*"), *partial_files(self.folder)}:
            if old not in kept:
                old.unlink()
        if other:
            write_json(file, identity)

    def files(self) -> list[pathlib.Path]:
        """Returns the parts in order, as far as none is missing."""
        files, done = [], 0
        for file in sorted(self.folder.glob("part-*.npz")):
            place = _NAME.fullmatch(file.name)
            if place is None or int(place[1]) != done:
                continue
            files.append(file)
            done += int(place[2])
        return files

    @property
    def done(self) -> int:
        """How many of the images, from the first, are in parts."""
        names = (_NAME.fullmatch(file.name) for file in self.files())
        return sum(int(name[2]) for name in names if name)

    def write(self, first: int, count: int, part: Part) -> None:
        """Writes the part of `count` images from `first` on."""
        with whole(self.folder / f"part-{first:012}-{count}.npz") as partial:
            np.savez(partial, **part._asdict())

    def __iter__(self) -> Iterator[Part]:
        for file in self.files():
            with np.load(file) as arrays:
                yield Part(arrays["kept"], arrays["features"])

    def remove(self) -> None:
        """Deletes the folder."""
        self._lock.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def close(self) -> None:
        """Lets other processes write to the folder."""
        self._lock.release()
