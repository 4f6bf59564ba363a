"""SIGReg on both sides: all directions at once, and as random slices. Value, bias and time.

    python benchmarks/sigreg.py            # seed 0, two minutes

The first table has the statistic of one matrix of embeddings: exactly, and as the mean over 64 to
65,536 random directions, each in closed form (all that is left is the error of sampling), and each
by the published rule of 17 points up to t = 3 (which adds a bias). The second has the time of a
value and its gradient, in a graph, beside 1024 slices by the published rule in TensorFlow and, if
it is installed (`pip install torch torchvision; pip install --no-deps lightly`), lightly's SIGReg.
Contenders take turns; medians and ratios of one run.
"""

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from losses import lightly_losses, tensorflow_step, time_in_turns, torch_step

from keras_ssl import duality
from keras_ssl.losses import gram

SLICES = (64, 256, 1024, 4096, 16384, 65536)
SHAPES = ((256, 64), (256, 512), (256, 2048), (1024, 256), (4096, 128), (16384, 64))
PUBLISHED = 1024


def in_closed_form(x):
    """The statistic of each column of x (N, S), the samples along one direction."""
    n = len(x)
    values = []
    for column in x.T:
        pairs = np.exp(-np.square(column[:, None] - column) / 2).mean()
        single = np.exp(-np.square(column) / 4).mean()
        values.append(n * np.sqrt(2 * np.pi) * (pairs - np.sqrt(2) * single + 1 / np.sqrt(3)))
    return np.array(values)


def by_the_rule(x, points=17, limit=3.0):
    """The same by the published rule."""
    t = np.linspace(0, limit, points)
    weights = np.full(points, 2 * limit / (points - 1))
    weights[[0, -1]] /= 2
    normal = np.exp(-np.square(t) / 2)
    total = np.zeros(x.shape[1])
    for point, of_normal, weight in zip(t, normal, weights * normal, strict=True):
        real, imaginary = np.cos(point * x).mean(axis=0), np.sin(point * x).mean(axis=0)
        total += weight * (np.square(real - of_normal) + np.square(imaginary))
    return len(x) * total


def matrices():
    """Embeddings to measure: normal ones, and ones of few directions."""
    rng = np.random.RandomState(0)
    few = rng.randn(256, 4) @ np.linalg.qr(rng.randn(512, 4))[0].T * np.sqrt(512 / 4)
    return {"normal, 256 x 64": rng.randn(256, 64), "rank 4, 256 x 512": few}


def print_values():
    """Prints the first table."""
    print("| embeddings | all directions | slices | closed form | published rule |")
    print("|---|---|---|---|---|")
    for name, k in matrices().items():
        exact = float(duality.epps_pulley(k))
        rng = np.random.RandomState(1)
        found = {"closed": np.empty(0), "rule": np.empty(0)}
        for count in SLICES:
            a = rng.randn(k.shape[1], count - len(found["closed"]))
            along = k @ (a / np.linalg.norm(a, axis=0))
            found["closed"] = np.append(found["closed"], in_closed_form(along))
            found["rule"] = np.append(found["rule"], by_the_rule(along))
            cells = [
                f"{np.mean(values):.4f} ± {np.std(values) / np.sqrt(count):.4f}"
                for values in found.values()
            ]
            print(f"| {name} | {exact:.4f} | {count} | {' | '.join(cells)} |", flush=True)


def sliced(z, slices=PUBLISHED, points=17, limit=3.0):
    """The published form in TensorFlow: new random directions at every call."""
    a = tf.math.l2_normalize(tf.random.normal((z.shape[1], slices)), axis=0)
    t = tf.linspace(0.0, limit, points)
    weights = np.full(points, 2 * limit / (points - 1), "float32")
    weights[[0, -1]] /= 2
    normal = tf.exp(-tf.square(t) / 2)
    x = (z @ a)[..., None] * t  # (N, slices, points)
    real, imaginary = tf.reduce_mean(tf.cos(x), axis=0), tf.reduce_mean(tf.sin(x), axis=0)
    error = tf.square(real - normal) + tf.square(imaginary)
    return z.shape[0] * tf.reduce_mean(tf.linalg.matvec(error, weights * normal))


def of_first(f):
    """A loss of two matrices that looks at the first, for `tensorflow_step` and `torch_step`."""
    return lambda z_1, z_2: f(z_1) + 0 * z_2[0, 0]


def print_times(seconds):
    """Prints the second table."""
    lightly = lightly_losses()
    print("\n| N, M | all directions, ms | 1024 slices, × | lightly, 1024 slices, × |")
    print("|---|---|---|---|")
    for n, m in SHAPES:
        z = np.random.RandomState(0).randn(n, m).astype("float32")
        steps = {"ours": tensorflow_step(of_first(gram.epps_pulley), z, z)}
        if n <= 4096:  # A tensor (N, 1024, 17), and more of them for the gradient.
            steps["slices"] = tensorflow_step(of_first(sliced), z, z)
            if lightly is not None:
                from lightly.loss.lejepa_loss import SIGReg

                steps["lightly"] = torch_step(of_first(SIGReg()), z, z)
        times, _ = time_in_turns(steps, seconds)
        ratios = [
            f"{times[name] / times['ours']:.2g}" if name in times else "–"
            for name in ("slices", "lightly")
        ]
        print(f"| {n}, {m} | {1000 * times['ours']:.1f} | {' | '.join(ratios)} |", flush=True)


def main():
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="time for the turns of one row")
    options = parser.parse_args()
    print_values()
    print_times(options.seconds)


if __name__ == "__main__":
    main()
