"""Fine-tunes on few labels, beside training from scratch: is pretraining worth it?

    python ../shared/data/cifar10/unpack.py runs/cifar10.npz
    python benchmarks/few_labels.py cifar10 --images runs/cifar10.npz
    tar xf ../shared/data/clothing128.tar -C runs
    python benchmarks/few_labels.py clothing --images runs/clothing128

SimCLR pretrains a ResNet-8 (width 16, strided stem: 78 thousand parameters) on all training images
without their labels: CIFAR-10 at 32 px, 8 epochs; Clothing at 64 px, 20 epochs. Then it is
fine-tuned with 1 % and 10 % of the labels, and the same network is trained from new weights on the
same subsets, with as many steps: five subsets, whose differences are paired. The learning rates are
those of `keras_ssl.finetuning.compare`: of two tried for each, the better on 2,000 of CIFAR-10's
training images (from scratch 0.003 and 0.01, fine-tuned 0.001 and 0.003; higher was better twice).
Prints a Markdown table, and writes the rows to `--output`. benchmarks/few_labels.json has those of
the docs, of `--labels 0.1`.

Measured at 10 % of the labels, fine-tuned minus from scratch: CIFAR-10 (JPEG copy) +2.0 ± 0.3
points, 61.3 against 59.3 %; Clothing +3.4 ± 2.2, 41.2 against 37.8 %, on 372 test images, which is
within two standard errors. Clothing has 460 steps of pretraining, which is few. From scratch, the
accuracy on the images trained on is lower (CIFAR-10: 62 to 69 %, fine-tuned 71 to 74 %): more steps
may narrow the difference.

Takes 6 to 16 minutes of pretraining and about a minute per training on two CPU cores, more if they
are shared. A stopped run goes on: the pretraining is kept once it is over, and every training.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from keras_ssl import data, encoders, finetuning, recipes, runs
from keras_ssl._log import shown


@dataclasses.dataclass(frozen=True)
class Settings:
    """What differs between the two sets of images."""

    image_size: int
    epochs: int
    pretraining_batch: int
    batch_size: int
    steps: dict[float, int]


SETS = {
    # 1 % and 10 % of 50,000 images: 77 and 20 passes.
    "cifar10": Settings(32, 8, 256, 64, {0.01: 600, 0.1: 1600}),
    # Of 3,068 photos: 31 and 307 images, 600 and 60 passes.
    "clothing": Settings(64, 20, 128, 32, {0.01: 600, 0.1: 600}),
}


def pretrain(settings: Settings, images: data.ImageSet, file: pathlib.Path) -> None:
    """Trains an encoder with SimCLR, and saves it."""
    recipe = dataclasses.replace(
        recipes.SMALL["simclr"],
        epochs=settings.epochs,
        batch_size=settings.pretraining_batch,
        policy="simclr_cifar",
        warmup_epochs=1,
    )
    keras.utils.set_random_seed(0)
    encoder = encoders.build_encoder("resnet8-strided", images.image_shape)
    model = recipe.build_model(encoder)
    views = data.make_views(images, recipe.build_policy(), recipe.batch_size, seed=0)
    model.compile(recipe.build_optimizer(len(views)))
    model.fit(views, epochs=recipe.epochs, verbose=2)
    encoder.save(file)


def main() -> None:
    """Pretrains, compares, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("set", choices=SETS)
    parser.add_argument("--images", required=True, help="cifar10.npz, or the folder clothing128")
    parser.add_argument("--folder", type=pathlib.Path, default="runs/few_labels")
    parser.add_argument("--encoder", help="a pretrained encoder; default: it is pretrained first")
    parser.add_argument("--labels", nargs="*", type=float, default=[0.1, 0.01])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--output", type=pathlib.Path, help="default: rows.json in the folder")
    options = parser.parse_args()
    settings = SETS[options.set]
    train, test = data.load(options.images, image_size=settings.image_size)
    folder = options.folder / options.set
    folder.mkdir(parents=True, exist_ok=True)
    file = pathlib.Path(options.encoder or folder / "encoder.keras")
    if not options.encoder and not file.is_file():
        start = time.time()
        pretrain(settings, train.without_labels(), file)
        print(f"pretrained in {(time.time() - start) / 60:.1f} minutes", flush=True)
    encoder = encoders.load_encoder(file)
    rows = {}
    for fraction in options.labels:
        with shown():
            comparison = finetuning.compare(
                encoder,
                train,
                test,
                folder / f"{fraction:g}",
                labels=[fraction],
                seeds=options.seeds,
                steps=settings.steps.get(fraction),
                batch_size=settings.batch_size,
            )
        rows.update(comparison.rows)
        output = options.output or folder / "rows.json"
        results = {"settings": dataclasses.asdict(settings), **runs.versions(), "rows": rows}
        output.write_text(json.dumps({options.set: results}, indent=1) + "\n")
    print(f"\n{options.set}, accuracy on the test images, %\n")
    print(finetuning.Comparison(rows, folder).table)


if __name__ == "__main__":
    main()
