"""Draws every picture of the results again from the figures that are kept: `make figures`.

    python benchmarks/figures.py                   # all of them, beside their figures
    python benchmarks/figures.py --output /tmp/figures

The figures (`*.json`) are of the programs of the same names, whose docstrings have the commands.
The pictures of studies are below tuning/results, and come with each study's report.
"""

import argparse
import json
import pathlib

import growth
import losses
import methods
import numpy as np
import similarity
import speedrun

from keras_ssl import evaluation

HERE = pathlib.Path(__file__).parent


def draw_similarity(found: dict, path: pathlib.Path) -> None:
    """Draws the matrix of CKA."""
    cka = evaluation.CKA(tuple(found["names"]), np.array(found["values"]))
    evaluation.draw_cka(cka, path, similarity.TITLE)


PICTURES = {
    "growth": growth.plot,
    "losses": losses.plot,
    "methods": methods.plot,
    "methods_cifar10": methods.plot,
    "similarity_cifar10": draw_similarity,
    "speedrun": speedrun.plot,
}


def main() -> None:
    """Draws the pictures whose figures are there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=pathlib.Path, default=HERE, help="folder of the pictures")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for name, draw in PICTURES.items():
        path, figures = options.output / f"{name}.png", HERE / f"{name}.json"
        if figures.is_file():
            draw(json.loads(figures.read_text()), path)
            print(path)


if __name__ == "__main__":
    main()
