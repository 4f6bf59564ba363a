"""Prints, for every criterion, how much replicas with different data differ from one device.

    python -m tests.distribution.criteria_program 2 many,wide [brief] [unknown] [graph]

Replicas are logical devices, which must be set before TensorFlow starts, so this is a process of
its own.
"""

import json
import re
import sys

import numpy as np
import tensorflow as tf

from keras_ssl import losses, replicas
from tests.catalog import with_side
from tests.distribution.fit_program import make_strategy
from tests.losses.test_values import CASES


class Naive(losses.VICRegLoss):
    """A criterion of a user who never thought of replicas."""

    def terms(self, z_1, z_2):
        terms = super().terms(z_1, z_2)
        terms["variance"] = terms["variance"] + tf.reduce_mean(z_1**2) / tf.math.reduce_std(z_2)
        return terms


def criteria(brief):
    """Returns all criteria of the float64 tests: both sides of each dual, blocks, a naive one.

    A brief comparison is of wide embeddings, where a criterion takes the gram side by itself.
    """
    seen = set()
    for name, (criterion, _) in CASES.items():
        # The forms of NT-Xent and DCL differ only before the replicas communicate, and the weights
        # of VICReg only afterwards.
        is_like_another = (
            re.search("dcl|squared|absolute|literal|weights", name) and type(criterion) in seen
        )
        seen.add(type(criterion))
        if not (brief and is_like_another):
            yield name, criterion
    yield "naive", Naive(dtype="float64")
    for side in ("covariance",) if brief else ("gram", "covariance"):
        for name, criterion in with_side().items():
            yield f"{name}-on-{side}", criterion(side=side, dtype="float64")
    for negatives in ("all", "same_view", "cross_view"):
        criterion = losses.NTXentLoss(0.02, negatives, block_size=3, dtype="float64")
        yield f"nt-xent-blocks-{negatives}", criterion
    yield "vicreg-exp-blocks", losses.VICRegExpLoss(block_size=3, dtype="float64")


def embeddings(case):
    """Returns two views (N, M) that are many, wide, or nearly orthogonal; these need the mask."""
    shape = {"many": (16, 4), "wide": (8, 12), "orthogonal": (16, 12), "odd": (8, 7)}[case]
    rng = np.random.RandomState(shape[1])
    z_1 = rng.randn(*shape)
    if case == "orthogonal":
        z_1 = np.concatenate([np.eye(12), 1e-3 * rng.randn(4, 12)]) + 1e-4 * z_1
    return z_1, z_1 + 0.5 * rng.randn(*shape) * np.abs(z_1).mean()


def value_and_gradients(criterion, pair):
    """Returns the terms, the loss, and its gradients at the embeddings."""
    with tf.GradientTape() as tape:
        tape.watch(pair)
        terms = criterion.measure(*pair)
        loss = criterion.combine(terms)
    gradients = tape.gradient(loss, pair)
    return {**terms, "loss": replicas.sum_over_replicas(loss)}, gradients


def on_one_device(criterion, pair):
    """Returns the terms and the loss, its gradients, and the scales of their rounding errors.

    These are the terms, and the gradients of the weighted terms: if a loss is a small difference of
    large terms, it and its gradient are only as exact as these.
    """
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(pair)
        terms = criterion.measure(*pair)
        loss = criterion.combine(terms)
    sizes = {name: abs(float(value)) for name, value in terms.items()}
    sizes["loss"] = sum(weight * sizes[name] for name, weight in criterion.weights.items())
    slopes = [
        weight * tape.gradient(terms[name], pair[0], unconnected_gradients="zero")
        for name, weight in criterion.weights.items()
    ]
    sizes["gradient"] = max(float(tf.reduce_max(tf.abs(slope))) for slope in slopes)
    return {**terms, "loss": loss}, tape.gradient(loss, pair), sizes


def compare(strategy, cases, brief=False, known_batch=True, in_graph=False):
    """Returns the largest relative differences by case, criterion and value, and the criteria."""
    report, seen = {}, set()
    for case in cases:
        z = embeddings(case)
        rows = len(z[0]) // strategy.num_replicas_in_sync
        # The shape that a data set would have.
        shape = (rows if known_batch else None, z[0].shape[1])
        pair = strategy.experimental_distribute_values_from_function(
            lambda c, z=z, rows=rows: tuple(
                tf.constant(a[c.replica_id_in_sync_group * rows :][:rows]) for a in z
            )
        )
        for name, criterion in criteria(brief):
            seen.add(type(criterion).__name__)

            def on_replica(pair, criterion=criterion, shape=shape):
                pair = tuple(tf.ensure_shape(tf.identity(a), shape) for a in pair)
                return value_and_gradients(criterion, pair)

            expected, slopes, sizes = on_one_device(criterion, tuple(tf.constant(a) for a in z))

            def run(pair, f=on_replica):
                return strategy.run(f, args=(pair,))

            run = tf.function(run) if in_graph else run
            got, own_slopes = tf.nest.map_structure(
                strategy.experimental_local_results, run(pair), expand_composites=False
            )
            differences = {
                figure: np.max(np.abs(np.stack(values) - expected[figure])) / (sizes[figure] + 1e-9)
                for figure, values in got.items()
            }
            differences["gradient"] = max(
                np.max(np.abs(np.concatenate(parts) - whole)) / sizes["gradient"]
                for parts, whole in zip(own_slopes, slopes, strict=True)
            )
            for figure, difference in differences.items():
                report[f"{case} {name} {figure}"] = float(difference)
    return {"differences": report, "criteria": sorted(seen)}


if __name__ == "__main__":
    result = compare(
        make_strategy(int(sys.argv[1])),
        sys.argv[2].split(","),
        brief="brief" in sys.argv,
        known_batch="unknown" not in sys.argv,
        in_graph="graph" in sys.argv,
    )
    print(json.dumps(result))
