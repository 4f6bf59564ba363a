"""The data sets of tensorflow-datasets, whose images stay encoded until they are fetched."""

import difflib
import importlib.util
import os
from collections.abc import Sequence
from typing import Any

from keras_ssl._tensorflow import is_installed, tf
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_choice
from keras_ssl.data.image_set import TEST_NAMES, ImageSet, Splits
from keras_ssl.data.sources.resizing import fit
from keras_ssl.data.sources.shards import SHUFFLE_BUFFER


def read_tfds(
    name: str,
    image_size: int | None,
    test_fraction: float | None,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> Splits:
    """The splits of a tensorflow-datasets name; see `keras_ssl.data.load` for the arguments."""
    if not is_installed() or not importlib.util.find_spec("tensorflow_datasets"):
        raise ValueError(
            '`source` must be "digits", a folder or an .npz file that exists, or a name of '
            "tensorflow-datasets, which needs its packages: pip install tensorflow "
            f"tensorflow-datasets importlib_resources. Received: source={name!r}"
        )
    import tensorflow_datasets as tfds

    name, _, split_name = name.partition(":")
    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise ValueError(
            '`source` must be "digits", a folder, an .npz file, or a tensorflow-datasets name '
            "(https://www.tensorflow.org/datasets/catalog): "
            f"{_nearest(name, tfds.list_builders(with_community_datasets=False))}. "
            f"Received: source={name!r}"
        ) from error
    features = builder.info.features
    if "image" not in features:
        raise ValueError(
            f"`source` must have images under the key 'image'. Received: {name} with "
            f"{sorted(features)}"
        )
    if download:
        builder.download_and_prepare()
    elif not builder.is_prepared():
        # Otherwise tensorflow-datasets would try the network for minutes.
        raise ValueError(
            f"{name} is not prepared in {builder.data_dir}: pass download=True, or pass `data_dir` "
            "if it is elsewhere."
        )

    is_class = "label" in features and isinstance(features["label"], tfds.features.ClassLabel)
    label_key = "label" if is_class else None
    splits = builder.info.splits
    train_name = split_name or ("train" if "train" in splits else next(iter(splits)))
    check_choice("split", train_name, splits)

    def image_set(part: str) -> ImageSet:
        return _tfds_split(builder, part, image_size, label_key)

    def has_labels(part: str) -> bool:
        """Whether a split has labels; in published test splits they are often -1."""
        return all(int(label) >= 0 for _, label in image_set(part).key_dataset.take(1))

    if label_key is not None and not has_labels(train_name):
        return Splits(image_set(train_name).without_labels(), None)
    others = [name for name in TEST_NAMES if name in splits and name != train_name]
    test_name = next((name for name in others if has_labels(name)), None)

    if label_key is None or test_fraction is None:
        return Splits(image_set(train_name), None)
    if test_name is not None:
        return Splits(image_set(train_name), image_set(test_name))
    size = splits[train_name].num_examples
    if size < 2:
        raise ValueError(
            "`source` must have two images or more, one of them to judge by. "
            f"Received: {name} with {size} in the split {train_name!r}"
        )
    first = size - min(max(round(test_fraction * size), 1), size - 1)
    return Splits(image_set(f"{train_name}[:{first}]"), image_set(f"{train_name}[{first}:]"))


def _nearest(name: str, known: Sequence[str]) -> str:
    """A text with the known names that are most like `name`, or with their number."""
    near = difflib.get_close_matches(name, known)
    return f"did you mean {' or '.join(near)}?" if near else f"one of {len(known)}"


def _tfds_split(
    builder: Any, split_name: str, image_size: int | None, label_key: str | None
) -> ImageSet:
    """A split whose images stay encoded until they are fetched."""
    import tensorflow_datasets as tfds

    feature = builder.info.features["image"]
    height, width, channels = feature.shape
    if image_size is None and height is None:
        image_size = 128
    if image_size is not None:
        height = width = image_size
    encoded = builder.as_dataset(
        split=split_name, decoders={"image": tfds.decode.SkipDecoding()}, shuffle_files=False
    )
    keys = encoded.map(
        lambda example: (
            example["image"],
            tf.constant(-1, tf.int64) if label_key is None else example[label_key],
        )
    )

    def fetch(key: Tensor) -> Tensor:
        image = feature.decode_example(key)
        if image_size is not None:
            image = fit(image, image_size)
        return tf.ensure_shape(image, (height, width, channels))

    names = None if label_key is None else tuple(builder.info.features[label_key].names)
    size = builder.info.splits[split_name].num_examples
    return ImageSet(
        keys=keys,
        fetch=fetch,
        size=size,
        image_shape=(height, width, channels),
        class_names=names,
        shuffle_buffer=min(size, SHUFFLE_BUFFER),
    )
