"""Correlates figures that need no labels with accuracy: do they find the best encoder?

    python benchmarks/label_free.py --data-dir ../shared/data
    python benchmarks/label_free.py --cifar cifar10.npz --judge-at 4 20 --seeds 0 1 2
    python benchmarks/label_free.py --study tuning/results/tuning_gap-cifar10/trials.csv

Trains encoders that differ in method and settings (every method's small recipe, and sweeps of the
weights of VICReg, of the temperature of SimCLR and of the learning rate) on the first 10,000 images
of Fashion-MNIST or CIFAR-10, without labels. Compares RankMe, LiDAR, alpha-ReQ and uniformity of
each encoder with its linear accuracy on the test split, at each of the epochs of `--judge-at`, of
which the last ends the run. Prints Spearman's correlation over all encoders and within each sweep,
which is 1 if the figure puts them in the order of their accuracy, and the accuracy of the encoder
that the figure would have chosen, beside the best one. Each seed is a trial of its own: the table
has the means over the seeds, and standard errors where there are several. Takes one to three
minutes per encoder on two CPU cores. A stopped run goes on from what `--output` holds.

`--study` trains nothing: it takes the draws of a study that was run with `--label-free`, and their
figures on the images that settings were chosen by.
"""

import argparse
import csv
import dataclasses
import json
import math
import pathlib

import keras
import numpy as np
from methods import fashion_mnist, first_images, pretrain
from scipy.stats import spearmanr

from keras_ssl import data, evaluation, recipes

VICREG, SIMCLR = recipes.SMALL["vicreg"], recipes.SMALL["simclr"]


def with_criterion(recipe, **arguments):
    """Returns a recipe with other settings of its criterion."""
    return dataclasses.replace(recipe, criterion={**recipe.criterion, **arguments})


SWEEPS = {
    "methods": dict(recipes.SMALL),
    "VICReg, covariance weight": {
        f"{w:g}": with_criterion(VICREG, covariance_weight=w) for w in (0.01, 0.1, 1.0, 10.0, 100.0)
    },
    "VICReg, invariance weight": {
        f"{w:g}": with_criterion(VICREG, invariance_weight=w) for w in (1.0, 5.0, 25.0, 100.0)
    },
    "SimCLR, temperature": {
        f"{t:g}": with_criterion(SIMCLR, temperature=t) for t in (0.03, 0.15, 0.5, 2.0)
    },
    "SimCLR, base learning rate": {
        f"{lr:g}": dataclasses.replace(SIMCLR, base_learning_rate=lr)
        for lr in (1e-4, 1e-3, 6e-3, 6e-2)
    },
}
# Functions of the figures of `judge` that return a score, where more is better.
SCORES = {
    "RankMe": lambda figures: figures["rankme"],
    "LiDAR": lambda figures: figures["lidar"],
    "alpha-ReQ, from 1": lambda figures: -abs(figures["alpha_req"] - 1),
    "uniformity": lambda figures: -figures["uniformity"],
}


class JudgeAt(keras.callbacks.Callback):
    """Judges the encoder after some of the epochs."""

    def __init__(self, epochs, train, test, policy):
        super().__init__()
        self.epochs, self.images, self.policy = epochs, (train, test), policy
        self.figures = {}

    def on_epoch_end(self, epoch, logs=None):
        """Judges it, if this is one of them."""
        if epoch + 1 in self.epochs:
            judged = evaluation.judge(self.model.encoder, *self.images, policy=self.policy)
            self.figures[str(epoch + 1)] = judged


def figures_of(recipe, train, test, seed, epochs):
    """Trains an encoder, and returns its figures by the epochs done."""
    judge = JudgeAt(epochs, train, test, recipe.build_policy())
    pretrain(recipe, train, seed, [judge])
    return judge.figures


def keys(sweep, seed):
    """Returns the names of the runs of a sweep."""
    return [f"{sweep}: {name}, seed {seed}" for name in SWEEPS[sweep]]


def compared(runs, score):
    """Returns Spearman's correlation of a score with the accuracy, and that of its choice."""
    accuracies = [run["linear"] for run in runs]
    # The score is NaN if the spectrum of an encoder has nothing to fit: count it as worst.
    scores = [-math.inf if math.isnan(score(run)) else score(run) for run in runs]
    correlation = spearmanr(scores, accuracies).statistic
    return correlation, 100 * accuracies[scores.index(max(scores))]


def table(figures, epoch, seeds):
    """Returns correlations, and the accuracy of each score's choice, in Markdown."""
    found = {
        sweep: [
            [figures[key][epoch] for key in keys(sweep, seed) if key in figures] for seed in seeds
        ]
        for sweep in SWEEPS
    }
    # The default settings are in several sweeps, with the same figures.
    everything = [[run for sweep in found.values() for run in sweep[i]] for i in range(len(seeds))]
    found = {
        "all": [list({json.dumps(run): run for run in runs}.values()) for runs in everything],
        **found,
    }
    rows = {}
    for sweep, by_seed in found.items():
        accuracies = 100 * np.array([[run["linear"] for run in runs] for runs in by_seed])
        row = {"encoders": str(accuracies.shape[1])}
        row["best"] = f"{np.mean(np.max(accuracies, axis=1)):.1f}"
        row["worst"] = f"{np.mean(np.min(accuracies, axis=1)):.1f}"
        for name, score in SCORES.items():
            correlations, chosen = zip(*(compared(runs, score) for runs in by_seed), strict=True)
            error = np.std(correlations, ddof=1) / len(seeds) ** 0.5 if len(seeds) > 1 else None
            spread = "" if error is None else f" ± {error:.2f}"
            row[name] = f"{np.mean(correlations):+.2f}{spread} ({np.mean(chosen):.1f})"
        rows[sweep] = row
    return evaluation.table(rows)


def table_of_study(path):
    """Returns the table of a study's draws: all, the defaults alone, and within each arm."""
    with open(path, newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == "search"]
    names = ("linear", "knn", "rankme", "lidar", "alpha_req", "uniformity")
    draws = [
        (row["arm"], row["draw"], {name: float(row[f"val_{name}"]) for name in names})
        for row in rows
        if row["status"] == "completed"
    ]
    arms = [
        [run for arm, _, run in draws if arm == name]
        for name in dict.fromkeys(arm for arm, *_ in draws)
    ]
    found = {
        "all draws": [[run for *_, run in draws]],
        "the defaults of each arm": [[run for _, draw, run in draws if draw == "0"]],
        f"within an arm, mean of {len(arms)}": arms,
    }
    table_rows = {}
    for label, groups in found.items():
        row = {"encoders": str(len(groups[0]))}
        best = [100 * max(run["linear"] for run in runs) for runs in groups]
        row["best"] = f"{np.mean(best):.1f}"
        for name, score in SCORES.items():
            correlations, chosen = zip(*(compared(runs, score) for runs in groups), strict=True)
            error = ""
            if len(groups) > 1:
                error = f" ± {np.std(correlations, ddof=1) / len(groups) ** 0.5:.2f}"
            row[name] = f"{np.mean(correlations):+.2f}{error} ({np.mean(chosen):.1f})"
        table_rows[label] = row
    return evaluation.table(table_rows)


def main():
    """Trains the encoders that are not in the output yet, and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-dir", help="folder that holds fashion-mnist/")
    source.add_argument("--cifar", help="CIFAR-10 as an .npz file, in the place of Fashion-MNIST")
    source.add_argument("--study", help="trials.csv of a study that was run with --label-free")
    parser.add_argument("--output", type=pathlib.Path, default="runs/label_free.json")
    parser.add_argument("--judge-at", type=int, nargs="+", default=[4], help="epochs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--images", type=int, default=10_000, help="training images")
    options = parser.parse_args()
    if options.study:
        print(table_of_study(options.study))
        return
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figures = json.loads(options.output.read_text()) if options.output.is_file() else {}
    load, path = (
        (first_images, options.cifar) if options.cifar else (fashion_mnist, options.data_dir)
    )
    train, test = load(path, options.images)
    # Earlier files do not say which images they are of.
    if figures.setdefault("images", own := data.fingerprint(train)) != own:
        raise SystemExit(f"error: {options.output} is of other images: {figures['images']}")
    changes = {
        "epochs": max(options.judge_at),
        "warmup_epochs": 1,
        "policy": data.policy_for(train.image_shape),
    }
    for seed in options.seeds:
        for sweep, runs in SWEEPS.items():
            for key, recipe in zip(keys(sweep, seed), runs.values(), strict=True):
                if set(map(str, options.judge_at)) <= set(figures.get(key, ())):
                    continue
                recipe = dataclasses.replace(recipe, **changes)
                figures[key] = figures_of(recipe, train, test, seed, options.judge_at)
                options.output.write_text(json.dumps(figures, indent=1) + "\n")
                print(key, figures[key], flush=True)
    for epoch in options.judge_at:
        print(f"\nSpearman's correlation with linear accuracy after {epoch} epochs")
        print("(accuracy of the chosen encoder, %)\n")
        print(table(figures, str(epoch), options.seeds))


if __name__ == "__main__":
    main()
