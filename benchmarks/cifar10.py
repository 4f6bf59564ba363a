"""CIFAR-10 by ResNet-18, as solo-learn trains it: one command gives the table, and goes on later.

    KERAS_BACKEND=jax python benchmarks/cifar10.py --cifar cifar10.npz --minutes 10
    KERAS_BACKEND=jax python benchmarks/cifar10.py --cifar cifar10.npz --methods emp-ssl --views 200

It is for an accelerator: JAX, bfloat16, views on the device. Every method sees as many views of
each image (`--views`): EMP-SSL makes 20 of an image at a time, the others 2. Settings are those of
solo-learn's files for CIFAR-10 (LARS 0.02, clipped; 0.4 for SimCLR and 0.3 for the others; batches
of 256), with Table S6's criteria for VICReg-exp and VICReg-ctr, and EMP-SSL's own.

Each method is a run of `keras-ssl pretrain` in a folder of its own below `--output`. After
`--minutes`, the run that is under way is stopped at a step; the same command goes on with it, and
then with the others. Prints the figures of those that are done: kNN and logistic regression on the
frozen features, fitted on 10,000 training images, evenly spaced, and tested on all test images
(`keras-ssl pretrain` judges so). `--smoke` shrinks every run, and the encoder to ResNet-8, for a
CPU; it has a folder of its own.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from keras_ssl import evaluation, models, recipes


def like_solo_learn(model, projector="2048-2048-2048", rate=0.3, policy="byol", **criterion):
    """Makes the settings of solo-learn's files for CIFAR-10, with a criterion of any method."""
    return recipes.Recipe(
        model,
        projector=projector,
        batch_size=256,
        base_learning_rate=rate,
        weight_decay=1e-4,
        epochs=1000,
        policy=policy,
        source="vturrisi/solo-learn, scripts/pretrain/cifar (ResNet-18), whose views have no blur",
        criterion=criterion,
        optimizer=recipes.lars_tcr,
    )


RECIPES = {
    "emp-ssl": recipes.PUBLISHED["emp-ssl-cifar10"],
    "simclr": like_solo_learn(models.SimCLR, "2048-256", 0.4, "simclr_cifar", temperature=0.2),
    "vicreg": like_solo_learn(models.VICReg),
    "barlow-twins": like_solo_learn(models.BarlowTwins, redundancy_weight=0.005),
    "vicreg-exp": like_solo_learn(models.VICRegExp),
    "vicreg-ctr": like_solo_learn(models.VICRegCtr),
}


def command(name: str, options: argparse.Namespace) -> list[str]:
    """Returns the command that begins a method's run, or goes on with it."""
    program = [sys.executable, "-m", "keras_ssl", "pretrain"]
    folder = options.output / name
    if (folder / "config.json").exists():
        return [*program, "--resume", str(folder)]
    recipe = RECIPES[name]
    epochs = max(1, round(options.views / len(recipe.build_policy().views)))
    config = options.output / f"{name}.json"
    config.parent.mkdir(parents=True, exist_ok=True)
    recipe = dataclasses.replace(recipe, epochs=epochs)
    config.write_text(json.dumps({"recipe": recipe.get_config()}))
    more = ["--smoke"] if options.smoke else ["--precision", "mixed_bfloat16"]
    encoder = "resnet8-strided" if options.smoke else "resnet18"
    return [
        *(*program, options.cifar, "--config", str(config), "--out", str(folder)),
        *("--encoder", encoder, "--views", "device", "--evaluate-every", "50"),
        *("--seed", str(options.seed), "--no-probe", *more),
    ]


def run(name: str, options: argparse.Namespace, end: float) -> bool:
    """Runs a method until it is done or time is up, and returns whether it is done."""
    process = subprocess.Popen(command(name, options))
    try:
        code = process.wait(max(end - time.monotonic(), 1))
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # It saves a checkpoint.
        process.wait()
        return False
    if code:
        raise SystemExit(code)
    return True


def figures_of(folder: pathlib.Path) -> dict[str, float] | None:
    """Returns the figures of a run that is done."""
    results = folder / "results.json"
    return json.loads(results.read_text())["trained"] if results.exists() else None


def main() -> None:
    """Runs the methods that are not done, as long as there is time, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--methods", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--views", type=int, default=200, help="views of each image in all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="time for all runs")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/cifar10"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args()
    # A run of other options is another run.
    kind = "smoke" if options.smoke else f"{options.views}-views"
    options.output /= f"{kind}-seed-{options.seed}"

    end = time.monotonic() + 60 * options.minutes
    for name in options.methods:
        is_done = figures_of(options.output / name) is not None
        if not is_done and not (time.monotonic() < end and run(name, options, end)):
            print(f"{name} is not done: the same command goes on with it", flush=True)
            break
    found = {name: figures_of(options.output / name) for name in options.methods}
    rows = {
        name: {
            "kNN, %": f"{100 * figures['knn']:.1f}",
            "linear, %": f"{100 * figures['linear']:.1f}",
            "RankMe": f"{figures['rankme']:.1f}",
        }
        for name, figures in found.items()
        if figures is not None
    }
    if rows:
        print(evaluation.table(rows))


if __name__ == "__main__":
    main()
