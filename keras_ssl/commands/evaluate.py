"""`keras-ssl evaluate`."""

import os

import keras

from keras_ssl import _log, data, encoders, evaluation, runs
from keras_ssl.evaluation.judgment import MAX_IMAGES, to_judge
from keras_ssl.runs.images import load_for


def evaluate(
    encoder: str | os.PathLike[str] | keras.Model,
    images: str | os.PathLike[str] | data.Splits = "digits",
    *,
    image_size: int | None = None,
    data_dir: str | None = None,
    download: bool = False,
    input_range: str | None = None,
    knn_grid: bool = False,
    smoke: bool = False,
    quiet: bool = False,
) -> dict[str, dict[str, float]]:
    """Judges an encoder on labeled images, beside raw pixels and the same encoder untrained.

    Prints the k-nearest-neighbor accuracy, the accuracy of a linear classifier, and the effective
    rank (RankMe) of the frozen features. Raw pixels are judged once for the same images; see
    `keras_ssl.evaluation.judge_raw_pixels`.

    Examples:
        keras-ssl evaluate runs/RUN labeled/photos/
        keras-ssl evaluate encoder.keras cifar10 --knn-grid

    Args:
        encoder: Folder of a run, or a .keras file of an encoder or a whole method. In Python also a
            Keras model.
        images: Labeled images: "digits", a folder with class sub-folders, an .npz file, or a
            tensorflow-datasets name. In Python also `Splits`.
        image_size: Height and width of the images, in pixels. Default: the encoder's own.
        data_dir: Folder where tensorflow-datasets keeps its data.
        download: Let tensorflow-datasets download.
        input_range: Range of images that a trained encoder wants, if it does not tell: "0,1",
            "0,255", caffe, torch or tf.
        knn_grid: Also try the paper's grid of k and temperature, and show the best cell, which is
            chosen on the test images, as in the paper.
        smoke: Shrink everything to seconds: at most 256 images of each split.
        quiet: Say nothing but warnings.

    Returns:
        Figures by "raw pixels", "untrained", "trained" and, with `knn_grid`, "best kNN".

    Raises:
        ValueError: for an encoder or images that cannot be loaded, do not fit each other, or have
            no labels.
    """
    with _log.shown(quiet):
        model = encoders.load_encoder(encoder, input_range=encoders.parse_range(input_range))
        splits = (
            images
            if isinstance(images, data.Splits)
            else load_for(encoder, model, images, image_size, data_dir=data_dir, download=download)
        )
        if smoke:
            test = splits.test and splits.test.spread(256)
            splits = data.Splits(splits.train.spread(256), test)
        train, test = splits
        if test is None:
            raise ValueError(
                "`images` must have labels and a test part to judge an encoder; data.split makes "
                f"one. Received: {str(images)[:200]!r}, without "
                f"{'a test part' if train.has_labels else 'labels'}"
            )
        encoders.check_images(model, (None, *train.image_shape))
        keras.utils.set_random_seed(0)  # for the untrained encoder
        train, test = to_judge("train", train, MAX_IMAGES), to_judge("test", test, MAX_IMAGES)
        with runs.stage(f"judging on {len(train)} + {len(test)} images"):
            results = evaluation.judge_beside_baselines(model, train, test)
        if knn_grid:
            grid = evaluation.knn_grid(
                evaluation.extract(model, train), evaluation.extract(model, test)
            )
            k, temperature = max(grid, key=lambda cell: grid[cell])
            results["best kNN"] = {"knn": grid[k, temperature], "k": k, "temperature": temperature}
        _log.say(evaluation.table(results))
        return results
