"""How alike are encoders that different methods trained? The duality paper's matrix of linear CKA.

    python benchmarks/methods.py --cifar cifar10.npz --encoders runs/encoders --seeds 0 1
    python benchmarks/similarity.py runs/encoders --cifar cifar10.npz

Takes every encoder that benchmarks/methods.py kept, "METHOD, seed SEED.keras", and computes the
linear CKA of every two over all test images, exactly (`keras_ssl.evaluation.cka_matrix`). Writes
`--output`, a JSON file, and the picture of the matrix beside it. Prints the means: between two
seeds of one method, between two methods (of one seed, and so of one initialization and order of the
images, or of two), and between a trained and an untrained encoder. The paper has 0.92 to 0.96
within a method, 0.87 to 0.91 between methods, and 0.13 to 0.15 (ResNet-50 on ImageNet).
"""

import argparse
import itertools
import json
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np

from keras_ssl import data, evaluation

UNTRAINED = "untrained"
NOT_ENCODERS = ("raw pixels",)

TITLE = "Linear CKA, CIFAR-10 test images"


def parts(name: str) -> tuple[str, str]:
    """Returns the method and the seed of an encoder called "METHOD, seed SEED"."""
    method, _, seed = name.rpartition(", seed ")
    return method, seed


def kind_of_pair(name_1: str, name_2: str) -> str:
    """Returns which of the means a pair of encoders belongs to."""
    methods, seeds = (set(pair) for pair in zip(parts(name_1), parts(name_2), strict=True))
    if UNTRAINED in methods:
        return "two untrained" if len(methods) == 1 else "trained and untrained"
    if len(methods) == 1:
        return "one method, two seeds"
    return "two methods, one seed" if len(seeds) == 1 else "two methods, two seeds"


def means(cka: evaluation.CKA) -> dict[str, dict[str, float]]:
    """Returns mean, least and greatest CKA of each kind of pair."""
    values: dict[str, list[float]] = {}
    for (i, a), (j, b) in itertools.combinations(enumerate(cka.names), 2):
        values.setdefault(kind_of_pair(a, b), []).append(float(cka.values[i, j]))
    return {
        kind: {
            "mean": float(np.mean(found)),
            "least": min(found),
            "greatest": max(found),
            "pairs": len(found),
        }
        for kind, found in values.items()
    }


def main() -> None:
    """Computes the matrix, writes it and its picture, and prints the means."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("encoders", type=pathlib.Path, help="folder of encoders")
    parser.add_argument("--cifar", required=True, help="CIFAR-10 as an .npz file")
    parser.add_argument("--methods", nargs="*", help="default: all that are there")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("runs/similarity.json"))
    options = parser.parse_args()

    files = {path.stem: path for path in sorted(options.encoders.glob("*, seed *.keras"))}
    found = list(dict.fromkeys(parts(name)[0] for name in files))
    wanted = options.methods or [name for name in found if name not in NOT_ENCODERS]
    missing = set(wanted) - set(found)
    if not found:
        raise SystemExit(f"error: {options.encoders} holds no encoders of benchmarks/methods.py")
    if missing:
        raise SystemExit(f"error: {options.encoders} holds {found}, not {sorted(missing)}")
    names = [name for method in wanted for name in files if parts(name)[0] == method]
    _, test = data.load(options.cifar)
    cka = evaluation.cka_matrix(
        {name: keras.saving.load_model(files[name]) for name in names}, test
    )
    summary = means(cka)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    record = {"names": cka.names, "values": cka.values.tolist(), "images": len(test), **summary}
    options.output.write_text(json.dumps(record) + "\n")
    evaluation.draw_cka(cka, options.output.with_suffix(".png"), TITLE)
    rows = {
        kind: {column: f"{row[column]:.2f}" for column in ("mean", "least", "greatest")}
        | {"pairs": str(row["pairs"])}
        for kind, row in summary.items()
    }
    print(evaluation.table(rows))


if __name__ == "__main__":
    main()
