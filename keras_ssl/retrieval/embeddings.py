"""`Embeddings`: features of images with their paths, in one .npz, CSV or Parquet file.

Features are written and read block by block, so that they never have to fit into memory: those of
an .npz file are memory-mapped, those of other files are copied to a temporary file that is.
"""

import csv
import functools
import itertools
import json
import os
import pathlib
import re
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from keras_ssl._files import whole
from keras_ssl._validation import check_count
from keras_ssl.data.sources import files
from keras_ssl.retrieval.tables import TEXT

# Rows that are written or read at a time: 32 MB of 2,048 numbers.
_ROWS = 4096
_UNREADABLE = (OSError, KeyError, ValueError, TypeError, IndexError)
# Where the data of an array begins in an .npz file, in bytes: numpy.save aligns to the same.
_ALIGNMENT = 64


class Embeddings(NamedTuple):
    """Features of images, one row each, in the order of the images.

    Attributes:
        paths: str (N,): the path of each image's file as it was given, or "#0", "#1", ... if the
            images are not files.
        features: float32 (N, D). Of a file they are memory-mapped: a row is read from the disk
            when it is used.
        labels: int64 (N,), or `None` if there are no classes.
        class_names: The name of each label's class, or `None`.
        about: Where the features come from, in JSON's types: the `encoder`, its `fingerprint`, the
            `image_shape`, the `scaling` of measurements (`None` for photos), and the `directory`
            that relative paths begin in. Empty if the file does not say it, as a CSV file.

    Example:
        The labels of a file are the places of its classes' names.

        >>> import os, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path, names = os.path.join(folder, "two.csv"), ["cat", "dog"]
        ...     write_embeddings(path, ["a.png", "b.png"], [np.eye(2)], 2, np.array([1, 0]), names)
        ...     found = read_embeddings(path)
        >>> found.features.shape, found.labels.tolist(), found.class_names
        ((2, 2), [1, 0], ('cat', 'dog'))
    """

    paths: np.ndarray
    features: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    about: dict[str, Any] = {}

    def file(self, row: int) -> str:
        """Returns where the image of a row lies: its path, seen from where it was embedded.

        If it is not there any more, it is the path seen from the current folder.
        """
        path = str(self.paths[row])
        if files.has_scheme(path):
            return path
        there = os.path.join(self.about.get("directory", ""), path)
        return there if os.path.exists(there) else path


class _Content(NamedTuple):
    """What is written: `Embeddings` whose features come in blocks of rows."""

    paths: Sequence[str]
    blocks: Iterable[np.ndarray]
    width: int
    labels: np.ndarray | None
    class_names: Sequence[str] | None
    about: dict[str, Any]


def write_embeddings(
    path: str | os.PathLike[str],
    paths: Sequence[str],
    blocks: Iterable[np.ndarray],
    width: int,
    labels: np.ndarray | None = None,
    class_names: Sequence[str] | None = None,
    about: dict[str, Any] | None = None,
) -> None:
    """Writes embeddings to a file, whole or not at all, with one block of features in memory.

    An .npz file holds `features`, float32 (N, D); `paths`, str (N,); with labels `labels`, int64
    (N,), and `class_names`, str; and `about`, a text in JSON. `numpy.load` reads it. A CSV file has
    the columns `path`, `label` (the name of the class, if there are labels) and `feature_0` to
    `feature_{D - 1}`. A Parquet file has `path`, `label` and `features`, a list of D float32, and
    `about` in the metadata of its schema under "keras_ssl".

    Args:
        path: The file. It ends in .npz, .csv or .parquet.
        paths: The path of each image.
        blocks: The features, float32 (any number of rows, D), together one row for each path.
        width: D.
        labels: See `Embeddings`.
        class_names: See `Embeddings`.
        about: See `Embeddings`.

    Raises:
        ValueError: if the file ends in something else, if pyarrow is missing for Parquet, or if
            there are not as many features as paths.

    Example:
        Two blocks of rows become one array.

        >>> import os, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path, blocks = os.path.join(folder, "three.npz"), [np.eye(2), np.zeros((1, 2))]
        ...     write_embeddings(path, ["a.png", "b.png", "c.png"], blocks, width=2)
        ...     with np.load(path) as arrays:
        ...         arrays["features"].tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    write = _WRITERS[check_suffix("path", path)]
    check_count("width", width)
    if (labels is None) != (class_names is None):
        raise ValueError("`labels` and `class_names` must be given together.")
    content = _Content(
        paths, _counted(blocks, len(paths), width), width, labels, class_names, about or {}
    )
    with whole(path) as partial:
        write(partial, content)


def read_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Reads embeddings from a file that `write_embeddings` wrote, or from one like it.

    The features of an uncompressed .npz file are memory-mapped. Those of CSV and Parquet files are
    copied to a file in the folder for temporary files (the environment variable TMPDIR), of 4 N D
    bytes, which is memory-mapped and ends with the array. So memory holds the paths and the labels,
    and of the features at most a block of rows; of a Parquet file of other programs, at most one of
    its row groups.

    Args:
        path: A file that ends in .npz, .csv or .parquet.

    Returns:
        `Embeddings`.

    Raises:
        ValueError: if the file is missing or damaged, or holds no embeddings.

    Example:
        An .npz file of another program needs no more than `paths` and `features`.

        >>> import os, tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "one.npz")
        ...     np.savez(path, paths=["cat.png"], features=np.array([[0.5, 2.0]], "float32"))
        ...     found = read_embeddings(path)
        ...     found.features.tolist(), found.labels, found.about
        ([[0.5, 2.0]], None, {})
    """
    read = _READERS[check_suffix("path", path)]
    if not os.path.isfile(path):
        raise ValueError(f"`path` must be a file of embeddings. Received: path={os.fspath(path)!r}")
    try:
        found = read(pathlib.Path(path))
    except (*_UNREADABLE, zipfile.BadZipFile, struct.error) as error:
        raise ValueError(
            "`path` must be a file of embeddings that can be read. "
            f"Received: {os.fspath(path)!r}; {type(error).__name__}: {error}"
        ) from error
    shape = found.features.shape
    if len(shape) != 2 or not all(shape) or shape[:1] != found.paths.shape:
        raise ValueError(
            "`path` must hold features (N, D) and as many paths, at least one. Received: "
            f"{os.fspath(path)!r} with features {shape} and paths {found.paths.shape}"
        )
    return found


def place_of(path: str) -> int | None:
    """Returns the place of an image that is not a file, 3 of "#3"; `None` for a file's path."""
    return int(path[1:]) if re.fullmatch(r"#[0-9]+", path) else None


def is_embeddings(path: Any) -> bool:
    """Whether something is the path of a file that may hold embeddings, by its suffix."""
    return isinstance(path, (str, os.PathLike)) and pathlib.Path(path).suffix.lower() in _READERS


def check_suffix(name: str, path: Any) -> str:
    """Returns the suffix of a file of embeddings, or raises if there is no such file format here.

    Args:
        name: Name of the argument, for the message.
        path: The path.
    """
    suffix = pathlib.Path(path).suffix.lower() if isinstance(path, (str, os.PathLike)) else None
    if suffix not in _WRITERS:
        raise ValueError(f"`{name}` must end in {', '.join(_WRITERS)}. Received: {name}={path!r}")
    if suffix == ".parquet":
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise ValueError(
                f"`{name}` must end in .npz or .csv where the package pyarrow is missing (pip "
                f"install pyarrow): {error}. Received: {name}={os.fspath(path)!r}"
            ) from None
    return suffix


def _counted(blocks: Iterable[np.ndarray], count: int, width: int) -> Iterator[np.ndarray]:
    """The blocks as float32, checked: together they have `count` rows of `width` numbers."""
    rows = 0
    for block in blocks:
        rows += len(block)
        if block.shape[1:] != (width,) or rows > count:
            break
        yield np.ascontiguousarray(block, np.float32)
    else:
        if rows == count:
            return
    raise ValueError(
        f"`blocks` must have {count} rows of {width} numbers. Received: {rows} or more rows, the "
        f"last of {block.shape[1:]}"
    )


# --- .npz -----------------------------------------------------------------------------------------


def _write_npz(path: pathlib.Path, content: _Content) -> None:
    with zipfile.ZipFile(path, "w") as archive:  # Not compressed, so that it can be mapped.
        count = len(content.paths)
        array = functools.partial(_write_array, archive)
        array("features", np.dtype("<f4"), (count, content.width), content.blocks)
        array("paths", *_texts(content.paths))
        if content.labels is not None:
            array("labels", np.dtype("<i8"), (count,), [content.labels.astype("<i8")])
            array("class_names", *_texts(content.class_names or ()))
        about = np.array(json.dumps(content.about))
        array("about", about.dtype, (), [about])


def _texts(texts: Sequence[str]) -> tuple[np.dtype, tuple[int], Iterator[np.ndarray]]:
    """The dtype, shape and blocks of an array of texts."""
    dtype = np.dtype(f"<U{max(map(len, texts), default=1) or 1}")
    begins = range(0, len(texts), _ROWS)
    return dtype, (len(texts),), (np.array(texts[i : i + _ROWS], dtype) for i in begins)


def _write_array(
    archive: zipfile.ZipFile,
    name: str,
    dtype: np.dtype,
    shape: tuple[int, ...],
    blocks: Iterable[np.ndarray],
) -> None:
    """Writes one array to an .npz file, block by block."""
    member = zipfile.ZipInfo(f"{name}.npy")
    # A padding of our own moves the array to an aligned place: 30 bytes of header, the name, and
    # the 20 bytes of a large member come before it. Its id is the one that Android's zipalign uses.
    begin = archive.fp.tell() + 30 + len(member.filename) + 20 + 4  # type: ignore[union-attr]
    padding = -begin % _ALIGNMENT
    member.extra = struct.pack("<HH", 0xD935, padding) + bytes(padding)
    with archive.open(member, "w", force_zip64=True) as file:
        header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
        for block in blocks:
            file.write(block.tobytes())


def _read_npz(path: pathlib.Path) -> Embeddings:
    with np.load(path) as archive:
        names = set(archive.files)
        labels = archive["labels"] if {"labels", "class_names"} <= names else None
        return Embeddings(
            archive["paths"],
            _mapped(path, "features.npy") if "features" in names else archive["features"],
            labels,
            None if labels is None else tuple(map(str, archive["class_names"])),
            json.loads(str(archive["about"])) if "about" in names else {},
        )


def _mapped(path: pathlib.Path, name: str) -> np.ndarray:
    """An array of an .npz file, memory-mapped unless it is compressed."""
    with zipfile.ZipFile(path) as archive, open(path, "rb") as file:
        member = archive.getinfo(name)
        if member.compress_type == zipfile.ZIP_STORED:
            # The lengths in a member's own header may differ from those in the archive's directory.
            file.seek(member.header_offset + 26)
            file.seek(sum(struct.unpack("<HH", file.read(4))), os.SEEK_CUR)
            return _map_array(path, file)
        with archive.open(member) as compressed:
            return np.lib.format.read_array(compressed)  # type: ignore[arg-type]


def _map_array(path: pathlib.Path, file: BinaryIO) -> np.ndarray:
    """Maps the array whose .npy header begins here."""
    version = np.lib.format.read_magic(file)
    read: Callable[..., Any] = np.lib.format.read_array_header_1_0
    if version != (1, 0):
        read = np.lib.format.read_array_header_2_0
    shape, fortran_order, dtype = read(file)
    order: Any = "F" if fortran_order else "C"
    return np.memmap(path, dtype, "r", file.tell(), shape, order)


# --- CSV ------------------------------------------------------------------------------------------


def _rows(content: _Content) -> Iterator[tuple[list[str], list[str] | None, np.ndarray]]:
    """Paths, names of classes, and features, block by block."""
    first = 0
    for block in content.blocks:
        chosen = slice(first, first + len(block))
        labels = None
        if content.labels is not None and content.class_names is not None:
            labels = [content.class_names[label] for label in content.labels[chosen]]
        yield list(content.paths[chosen]), labels, block
        first += len(block)


def _write_csv(path: pathlib.Path, content: _Content) -> None:
    with open(path, "w", **TEXT) as file:
        writer = csv.writer(file, lineterminator="\n")
        names = [f"feature_{i}" for i in range(content.width)]
        writer.writerow(["path", *([] if content.labels is None else ["label"]), *names])
        for paths, labels, block in _rows(content):
            for i, row in enumerate(block):
                # The shortest text that reads as the same float32.
                numbers = map(np.format_float_scientific, row)
                writer.writerow([paths[i], *([] if labels is None else [labels[i]]), *numbers])


def _read_csv(path: pathlib.Path) -> Embeddings:
    with open(path, **TEXT) as file:
        reader = csv.reader(file)
        columns = next(reader)
        place = columns.index("path")
        numbers = [i for i, name in enumerate(columns) if name.startswith("feature_")]
        label = columns.index("label") if "label" in columns else None
        paths: list[str] = []
        labels: list[str] = []

        def blocks() -> Iterator[np.ndarray]:
            block, row_count = np.empty((_ROWS, len(numbers)), np.float32), 0
            # Only one row at a time is text: as text, numbers take 15 times as much memory.
            for row in reader:
                paths.append(row[place])
                if label is not None:
                    labels.append(sys.intern(row[label]))
                block[row_count] = [row[i] for i in numbers]
                row_count += 1
                if row_count == _ROWS:
                    yield block
                    row_count = 0
            yield block[:row_count]

        features = _on_disk(blocks(), len(numbers))
    return _embeddings(paths, features, None if label is None else labels)


def _on_disk(blocks: Iterable[np.ndarray], width: int) -> np.ndarray:
    """Copies blocks of features to a file without a name, and returns it memory-mapped."""
    count = 0
    with tempfile.TemporaryFile() as file:
        for block in blocks:
            file.write(np.ascontiguousarray(block.reshape(-1, width), np.float32).data)
            count += len(block)
        file.flush()
        if not count * width:
            return np.empty((count, width), np.float32)
        # The map keeps the file, which has no name and ends with the map.
        return np.memmap(file, np.float32, "r", shape=(count, width))


def _embeddings(
    paths: list[str], features: np.ndarray, labels: list[str] | None, about: Any = None
) -> Embeddings:
    """`Embeddings` of columns, where each label is the name of its class."""
    numbers, names = None, None
    if labels is not None:
        found, numbers = np.unique(labels, return_inverse=True)
        names, numbers = tuple(map(str, found)), numbers.astype(np.int64)
    return Embeddings(np.array(paths), features, numbers, names, about or {})


# --- Parquet --------------------------------------------------------------------------------------


def _write_parquet(path: pathlib.Path, content: _Content) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [("path", pa.string()), ("features", pa.list_(pa.float32(), content.width))]
    if content.labels is not None:
        fields.insert(1, ("label", pa.string()))
    schema = pa.schema(fields, metadata={"keras_ssl": json.dumps(content.about)})
    with pq.ParquetWriter(path, schema) as writer:
        for paths, labels, block in _rows(content):
            # Parquet's texts hold characters only.
            texts = [p.encode("utf-8", "backslashreplace").decode() for p in paths]
            values = pa.FixedSizeListArray.from_arrays(block.reshape(-1), content.width)
            columns = [pa.array(texts), values]
            if labels is not None:
                columns.insert(1, pa.array(labels))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _read_parquet(path: pathlib.Path) -> Embeddings:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        metadata = file.schema_arrow.metadata or {}
        has_labels = "label" in file.schema_arrow.names
        paths: list[str] = []
        labels: list[str] = []

        def blocks() -> Iterator[np.ndarray]:
            columns = ["path", "features", *(["label"] if has_labels else [])]
            # pyarrow 26.0 holds the whole file in memory if it reads all groups at once (measured).
            groups = (
                file.iter_batches(_ROWS, [group], columns, use_threads=False)
                for group in range(file.num_row_groups)
            )
            for batch in itertools.chain.from_iterable(groups):
                paths.extend(batch["path"].to_pylist())
                if has_labels:
                    labels.extend(map(sys.intern, batch["label"].to_pylist()))
                values = batch["features"].flatten().to_numpy(zero_copy_only=False)
                yield values.reshape(len(batch), -1)

        rows = blocks()
        first = next(rows, np.empty((0, 0), np.float32))
        features = _on_disk(itertools.chain([first], rows), first.shape[1])
    about = json.loads(metadata.get(b"keras_ssl", b"{}"))
    return _embeddings(paths, features, labels if has_labels else None, about)


_WRITERS = {".npz": _write_npz, ".csv": _write_csv, ".parquet": _write_parquet}
_READERS = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
