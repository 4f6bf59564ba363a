"""`load`: images by name or path, from whichever source it is."""

import os
import pathlib

from keras_ssl._validation import check_seed
from keras_ssl.data.image_set import Splits, check_test_fraction, split
from keras_ssl.data.sources.digits import read_digits
from keras_ssl.data.sources.folder import read_folder
from keras_ssl.data.sources.idx import IDX_FILES, read_idx
from keras_ssl.data.sources.npz import read_npz
from keras_ssl.data.sources.resizing import brought_to, check_image_size
from keras_ssl.data.sources.tfds import read_tfds


def load(
    source: str | os.PathLike[str],
    image_size: int | None = None,
    channels: int | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    data_dir: str | os.PathLike[str] | None = None,
    download: bool = False,
    labels: bool = True,
) -> Splits:
    """Loads images by name or path.

    Args:
        source: One of:
            "digits": 1,797 real handwritten digits of 8x8 grey pixels, which come with
            scikit-learn: no download;
            a folder of image files, see `from_folder`; with no other sub-folders than
            `train` and `test` (or `validation`, `val`), those are the splits;
            a folder with the four `.gz` files of MNIST, Fashion-MNIST or their likes;
            an `.npz` file with `x_train` (and `y_train`, `x_test`, `y_test`) or `images` (and
            `labels`);
            any tensorflow-datasets name, such as "cifar10" or "imagenette/160px-v2"; a split to
            train on may follow a colon, as in "stl10:unlabelled".
        image_size: Height and width that the images are brought to: the shorter side is resized
            (bicubic, antialiased), the middle cut out. Default: 128 for folders; else the images'
            own if they are all of one size, else 128.
        channels: 1, 3 or 4 for folders, by default 1 if the files are grey, else 3. 1 or 3 for
            arrays, by default their own. Not for tensorflow-datasets.
        test_fraction: Share of the labelled images set apart for judging where the source has no
            such split, in (0, 1), stratified by class (tensorflow-datasets: the last ones).
        seed: Seed of that choice.
        data_dir: Where tensorflow-datasets keeps its data.
        download: Whether tensorflow-datasets may download.
        labels: `False`: sub-folders are no classes, labels are forgotten, and nothing is held out:
            `test` is `None`, and `train` holds all images but those of a test split that the source
            has itself.

    Returns:
        `Splits(train, test)`.

    Raises:
        TypeError: for a source that is no text or path.
        ValueError: for a source that is neither a file, a folder nor a known name, an empty folder,
            a folder in which no image can be read.
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
    path = pathlib.Path(source)
    if (path / IDX_FILES.format("train", "images", 3)).is_file():
        splits = brought_to(read_idx(path), image_size, channels)
    elif path.is_dir():
        splits = read_folder(path, image_size or 128, channels, labels)
    elif str(source) == "digits":
        splits = brought_to(read_digits(), image_size, channels)
    elif path.suffix == ".npz":
        splits = brought_to(read_npz(path), image_size, channels)
    else:
        held_out = test_fraction if labels else None
        splits = read_tfds(str(source), image_size, held_out, data_dir, download)
    if not labels:
        return Splits(splits.train.without_labels(), None)
    if splits.test is None and splits.train.has_labels:
        return split(splits.train, test_fraction, seed)
    return splits
