"""Correlates figures that need no labels with accuracy: do they find the best encoder?

    python benchmarks/label_free.py --data-dir ../shared/data

Trains encoders that differ in method and settings (every method's small recipe, and sweeps of the
weights of VICReg, of the temperature of SimCLR and of the learning rate) on 10,000 images of
Fashion-MNIST without labels. Compares RankMe, LiDAR, alpha-ReQ and uniformity of each encoder with
its linear accuracy on the test split. Prints Spearman's correlation over all encoders and within
each sweep, which is 1 if the figure puts them in the order of their accuracy. Also prints the
accuracy of the encoder that each figure would have chosen, beside the best accuracy. Takes about a
minute per encoder on two CPU cores. A stopped run goes on from what `--output` holds.
"""

import argparse
import dataclasses
import json
import math
import pathlib

from methods import fashion_mnist, pretrain
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


def table(figures):
    """Returns correlations, and the accuracy of each score's choice, in Markdown."""
    groups = {
        sweep: [figures[f"{sweep}: {name}"] for name in runs] for sweep, runs in SWEEPS.items()
    }
    # The default settings are in several sweeps, with the same figures.
    different = {json.dumps(run): run for runs in groups.values() for run in runs}
    groups = {"all": list(different.values()), **groups}
    rows = {}
    for sweep, runs in groups.items():
        accuracies = [run["linear"] for run in runs]
        row = {"encoders": str(len(runs)), "best": f"{100 * max(accuracies):.1f}"}
        row["worst"] = f"{100 * min(accuracies):.1f}"
        for name, score in SCORES.items():
            # The score is NaN if the spectrum of an encoder has nothing to fit: count it as worst.
            scores = [-math.inf if math.isnan(score(run)) else score(run) for run in runs]
            correlation = spearmanr(scores, accuracies).statistic
            chosen = accuracies[scores.index(max(scores))]
            row[name] = f"{correlation:+.2f} ({100 * chosen:.1f})"
        rows[sweep] = row
    return evaluation.table(rows)


def main():
    """Trains the encoders that are not in the output yet, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data-dir", required=True, help="folder that holds fashion-mnist/")
    parser.add_argument("--output", type=pathlib.Path, default="runs/label_free.json")
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    figures = json.loads(options.output.read_text()) if options.output.is_file() else {}
    train, test = fashion_mnist(options.data_dir, 10_000)
    for sweep, runs in SWEEPS.items():
        for name, recipe in runs.items():
            key = f"{sweep}: {name}"
            if key in figures:
                continue
            recipe = dataclasses.replace(recipe, epochs=options.epochs, warmup_epochs=1)
            encoder, _ = pretrain(recipe, train, seed=0)
            policy = data.policy(recipe.policy)
            figures[key] = evaluation.judge(encoder, train, test, policy=policy)
            options.output.write_text(json.dumps(figures, indent=1) + "\n")
            print(key, {k: round(v, 3) for k, v in figures[key].items()}, flush=True)
    print("\nSpearman's correlation with linear accuracy (accuracy of the chosen encoder, %)\n")
    print(table(figures))


if __name__ == "__main__":
    main()
