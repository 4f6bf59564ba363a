"""`embed_images`: any number of images to a file of embeddings, in constant memory, resumable."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssl import _log
from keras_ssl._validation import check_count
from keras_ssl.data import ImageSet, fingerprint, from_folder, load
from keras_ssl.data.image_set import TEST_NAMES, Places, check_image_set
from keras_ssl.data.sources.folder import warn_of_loose
from keras_ssl.data.sources.idx import is_idx
from keras_ssl.encoders import check_images, describe_range
from keras_ssl.encoders.adapt import square_size
from keras_ssl.encoders.computation import fingerprint_computation
from keras_ssl.evaluation.features import prepared, represent_with
from keras_ssl.retrieval.embeddings import (
    Embeddings,
    check_suffix,
    read_embeddings,
    write_embeddings,
)
from keras_ssl.retrieval.parts import Part, Parts
from keras_ssl.retrieval.tables import write_table
from keras_ssl.runs import stage

# A part is written after so many seconds or rows: a kill costs at most that, and the rows fit into
# 32 MB of 2,048 numbers.
_PART_SECONDS, _PART_ROWS = 30.0, 4096


def open_images(
    source: Any,
    encoder: keras.Model,
    image_size: int | None = None,
    labels: bool = True,
    scaling: Any = None,
) -> ImageSet:
    """Opens images in the size that an encoder takes, all of them in one set.

    Unlike `keras_ssl.data.load`, it makes no splits: of a folder, all images are in the set, those
    of its `test` and `val` included, and they are decoded when they are used.

    Args:
        source: A folder of image files; another source of `keras_ssl.data.load`, whose images to
            train on are taken, without labels; or an `ImageSet`, which is taken as it is.
        encoder: What `keras_ssl.encoders.as_encoder` returns.
        image_size: See `keras_ssl.data.load`. Default: the encoder's; if it takes any size, the
            default of `load`.
        labels: Whether the sub-folders of a folder are classes. If its sub-folders are splits, the
            classes are the folders below them.
        scaling: See `keras_ssl.data.load`.

    Returns:
        `ImageSet`.

    Raises:
        ValueError: if the source holds no images that can be read, or they do not fit the encoder.

    Example:
        The images have the encoder's size, and the folders are the classes.

        >>> import tempfile
        >>> from PIL import Image
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for name in ("cat", "dog"):
        ...         pathlib.Path(folder, name).mkdir()
        ...         Image.new("RGB", (20, 30)).save(pathlib.Path(folder, name, "1.png"))
        ...     images = open_images(folder, encoder)
        >>> len(images), images.image_shape, images.class_names
        (2, (8, 8, 1), ('cat', 'dog'))
    """
    if isinstance(source, ImageSet):
        check_images(encoder, (None, *source.image_shape))
        return source
    shape = getattr(encoder, "input_shape", None) or (None,) * 4
    size = square_size(encoder) if image_size is None else image_size
    with stage(f"listing the images in {source}"):
        images = _open(source, size, shape[3], labels, scaling)
    check_images(encoder, (None, *images.image_shape))
    return images


def _open(
    source: Any, size: int | None, channels: int | None, labels: bool, scaling: Any
) -> ImageSet:
    """The images of a folder, or of another source of `load`."""
    is_folder = isinstance(source, (str, os.PathLike)) and os.path.isdir(source)
    if is_folder and not is_idx(root := pathlib.Path(source)):
        options: Any = {} if size is None else {"image_size": size}
        options.update(channels=channels, labels=False, scaling=scaling, in_memory=False)
        images = from_folder(root, **options)
        return _classified(images, root) if labels else images
    return load(source, size, channels, labels=False, scaling=scaling).train


def _classified(images: ImageSet, root: pathlib.Path) -> ImageSet:
    """The images of a folder with its sub-folders as classes, if it has two or more."""
    parts = [pathlib.Path(name).relative_to(root).parts for name in images.names or ()]
    if {folders[0] for folders in parts} <= {"train", *TEST_NAMES}:
        parts = [folders[1:] for folders in parts]
    loose = sum(len(folders) < 2 for folders in parts)
    warn_of_loose(loose, len(parts), root, stacklevel=5)
    if loose:
        return images
    names, labels = np.unique([folders[0] for folders in parts], return_inverse=True)
    if len(names) < 2:
        return images
    keys = images.keys._replace(labels=labels.astype(np.int64))  # Folders have places.
    return dataclasses.replace(images, keys=keys, class_names=tuple(map(str, names)))


def embed_images(
    encoder: keras.Model,
    images: ImageSet,
    out: str | os.PathLike[str],
    *,
    batch_size: int = 256,
    overwrite: bool = False,
    source: Any = None,
) -> Embeddings:
    """Computes the representation of every image, and writes them to one file with their paths.

    While it works, it writes parts to the folder `{out}.parts`, one every half minute. If it is
    killed, the same call goes on after the last part. In the end it makes one file of the parts and
    deletes them. No more than a part is in memory at a time, besides the paths.

    Images that cannot be read get no row. They are listed in a table beside `out`, a CSV file of
    the same name that ends in ".skipped.csv", which is not there if all could be read.

    Args:
        encoder: See `keras_ssl.evaluation.extract`.
        images: The images; their order is the order of the rows.
        out: The file, see `write_embeddings`.
        batch_size: Images per step.
        overwrite: Whether `out`, and parts of another encoder or other images, may be replaced.
        source: Where the encoder lies, to be noted in the file: a path, which becomes absolute, or
            a name. Anything else is not noted.

    Returns:
        `Embeddings`, read from `out`.

    Raises:
        TypeError: if `images` is not an `ImageSet`.
        ValueError: if `out` ends in an unknown suffix or exists, if there are parts of another
            encoder or of other images, or if the encoder's numbers are not finite.

    Example:
        This encoder returns the pixels, from 0 to 1.

        >>> import tempfile
        >>> from keras_ssl import data
        >>> encoder = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten()])
        >>> images = data.from_arrays(np.array([[[0, 255]], [[255, 0]]], "uint8")[..., None])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     found = embed_images(encoder, images, pathlib.Path(folder, "two.csv"))
        >>> found.paths.tolist(), found.features.tolist()
        (['#0', '#1'], [[0.0, 1.0], [1.0, 0.0]])
    """
    check_image_set("images", images)
    check_count("batch_size", batch_size)
    check_out(out, overwrite)
    encoder = prepared(encoder, images.image_shape)
    names = images.names or tuple(f"#{i}" for i in range(len(images)))
    identity = identify(encoder, images)
    path = pathlib.Path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = Parts(path, identity, overwrite)
    try:
        shape = " x ".join(map(str, images.image_shape))
        again = f", going on after {parts.done:,}" if parts.done else ""
        with stage(f"embedding {len(images):,} images of {shape}{again}"):
            _embed(encoder, images, parts, batch_size)
        about = {
            "encoder": _whereabouts(source),
            "fingerprint": identity["encoder"],
            "image_shape": list(images.image_shape),
            "scaling": images.scaling,
            "identity": identity,
            "directory": os.getcwd(),
        }
        _join(parts, images, names, path, about)
    except BaseException:
        if parts.done:
            parts.close()
        else:
            parts.remove()
        raise
    parts.remove()
    return read_embeddings(path)


def check_out(out: Any, overwrite: bool) -> None:
    """Raises unless `out` is the path of a file of embeddings that may be written."""
    check_suffix("out", out)
    if os.path.isdir(out):
        raise ValueError(f"`out` must be a file. Received: out={os.fspath(out)!r}, a folder")
    if os.path.exists(out) and not overwrite:
        raise ValueError(
            "`out` must not exist: name another file, or pass `overwrite`. "
            f"Received: out={os.fspath(out)!r}"
        )


def _whereabouts(source: Any) -> str | None:
    """A path as it is from everywhere; a name, such as hf://, as it is."""
    if not isinstance(source, (str, os.PathLike)):
        return None
    return os.path.abspath(source) if os.path.exists(source) else os.fspath(source)


def _embed(encoder: keras.Model, images: ImageSet, parts: Parts, batch_size: int) -> None:
    """Writes the parts that are not there yet."""
    size, begun = len(images), parts.done
    if begun == size:
        return
    first = begun
    rest = _after(images, first)
    represent = represent_with(encoder, images.image_shape)
    kept: list[np.ndarray] = []
    blocks: list[np.ndarray] = []
    row, began = first, time.monotonic()
    for batch, names in rest.named_batches(batch_size):
        values = represent(batch)
        # An image that could not be read is another file's: it is noted before its batch is given.
        lost = set(images.replaced)
        is_own = np.array([name not in lost for name in names])
        is_finite = np.isfinite(values).all(axis=1)
        if not is_finite[is_own].all():
            worst = int(np.flatnonzero(is_own & ~is_finite)[0])
            name = names[worst] if images.names else f"#{row + worst}"
            raise ValueError(
                f"`encoder` must give finite numbers. Received: NaN or infinity for {name}"
            )
        values, places = values[is_own], row + np.flatnonzero(is_own)
        blocks.append(values)
        kept.append(places)
        row += len(is_own)
        now = time.monotonic()
        if row == size or row - first >= _PART_ROWS or now - began >= _PART_SECONDS:
            parts.write(first, row - first, Part(np.concatenate(kept), np.concatenate(blocks)))
            kept, blocks, first, began = [], [], row, now
        _log.advance(row - begun, size - begun)
    if row != size:
        raise ValueError(f"`images` must be {size} images. Received: {row} when they were read")


def _after(images: ImageSet, first: int) -> ImageSet:
    """The images from a place on; one that is lost is replaced as before, by any of all images."""
    if isinstance(images.keys, Places):
        keys: Any = Places(*(x[first:] for x in images.keys))
    else:
        keys = images.key_dataset.skip(first)
    names = images.names and images.names[first:]
    return dataclasses.replace(images, keys=keys, size=images.size - first, names=names)


def _join(
    parts: Parts,
    images: ImageSet,
    names: tuple[str, ...],
    path: pathlib.Path,
    about: dict[str, Any],
) -> None:
    """Makes one file of the parts, and a table of what was skipped."""
    places = [part.kept for part in parts]
    kept = np.concatenate(places)
    if not len(kept):
        raise ValueError(
            f"`images` must be images that can be read. Received: none of {len(names)}"
        )

    def blocks() -> Iterator[np.ndarray]:
        for part in parts:
            yield part.features

    lost = np.setdiff1d(np.arange(len(names)), kept)
    skipped = [*images.skipped, *(names[i] for i in lost)]
    table = path.with_suffix(".skipped.csv")
    if skipped:
        write_table(table, ["path"], ([name] for name in skipped))
    else:
        table.unlink(missing_ok=True)
    width = next(iter(parts)).features.shape[1]
    labels = images.labels()[kept] if images.has_labels else None
    chosen = names if len(kept) == len(names) else [names[i] for i in kept]
    write_embeddings(path, chosen, blocks(), width, labels, images.class_names, about)
    _log.say(f"{len(kept):,} rows of {width} numbers are in {path}")
    if skipped:
        _log.say(f"{len(skipped):,} files cannot be read and have no row: see {table}")


def identify(encoder: keras.Model, images: ImageSet) -> dict[str, Any]:
    """Returns what embeddings depend on, in JSON's types: the encoder, the images and their size.

    Args:
        encoder: See `embed_images`.
        images: The images. Files are told apart by their paths, sizes and times; images that are
            not files by their number and some of their pixels.
    """
    encoder = prepared(encoder, images.image_shape)
    return {
        "encoder": fingerprint_encoder(encoder),
        "layers of the encoder": fingerprint_computation(encoder),
        "list of images": _fingerprint_images(images),
        "image shape": list(images.image_shape),
        "scaling": images.scaling and [list(pair) for pair in images.scaling],
    }


def fingerprint_encoder(encoder: keras.Model) -> str:
    """Returns a checksum of an encoder's weights and of the range that it wants."""
    digest = hashlib.sha256(f"{encoder.output_shape}, {describe_range(encoder)}".encode())
    for weight in encoder.weights:
        digest.update(f"{weight.shape}, {weight.dtype}".encode())
        digest.update(np.ascontiguousarray(ops.convert_to_numpy(weight)).tobytes())
    return digest.hexdigest()[:16]


def _fingerprint_images(images: ImageSet) -> str:
    """A checksum of the files' paths, sizes and times, or of other images' pixels."""
    if images.names is None:
        return fingerprint(images)
    digest = hashlib.sha256()
    for name in images.names:
        digest.update(os.fsencode(name) + b"\0")
        with contextlib.suppress(OSError):
            found = os.stat(name)
            digest.update(f"{found.st_size}, {found.st_mtime_ns}".encode())
    return digest.hexdigest()[:16]
