"""Data sets of Hugging Face's library `datasets`: Parquet, tar files, and those of its hub."""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_ssl.data.image_set import TEST_NAMES, ByPython, ImageSet, Places, Splits
from keras_ssl.data.sources import files, raw, reading, shards
from keras_ssl.data.sources.arrays import check_labels
from keras_ssl.data.sources.resizing import check_image_size

SCHEME = "hf://"


def from_huggingface(
    dataset: Any,
    split: str = "train",
    image_size: int = 128,
    channels: int | None = None,
    examples: int | None = None,
    image: str | None = None,
    label: str | None = None,
    labels: bool = True,
    scaling: Sequence[Sequence[float]] | None = None,
    shuffle_buffer: int = shards.SHUFFLE_BUFFER,
    download: bool = False,
) -> ImageSet:
    """Makes an image set of a data set of Hugging Face's library `datasets`.

        data.from_huggingface("uoft-cs/cifar10")

    A `datasets.Dataset` lies on this machine: each of its images is read when it is needed, and all
    of them are shuffled. A `datasets.IterableDataset` is read as it comes, as the shards of
    `from_tfrecords` are.

    Args:
        dataset: A `datasets.Dataset` or `datasets.IterableDataset`; or a name of the hub, or a
            folder, that `datasets.load_dataset` takes.
        split: The split that is loaded, of a name.
        image_size: See `from_folder`.
        channels: See `from_folder`; the first 100 images are looked at.
        examples: Number of images of an epoch, of what is read as it comes; see `from_tfrecords`.
            Default: what the data set says of itself; if it says nothing, it must be given.
        image: Name of the column of images. Default: the first one of type `datasets.Image`.
        label: Name of the column of classes. Default: the first one of type `datasets.ClassLabel`,
            if there is one.
        labels: Whether labels are used.
        scaling: See `from_folder`.
        shuffle_buffer: See `from_tfrecords`; only of what is read as it comes.
        download: Whether a data set that is given by name is first downloaded as a whole and kept
            on this machine. If not, it is read as it comes.

    Returns:
        `ImageSet`, a `Stream` if it is read as it comes.

    Raises:
        TypeError: if `dataset` is neither a name nor one of the two.
        ValueError: if the data set cannot be loaded, lacks a column, or has no images that can be
            read.
        ImportError: if the package `datasets` is missing.

    Example:
        >>> images = from_huggingface("uoft-cs/cifar10", image_size=32)  # doctest: +SKIP
        >>> len(images), images.image_shape  # doctest: +SKIP
        (50000, (32, 32, 3))
    """
    import_datasets()
    shards.check_names(split=split, image=image, label=label)
    if isinstance(dataset, (str, os.PathLike)):
        dataset = _load(os.fspath(dataset), download, split)
    return _image_set(
        dataset, image_size, channels, examples, image, label, labels, scaling, shuffle_buffer
    )


def read_huggingface(
    name: str,
    image_size: int,
    channels: int | None,
    labels: bool,
    scaling: Sequence[Sequence[float]] | None,
    examples: int | None,
    download: bool,
) -> Splits:
    """The splits of "hf://NAME" or "hf://NAME:SPLIT"; see `keras_ssl.data.load`."""
    name, _, split = name.removeprefix(SCHEME).partition(":")
    common: Any = {"scaling": scaling, "labels": labels, "shuffle_buffer": shards.SHUFFLE_BUFFER}

    def image_set(dataset: Any, channels: int | None, examples: int | None) -> ImageSet:
        return _image_set(dataset, image_size, channels, examples, None, None, **common)

    if split:
        return Splits(image_set(_load(name, download, split), channels, examples), None)
    parts = _load(name, download)
    train_name = "train" if "train" in parts else next(iter(parts))
    train = image_set(parts[train_name], channels, examples)
    common |= {"scaling": train.scaling or (), "partly": True}
    for test_name in TEST_NAMES if train.has_labels else ():
        if test_name not in parts or test_name == train_name:
            continue
        own = None if _known_size(parts[test_name]) is not None else len(train)
        test = image_set(parts[test_name], train.image_shape[2], own)
        if test.class_names == train.class_names:  # Published test splits often have no labels.
            return Splits(train, test)
    return Splits(train, None)


def import_datasets() -> Any:
    """Returns the package `datasets`, or raises an `ImportError` that says how to get it."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            "Data sets of Hugging Face need the package datasets: "
            "pip install 'keras_ssl[huggingface]'"
        ) from error
    return datasets


def _load(name: str, download: bool, split: str | None = None) -> Any:
    """A data set by its name: its splits if `split` is `None`."""
    datasets = import_datasets()
    try:
        return datasets.load_dataset(name, split=split, streaming=not download)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise ValueError(
            "`dataset` must be a data set that datasets.load_dataset can load. "
            f"Received: {name!r}{f' with split={split!r}' if split else ''}; "
            f"{type(error).__name__}: {error}"
        ) from error


def _known_size(dataset: Any) -> int | None:
    """The number of images that a data set says it has."""
    if hasattr(dataset, "__len__"):
        return len(dataset)
    info = (dataset.info.splits or {}).get(str(dataset.split))
    return None if info is None else info.num_examples


def _image_set(
    dataset: Any,
    image_size: int,
    channels: int | None,
    examples: int | None,
    image: str | None,
    label: str | None,
    labels: bool,
    scaling: Sequence[Sequence[float]] | None,
    shuffle_buffer: int,
    partly: bool = False,
) -> ImageSet:
    datasets = import_datasets()
    if not isinstance(dataset, (datasets.Dataset, datasets.IterableDataset)):
        raise TypeError(
            "`dataset` must be a datasets.Dataset, a datasets.IterableDataset or a name. "
            f"Received: dataset of type {type(dataset).__name__}"
        )
    where = f"{dataset.info.dataset_name or 'the data set'} ({dataset.split or 'without splits'})"
    features = dataset.features or {}
    image = _column("image", image, features, datasets.Image)
    if image is None:
        raise ValueError(
            "`image` must name a column of images; dataset.cast_column(NAME, datasets.Image()) "
            f"makes one. Received: {where} with {_described(features)}"
        )
    label = _column("label", label, features, datasets.ClassLabel) if labels else None
    names = getattr(features[label], "names", None) if label else None
    kind = str(getattr(features.get(label), "dtype", "int64")) if label else "int64"
    if not kind.startswith(("int", "uint", "bool")):
        raise ValueError(
            "`label` must name a column of whole numbers; dataset.class_encode_column(NAME) makes "
            f"them of texts. Received: label={label!r}, of {kind}"
        )
    wanted = [name for name in (image, label) if name is not None]
    dataset = dataset.select_columns(wanted).cast_column(image, datasets.Image(decode=False))
    dataset = dataset.with_format(None)

    def name_of(i: int) -> str:
        return f"row {i} of {where}"

    def encoded(row: Mapping[str, Any], i: int) -> files.Encoded:
        return files.Encoded(name_of(i), _content(row[image]))

    if isinstance(dataset, datasets.Dataset):
        if examples is not None:
            raise ValueError(
                "`examples` must be left out for a datasets.Dataset, whose epochs are all of its "
                f"images. Received: examples={examples!r}"
            )
        on_disk = _on_disk(
            dataset, where, encoded, label, names, image_size, channels, scaling, partly
        )
        return dataclasses.replace(on_disk, name_of=name_of)

    count = dataset.num_shards

    def read(shard: str) -> Iterator[tuple[files.Encoded, int]]:
        part = dataset.shard(num_shards=count, index=int(shard))
        for i, row in enumerate(part):
            number = -1 if label is None or row[label] is None else int(row[label])
            file = files.Encoded(f"row {i} of shard {shard} of {where}", _content(row[image]))
            yield file, number

    if names is not None and next(iter(read("0")), (None, 0))[1] < 0:
        names = None  # The column is there, and says nothing, as in published test splits.

    def size() -> int:
        known = _known_size(dataset)
        if known is None:
            raise ValueError(
                "`examples`, the number of images of an epoch, must be given for a data set that "
                f"does not say its size. Received: {where}"
            )
        return known

    return shards.as_stream(
        where,
        [str(i) for i in range(count)],
        read,
        size,
        image_size,
        channels,
        scaling,
        examples,
        shuffle_buffer,
        names,
    )


def _on_disk(
    dataset: Any,
    where: str,
    encoded: Any,
    label: str | None,
    names: Sequence[str] | None,
    image_size: int,
    channels: int | None,
    scaling: Any,
    partly: bool,
) -> ImageSet:
    """The images of a `datasets.Dataset`, whose keys are numbers of rows.

    If `partly`, a set in which some images have no label counts as one without labels; otherwise it
    is refused.
    """
    size, ranges = check_image_size(image_size), raw.check_scaling(scaling)
    reading.check_channels(channels)
    step = max(len(dataset) // shards.SAMPLED, 1)
    sample = [encoded(dataset[i], i) for i in range(0, len(dataset), step)]
    decoder = shards.decoder(where, sample, size, channels, ranges)
    numbers = np.full(len(dataset), -1)
    if label is not None:
        column = dataset.select_columns([label]).with_format(None)[:][label]
        numbers = np.array([-1 if number is None else int(number) for number in column])
        lacking = int(np.sum(numbers < 0))
        if lacking == len(numbers) or (lacking and partly):  # Test splits are often published so.
            numbers, label = np.full(len(dataset), -1), None
        elif lacking:
            raise ValueError(
                "`label` must name a column in which all images have a label, or none: filter the "
                f"data set, or pass labels=False. Received: {where}, where {lacking} "
                f"of {len(numbers)} have none"
            )
        elif names is None:
            check_labels(numbers, len(numbers))
            names = [str(i) for i in range(int(numbers.max()) + 1)]

    def read(i: Any) -> np.ndarray:
        return decoder.read(encoded(dataset[int(i)], int(i)))

    return ImageSet(
        keys=Places(np.arange(len(dataset)), numbers.astype(np.int64)),
        fetch=ByPython(read, decoder.decoding.shape, decoder.decoding.dtype),
        size=len(dataset),
        image_shape=decoder.decoding.shape,
        class_names=None if label is None or names is None else tuple(names),
        replaced=decoder.replaced,
        scaling=decoder.decoding.scaling,
    )


def _column(argument: str, given: str | None, features: Any, kind: type) -> str | None:
    """The name of a column: the given one, or the first one of a type."""
    if given is None:
        return next((name for name, type_ in features.items() if isinstance(type_, kind)), None)
    if given not in features:
        raise ValueError(
            f"`{argument}` must be one of the columns: {_described(features)}. "
            f"Received: {argument}={given!r}"
        )
    return given


def _described(features: Any) -> str:
    columns = (f"{name} ({type(type_).__name__})" for name, type_ in features.items())
    return ", ".join(columns) or "columns that are not known"


def _content(value: Any) -> bytes:
    """The bytes of an image that is not decoded: they are there, or in a file."""
    if value is None:
        return b""
    if value["bytes"] is not None:
        return value["bytes"]
    import fsspec  # It comes with datasets.

    with fsspec.open(value["path"], "rb") as file:
        return file.read()
