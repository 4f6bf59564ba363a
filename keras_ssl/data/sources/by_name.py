"""`load`: images by the name of a source or by a path."""

import os
import pathlib
from collections.abc import Sequence

from keras_ssl import _log
from keras_ssl._validation import check_seed
from keras_ssl.data.image_set import Splits, check_test_fraction, split
from keras_ssl.data.sources import files, raw, shards
from keras_ssl.data.sources.digits import read_digits
from keras_ssl.data.sources.folder import read_folder
from keras_ssl.data.sources.huggingface import SCHEME, read_huggingface
from keras_ssl.data.sources.idx import is_idx, read_idx
from keras_ssl.data.sources.manifest import from_manifest
from keras_ssl.data.sources.npz import read_npz
from keras_ssl.data.sources.resizing import brought_to, check_image_size
from keras_ssl.data.sources.tfds import read_tfds
from keras_ssl.data.sources.tfrecords import from_tfrecords
from keras_ssl.data.sources.webdataset import from_webdataset
from keras_ssl.data.stream import Stream


def load(
    source: str | os.PathLike[str],
    image_size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    labels: bool = True,
    scaling: Sequence[Sequence[float]] | None = None,
    examples: int | None = None,
) -> Splits:
    """Loads images by name or path.

    Args:
        source: One of:
            "digits": 1,797 real handwritten digits of 8x8 gray pixels, which come with
            scikit-learn and need no download;
            a folder of image files, see `from_folder`; if its only sub-folders are `train` and
            `test` (or `validation`, `val`), they are the splits;
            a `.csv` or `.tsv` file with paths of images, see `from_manifest`;
            a folder with the four `.gz` files of MNIST, Fashion-MNIST or another set in their
            format;
            an `.npz` file with `x_train` (and `y_train`, `x_test`, `y_test`) or `images` (and
            `labels`);
            shards that end in ".tfrecord" or ".tar", with wildcards or braces, such as
            "photos-*.tfrecord" and "photos-{000..099}.tar", see `from_tfrecords` and
            `from_webdataset`: they are read as they are needed;
            "hf://" and a name of Hugging Face's hub, or a folder that its library loads, and
            perhaps a colon and the split to train on, as in "hf://uoft-cs/cifar10"; see
            `from_huggingface`;
            any tensorflow-datasets name, such as "cifar10" or "imagenette/160px-v2". A colon and
            the split to train on may follow, as in "stl10:unlabeled".
            A folder, a manifest or shards may have a scheme that `tf.io.gfile` reads, such as "gs://".
        image_size: Height and width of the images, in pixels: the shorter side is resized to it
            (bicubic, antialiased), and the longer one is cropped to the center. Default: 128 for
            folders, manifests and shards; for other sources the images' own size if they all have
            the same, else 128.
        channels: Number of channels. For folders, manifests and shards 1, 3 or 4, by
            default 1 if the files are gray, else 3, and of measurements what they have. For other
            sources 1 or 3, by default the images' own.
        test_fraction: Fraction of the labeled images that is held out for testing if the source has
            no such split, in (0, 1), at least one image. They are stratified by class; of
            tensorflow-datasets they are the last ones, of shards the same part of each.
        seed: Seed of that choice.
        data_dir: Where tensorflow-datasets keeps its data.
        download: Whether tensorflow-datasets may download. Data sets of Hugging Face are read as
            they come unless it is true; then they are first kept on this machine.
        labels: Whether labels are used. If not, sub-folders are not classes, labels are forgotten,
            and nothing is held out: `test` is `None`, and `train` holds all images except those of
            the source's own test split.
        scaling: Which numbers of measurements (16 bits, floats, any number of channels) become 0
            and 1, see `from_folder`. Default: measured; then it is `train.scaling`. Pass that on to
            load other images for the same encoder.
        examples: Number of images of an epoch, of shards and of what is read as it comes, with
            those that are held out. Default: they are counted; for a bucket, it must be given.

    Returns:
        `Splits(train, test)`.

    Raises:
        TypeError: if `source` is not a text or a path.
        ValueError: if `source` is neither a file, a folder nor a known name, or if it holds no
            images that can be read; if `channels` is not among those that the images can have.

    Example:
        >>> train, test = load("digits")
        >>> len(train), len(test), train.image_shape
        (1437, 360, (8, 8, 1))
        >>> load("digits", image_size=16, channels=3).train.image_shape
        (16, 16, 3)
    """
    test_fraction, seed = check_test_fraction(test_fraction), check_seed("seed", seed)
    if not isinstance(source, (str, os.PathLike)):
        raise TypeError(
            "`source` must be a name or a path; arrays go to keras_ssl.data.from_arrays. "
            f"Received: source of type {type(source).__name__}"
        )
    if not str(source).strip():
        raise ValueError(
            f"`source` must name something: is a variable not set? Received: source={source!r}"
        )
    for name, value in {"labels": labels, "download": download}.items():
        if not isinstance(value, bool):
            raise TypeError(f"`{name}` must be True or False. Received: {name}={value!r}")
    if image_size is not None:
        image_size = check_image_size(image_size)
    if scaling is not None:
        raw.check_scaling(scaling)
    path, name = pathlib.Path(source), str(source)
    is_hub, is_stream = name.startswith(SCHEME), shards.is_shards(name) and not path.is_dir()
    if examples is not None and not (is_stream or is_hub):
        raise ValueError(
            "`examples` must be left out unless `source` names shards. "
            f"Received: examples={examples!r} with {name}"
        )
    if path.suffix in (".csv", ".tsv"):
        splits = from_manifest(name, image_size or 128, channels, scaling, labels=labels)
    elif is_hub:
        size = image_size or 128
        splits = read_huggingface(name, size, channels, labels, scaling, examples, download)
    elif is_stream:
        read = from_tfrecords if shards.is_tfrecord(name) else from_webdataset
        stream = read(name, image_size or 128, channels, examples, labels=labels, scaling=scaling)
        splits = Splits(stream, None)
    elif files.has_scheme(name):
        if not files.is_folder(name):
            raise ValueError(
                f"`source` must be a folder, a .csv file or shards. Received: {source!r}"
            )
        splits = read_folder(name, image_size or 128, channels, labels, scaling)
    elif is_idx(path):
        splits = brought_to(read_idx(path), image_size, channels)
    elif path.is_dir():
        splits = read_folder(str(path), image_size or 128, channels, labels, scaling)
    elif str(source) == "digits":
        splits = brought_to(read_digits(), image_size, channels)
    elif path.suffix == ".npz":
        splits = brought_to(read_npz(path), image_size, channels)
    else:
        held_out = test_fraction if labels else None
        own = read_tfds(str(source), image_size, held_out, data_dir, download)
        splits = brought_to(own, None, channels)
    if not labels:
        return Splits(splits.train.without_labels(), None)
    if splits.test is None and splits.train.has_labels:
        return _held_out(name, split(splits.train, test_fraction, seed))
    return splits


def _held_out(name: str, splits: Splits) -> Splits:
    """Says of a stream what is held out of it."""
    if isinstance(splits.train, Stream) and splits.test is not None:
        size, total = len(splits.test), len(splits.train) + len(splits.test)
        _log.say(
            f"{name}: about {size:,} of {total:,} images are held out, the same part of each "
            "shard. The encoder is judged by at most 10,000 of both parts, from the "
            "beginnings of the shards."
        )
    return splits
