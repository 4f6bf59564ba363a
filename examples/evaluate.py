"""Judges a saved encoder on labeled images, beside raw pixels and an untrained encoder.

    python examples/evaluate.py runs/RUN/encoder.keras --data digits
    python examples/evaluate.py runs/RUN/encoder.keras --data path/to/images --knn-grid

Takes an encoder.keras or a whole checkpoint of `pretrain.py`. Prints the k-nearest-neighbor
accuracy, the linear accuracy and the effective rank (RankMe) of its frozen features. With
`--knn-grid` it also tries the paper's grid of k and temperature, and prints the best cell, which it
chooses on the test set, as the paper does.
"""

import argparse
import os
import sys

import quiet

with quiet.quiet_start():
    import keras
    import tensorflow as tf

    from keras_ssl import data, encoders, evaluation, runs

    tf.config.list_physical_devices()


def main(arguments: list[str] | None = None) -> dict[str, dict[str, float]]:
    """Runs the script and returns the figures by row."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoder", help="a .keras file")
    parser.add_argument("--data", default="digits", help="as for pretrain.py (default: digits)")
    parser.add_argument("--image-size", type=int, help="in pixels; default: the encoder's")
    parser.add_argument("--data-dir", help="where tensorflow-datasets keeps its data")
    parser.add_argument("--download", action="store_true", help="let tensorflow-datasets download")
    parser.add_argument(
        "--input-range",
        help="range of images that a trained encoder wants, if it does not tell: "
        '"0,1", "0,255", "caffe", "torch" or "tf"',
    )
    parser.add_argument(
        "--knn-grid", action="store_true", help="also try all k and temperatures of the paper"
    )
    options = parser.parse_args(arguments)

    if not os.path.isfile(options.encoder):
        raise ValueError(f"`encoder` must be a .keras file. Received: {options.encoder!r}")
    model = keras.models.load_model(options.encoder, compile=False)
    encoder = getattr(model, "encoder", model)  # A checkpoint holds the whole method.
    if options.input_range is not None:
        pair = options.input_range.split(",")
        encoder = encoders.as_encoder(encoder, pair if len(pair) > 1 else options.input_range)
    size, channels = encoder.input_shape[1], encoder.input_shape[3]
    is_folder = os.path.isdir(options.data)
    train, test = data.load(
        options.data,
        image_size=options.image_size or size,
        channels=channels if is_folder else None,
        data_dir=options.data_dir,
        download=options.download,
    )
    if test is None:
        raise ValueError(
            "`data` must be labeled to judge an encoder. "
            f"Received: {options.data!r}, without labels"
        )
    encoders.check_images(encoder, (None, *train.image_shape))

    keras.utils.set_random_seed(0)  # for the untrained encoder
    with runs.stage(f"judging on {len(train)} + {len(test)} images"):
        rows = evaluation.judge_beside_baselines(encoder, train, test)
    print(evaluation.table(rows))
    if options.knn_grid:
        grid = evaluation.knn_grid(
            evaluation.extract(encoder, train), evaluation.extract(encoder, test)
        )
        (k, temperature), best = max(grid.items(), key=lambda item: item[1])
        print(f"best kNN of the paper's grid: {100 * best:.1f} % (k={k}, {temperature=})")
    return rows


if __name__ == "__main__":
    try:
        main()
    except ValueError as error:
        sys.exit(f"error: {error}")
