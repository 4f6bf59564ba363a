"""Shards of TFRecords, whose records are `tf.train.Example`."""

import gzip
import os
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from keras_ssl._tensorflow import tf
from keras_ssl.data.sources import files, shards
from keras_ssl.data.stream import Stream

# The names that tensorflow-datasets gives its features, and those of the older ImageNet scripts.
_IMAGE = ("image", "image/encoded")
_LABEL = ("label", "image/class/label")
# A record is its length, a checksum of that, the content, and a checksum of the content.
_HEADER, _CHECKSUM = 12, 4
# Records that TensorFlow hands over to Python at a time.
_BLOCK = 32


def from_tfrecords(
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
    """Makes an image set of shards of TFRecords, which are read as they are needed.

        data.from_tfrecords("gs://bucket/photos-*.tfrecord", examples=1_281_167)

    Each record is a `tf.train.Example` with an encoded image (JPEG, PNG, ... of any size) among its
    features. An epoch visits the shards in a new order, 16 of them in turns, and shuffles their
    encoded images in a buffer; nothing else is kept in memory. A picture that cannot be read is
    named in the log, and one of the first pictures takes its place (`ImageSet.replaced`), under its
    label. A record that is broken stops the training.

    Args:
        paths: Path of the shards, or several. A path may hold the wildcards `*`, `?`, `[...]`, and
            braces, as `{000..099}` or `{train,extra}`. It may have a scheme, such as "gs://". Those
            that end in ".gz" are decompressed.
        image_size: See `from_folder`.
        channels: See `from_folder`; the first 100 images are looked at.
        examples: Number of images of an epoch. Default: the shards are counted, by their lengths,
            which does not read the images; for those of a bucket, it must be given. If the shards
            hold more, an epoch stops there; if they hold fewer, it goes on from their beginning.
        image: Name of the feature with the encoded image. Default: "image" or "image/encoded".
        label: Name of the feature with the class, a whole number from 0. Default: "label" or
            "image/class/label", if there is one.
        class_names: Names of the classes, in the order of their labels. Default: their numbers, up
            to the largest label of the first 10,000 images, evenly from the beginnings of up to 100
            shards.
        labels: Whether labels are used.
        scaling: See `from_folder`.
        shuffle_buffer: Encoded images that are held in memory to be shuffled. Default: 10,000,
            which are 1 GiB at 100 KB each.

    Returns:
        A `Stream`, which is an `ImageSet`.

    Raises:
        TypeError: if `paths` are not paths.
        ValueError: if there are no such shards, if they are not TFRecords or lack a feature, or if
            they hold no images that can be read.

    Example:
        >>> import tempfile
        >>> import tensorflow as tf
        >>> png = tf.io.encode_png(tf.zeros((8, 8, 3), "uint8")).numpy()
        >>> features = {"image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[png]))}
        >>> record = tf.train.Example(features=tf.train.Features(feature=features))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with tf.io.TFRecordWriter(f"{folder}/photos-0.tfrecord") as writer:
        ...         writer.write(record.SerializeToString())
        ...     stream = from_tfrecords(f"{folder}/photos-*.tfrecord", image_size=8)
        >>> len(stream), stream.image_shape, stream.class_names
        (1, (8, 8, 3), None)
    """
    shards.check_names(image=image, label=label)
    names = shards.expand(paths)
    first = next((record for name in names for record in _records(name)), b"")
    there = {n: f.WhichOneof("kind") for n, f in _features(first, names[0]).items()}
    image = _name("image", image, _IMAGE, there, "bytes_list", names[0])
    if image is None:
        raise ValueError(
            "`image` must name the feature with the encoded image. "
            f"Received: {names[0]} with {_listed(there)}"
        )
    label = _name("label", label, _LABEL, there, "int64_list", names[0]) if labels else None

    def read(name: str) -> Iterator[tuple[files.Encoded, int]]:
        for i, record in enumerate(_records(name)):
            features = _features(record, name)
            try:
                content = features[image].bytes_list.value[0] if image in features else None
                number = -1 if label is None else features[label].int64_list.value[0]
            except IndexError:
                content = None
            if content is None:
                lacking = " and ".join(repr(n) for n in (image, label) if n)
                raise ValueError(
                    f"`paths` must hold records with {lacking}. Received: record {i} of {name} "
                    f"with {_listed(features)}"
                )
            yield files.Encoded(f"record {i} of {name}", content), number

    return shards.as_stream(
        shards.name_of(paths, names),
        names,
        read,
        shards.count_in(names, _count),
        image_size,
        channels,
        scaling,
        examples,
        shuffle_buffer,
        class_names,
    )


def _name(
    argument: str,
    given: str | None,
    usual: Sequence[str],
    there: dict[str, str],
    kind: str,
    where: str,
) -> str | None:
    """The name of a feature of a kind: the given one, or the first usual one that is there."""
    if given is None:
        return next((name for name in usual if there.get(name) == kind), None)
    if there.get(given) != kind:
        what = {"bytes_list": "bytes", "int64_list": "whole numbers"}[kind]
        raise ValueError(
            f"`{argument}` must be one of the features of {where} that hold {what}; it has "
            f"{_listed(there)}. Received: {argument}={given!r}"
        )
    return given


def _listed(names: Any) -> str:
    return ", ".join(sorted(names)) or "no features"


def _records(name: str) -> Iterator[bytes]:
    """The records of a shard."""
    compression = "GZIP" if name.endswith(".gz") else ""
    blocks = tf.data.TFRecordDataset(name, compression).batch(_BLOCK).as_numpy_iterator()
    try:
        for block in blocks:
            yield from block
    except tf.errors.OpError as error:
        raise ValueError(
            f"`paths` must hold TFRecords that can be read. Received: {name}, which is broken "
            f"({error.message.rpartition('} ')[2].partition(' [Op')[0]})"
        ) from error


def _features(record: bytes, name: str) -> Any:
    """The features of a record by their names."""
    try:
        return tf.train.Example.FromString(record).features.feature
    except DecodeError as error:
        raise ValueError(
            f"`paths` must hold records that are tf.train.Example. Received: {name} with others"
        ) from error


def _count(name: str) -> int:
    """Counts the records of a shard by their lengths."""
    opener = gzip.open if name.endswith(".gz") else open
    number = 0
    with opener(name, "rb") as file:
        while header := file.read(_HEADER):
            if len(header) == _HEADER:
                file.seek(struct.unpack("<Q", header[:8])[0], os.SEEK_CUR)
            if len(header) < _HEADER or len(file.read(_CHECKSUM)) < _CHECKSUM:
                raise ValueError(
                    "`paths` must hold whole TFRecords. "
                    f"Received: {name}, which ends within record {number}"
                )
            number += 1
    return number
