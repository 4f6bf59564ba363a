"""Measures the search of the nearest neighbors that judges an encoder, ours beside scikit-learn's.

    python benchmarks/neighbors.py                    # seed 0
    python benchmarks/neighbors.py --stored 200000    # a minute, and 400 MB of features

The queries are 10,000 features of 512 numbers, and 20 neighbors vote. "cosine" is scikit-learn's
search by that name, which holds a gigabyte of distances at a time. The program prints wall and CPU
seconds of one run each, and the peak of memory above the features, each in a process of its own.
"""

import argparse
import os
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
from memory import peak_from_here


def _features(count, width, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((count, width), dtype="float32"), rng.integers(0, 10, count)


def ours(stored, labels, queries, of_queries):
    """The accuracy of `keras_ssl.evaluation`."""
    from keras_ssl import evaluation

    train, test = (evaluation.Features(*x) for x in ((stored, labels), (queries, of_queries)))
    return evaluation.knn_accuracy(train, test)


def cosine(stored, labels, queries, of_queries):
    """The same vote over scikit-learn's search by cosine."""
    from sklearn.neighbors import NearestNeighbors

    search = NearestNeighbors(n_neighbors=20, metric="cosine", algorithm="brute").fit(stored)
    distances, indices = search.kneighbors(queries)
    scores = np.zeros((len(queries), 10))
    for i in range(20):
        scores[np.arange(len(queries)), labels[indices[:, i]]] += np.exp(-distances[:, i] / 0.07)
    return float(np.mean(scores.argmax(1) == of_queries))


CONTENDERS = {"keras_ssl": ours, "cosine": cosine}


def main():
    """Prints a row for each contender."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--stored", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.one:
        for name in CONTENDERS:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--one", name], check=True)
        return
    counts = arguments.stored, arguments.queries
    sets = [_features(count, arguments.width, seed) for seed, count in enumerate(counts)]
    search = CONTENDERS[arguments.one]
    search(*(x[:100] for pair in sets for x in pair))  # Imports.
    above = peak_from_here()
    start, busy = time.perf_counter(), time.process_time()
    accuracy = search(*(x for pair in sets for x in pair))
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    peak = above()
    print(
        f"{arguments.one:<10} {arguments.queries:,} of {arguments.stored:,}: {seconds:6.1f} s, "
        f"CPU {busy:6.1f} s, {peak:6.0f} MiB, accuracy {accuracy:.4f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
