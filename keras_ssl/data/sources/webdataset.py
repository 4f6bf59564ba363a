"""Shards of the WebDataset format: tar files in which files of one name are one sample."""

import contextlib
import os
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Any

from keras_ssl._tensorflow import tf
from keras_ssl.data.sources import files, shards
from keras_ssl.data.stream import Stream

_LABEL = "cls"
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error)


def from_webdataset(
    paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    image_size: int = 128,
    channels: int | None = None,
    examples: int | None = None,
    image: str | None = None,
    label: str | None = None,
    class_names: Sequence[str] | None = None,
    labels: bool = True,
    scaling: Sequence[Sequence[float]] | None = None,
    shuffle_buffer: int = shards.SHUFFLE_BUFFER,
) -> Stream:
    """Makes an image set of tar files in the WebDataset format, which are read as they are needed.

        data.from_webdataset("photos-{000..099}.tar")

    Files that follow each other and differ only in what comes after the first dot of their name are
    one sample: `0001.jpg` and its class `0001.cls`. The shards are read as those of
    `from_tfrecords` are.

    Args:
        paths: See `from_tfrecords`; ".tar.gz" and ".tgz" are decompressed.
        image_size: See `from_folder`.
        channels: See `from_folder`; the first 100 images are looked at.
        examples: See `from_tfrecords`.
        image: Extension of the images, such as "jpg". Default: the first file of a sample that
            Pillow reads.
        label: Extension of the files with the class, a whole number from 0 as text. Default: "cls",
            if the first sample has one.
        class_names: See `from_tfrecords`.
        labels: Whether labels are used.
        scaling: See `from_folder`.
        shuffle_buffer: See `from_tfrecords`.

    Returns:
        A `Stream`, which is an `ImageSet`.

    Raises:
        TypeError: if `paths` are not paths.
        ValueError: if there are no such shards, if they are not tar files, if samples lack the
            image or the label, or if there are no images that can be read.

    Example:
        The largest class is 1, so that there are two.

        >>> import pathlib
        >>> import tarfile
        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (8, 8)).save(f"{folder}/1.png")
        ...     _ = pathlib.Path(folder, "1.cls").write_text("1", encoding="utf-8")
        ...     with tarfile.open(f"{folder}/photos-0.tar", "w") as shard:
        ...         for name in ("1.png", "1.cls"):
        ...             shard.add(f"{folder}/{name}", name)
        ...     stream = from_webdataset(f"{folder}/photos-*.tar", image_size=8)
        >>> len(stream), stream.image_shape, stream.class_names
        (1, (8, 8, 3), ('0', '1'))
    """
    shards.check_names(image=image, label=label)
    names = shards.expand(paths)
    images = _extensions() if image is None else {image.lstrip(".").lower()}
    wanted = {*images, label or _LABEL} if labels else images
    first = next((sample for name in names for sample in _samples(name, wanted)), None)
    if labels and label is None and first is not None and _LABEL in first[1]:
        label = _LABEL
    elif not labels:
        label = None

    def read(name: str) -> Iterator[tuple[files.Encoded, int]]:
        for sample, parts in _samples(name, wanted):
            chosen = next((part for part in parts if part in images), None)
            if chosen is None or (label is not None and label not in parts):
                argument = "image" if chosen is None else "label"
                given = image if chosen is None else label
                raise ValueError(
                    f"`{argument}` must be an extension of each sample. Received: "
                    f"{argument}={given!r}, and {sample} of {name} with {', '.join(parts)}"
                )
            number = -1 if label is None else _whole(parts[label], sample, name)
            yield files.Encoded(f"{sample}.{chosen} of {name}", parts[chosen]), number

    def count(name: str) -> int:
        return sum(1 for _ in _samples(name, set()))

    return shards.as_stream(
        shards.name_of(paths, names),
        names,
        read,
        shards.count_in(names, count),
        image_size,
        channels,
        scaling,
        examples,
        shuffle_buffer,
        class_names,
    )


def _extensions() -> set[str]:
    return {suffix[1:] for suffix in files.readable_suffixes()}


def _samples(name: str, wanted: set[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The samples of a shard: their names, and files by extension, those not `wanted` empty."""
    sample, parts = None, dict[str, bytes]()
    try:
        # In a file on a disk, what is not wanted is skipped, and not read.
        mode: Any = "r|*" if files.has_scheme(name) else "r:*"
        with _open(name) as file, tarfile.open(fileobj=file, mode=mode) as tar:
            while (member := tar.next()) is not None:
                # `tar` would keep all members, to find them again.
                tar.members.clear()  # type: ignore[attr-defined]
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if not member.isfile() or not stem:
                    continue
                if f"{folder}/{stem}" != sample:
                    if sample is not None:
                        yield sample.lstrip("/"), parts
                    sample, parts = f"{folder}/{stem}", {}
                extension = extension.lower()
                content: Any = tar.extractfile(member) if extension in wanted else None
                parts[extension] = b"" if content is None else content.read()
    except _BROKEN as error:
        after = "at its beginning" if sample is None else f"after {sample.lstrip('/')}"
        raise ValueError(
            f"`paths` must hold tar files that can be read. Received: {name}, broken {after} "
            f"({error})"
        ) from error
    if sample is not None:
        yield sample.lstrip("/"), parts


@contextlib.contextmanager
def _open(name: str) -> Iterator[IO[bytes]]:
    """Opens a shard to be read from its beginning."""
    if not files.has_scheme(name):
        with open(name, "rb") as file:
            yield file
        return
    try:
        with tf.io.gfile.GFile(name, "rb") as file:
            yield file
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _whole(text: bytes, sample: str, name: str) -> int:
    """The number in a file."""
    try:
        return int(text)
    except ValueError as error:
        raise ValueError(
            "`label` must be the extension of files with a whole number. "
            f"Received: {text[:40]!r} in {sample} of {name}"
        ) from error
