"""Measures what a criterion costs, forward and backward, against its other forms.

The contenders are our criterion, the same on its other side, plain TensorFlow, and lightly's.

    python benchmarks/losses.py      # the table, the curves, runs/losses.json, runs/losses.png
    python benchmarks/losses.py --criteria vicreg --grid 256x8192 --no-curves

All figures of a row come from one run: the contenders take turns on the same embeddings, and the
program prints the median of each one's turns, as a ratio to ours, and writes each row. Peak memory
is that of a first step above its inputs, in a process of its own. `lightly` takes part if it can be
imported (`pip install torch lightly torchvision`); nothing else depends on it. The record of the
docs is benchmarks/losses.json, which is of several runs.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from criteria import has_side, without_row
from memory import peak_above

from keras_ssl import losses

GRID = [(256, 2048), (256, 8192), (1024, 8192), (1024, 256), (4096, 128)]
# Times by M at one N, and by N at one M.
CURVE_SAMPLES, CURVE_DIMENSIONS = 256, 128
CURVES = [(CURVE_SAMPLES, 2**k) for k in range(6, 14)] + [
    (2**k, CURVE_DIMENSIONS) for k in range(6, 13)
]
LARGE_BATCH = (32_768, 128)
# A factor or a spectrum of more rows than this takes minutes.
LARGEST_FACTOR = 4096
FACTORING = ("tcr", "EMPSSLLoss", "IVNELoss", "MMCRLoss", "MatrixEntropyLoss")


# --- The plain form, as one writes it ----------------------------------------------------------


def _off_diagonal_energy(c):
    return tf.reduce_sum(tf.square(c)) - tf.reduce_sum(tf.square(tf.linalg.diag_part(c)))


def _off_diagonal_log_sum_exp(c):
    nothing = tf.fill(tf.shape(c)[:1], -np.inf)
    return tf.reduce_mean(tf.reduce_logsumexp(tf.linalg.set_diag(c, nothing), axis=1))


def _variance(x, axis):
    variance = tf.math.reduce_variance(x, axis=axis) * x.shape[axis] / (x.shape[axis] - 1)
    return tf.reduce_mean(tf.nn.relu(1 - tf.sqrt(variance + 1e-4)))


def _vicreg(axis, penalty, weights, halved):
    def loss(z_1, z_2):
        total = weights[0] * tf.reduce_mean(tf.square(z_1 - z_2))
        for z in (z_1, z_2):
            x = z - tf.reduce_mean(z, axis=axis, keepdims=True)
            c = tf.matmul(x, x, transpose_a=axis == 0, transpose_b=axis == 1) / (x.shape[axis] - 1)
            total += weights[1] * _variance(z, axis) / 2
            total += weights[2] * penalty(c) / (2 if halved else 1)
        return total

    return loss


def _mean_energy(c):
    return _off_diagonal_energy(c) / c.shape[0]


def _barlow_twins(z_1, z_2):
    z_1, z_2 = (
        (z - tf.reduce_mean(z, axis=0)) * tf.math.rsqrt(tf.math.reduce_variance(z, axis=0) + 1e-5)
        for z in (z_1, z_2)
    )
    c = tf.matmul(z_1, z_2, transpose_a=True) / z_1.shape[0]
    on = tf.reduce_sum(tf.square(1 - tf.linalg.diag_part(c)))
    return on + 0.0051 * _off_diagonal_energy(c)


def _spectral(z_1, z_2):
    z_1, z_2 = (
        z * tf.math.rsqrt(tf.maximum(tf.reduce_sum(z**2, axis=1, keepdims=True), 1))
        for z in (z_1, z_2)
    )
    n = z_1.shape[0]
    energy = _off_diagonal_energy(tf.matmul(z_1, z_2, transpose_b=True))
    return -2 * tf.reduce_sum(z_1 * z_2) / n + energy / (n * (n - 1))


def _coding_rate(z_1, z_2):
    z_1, z_2 = (tf.math.l2_normalize(z, axis=1) for z in (z_1, z_2))
    n, m = z_1.shape
    total = -30 * tf.reduce_mean(tf.reduce_sum(z_1 * z_2, axis=1))
    for z in (z_1, z_2):
        gram = tf.eye(m) + m / (n * 0.2) * tf.matmul(z, z, transpose_a=True)
        total -= tf.reduce_sum(tf.math.log(tf.linalg.diag_part(tf.linalg.cholesky(gram)))) / 2
    return total


def _contrastive(temperature, positive_in_denominator):
    def loss(z_1, z_2):
        n = z_1.shape[0]
        z = tf.math.l2_normalize(tf.concat([z_1, z_2], axis=0), axis=1)
        logits = tf.matmul(z, z, transpose_b=True) / temperature
        image = tf.range(2 * n) % n
        positives = tf.reduce_sum(z * tf.roll(z, n, axis=0), axis=1) / temperature
        if positive_in_denominator:
            logits = tf.linalg.set_diag(logits, tf.fill([2 * n], -np.inf))
        else:
            logits = tf.where(image[:, None] == image, -np.inf, logits)
        return tf.reduce_mean(tf.reduce_logsumexp(logits, axis=1) - positives)

    return loss


# --- Contenders --------------------------------------------------------------------------------


def _lejepa(module):
    """LeJEPA's loss by lightly's SIGReg, which draws 1024 directions and approximates an integral.

    It is not the same number as ours, but another way to the same end. lightly's own loss wants
    global and local views.
    """
    statistic = module.lejepa_loss.SIGReg()

    def loss(z_1, z_2):
        center = (z_1 + z_2) / 2
        invariance = sum((z - center).square().mean() for z in (z_1, z_2)) / 2
        return 0.95 * invariance + 0.05 * (statistic(z_1) + statistic(z_2)) / 2

    return loss


def _hypersphere(module):
    from lightly.loss.hypersphere_loss import HypersphereLoss  # The package does not import it.

    return HypersphereLoss(t=2.0)


# By criterion: ours; whether it has another side; the plain form, if there is one here; lightly's,
# as a function from `lightly.loss` to a loss. A criterion without a row is measured alone, with its
# defaults.
CRITERIA = {
    "vicreg": (
        losses.VICRegLoss,
        True,
        _vicreg(0, _mean_energy, (25, 25, 1), halved=False),
        lambda module: module.VICRegLoss(),
    ),
    "barlow-twins": (
        losses.BarlowTwinsLoss,
        True,
        _barlow_twins,
        lambda module: module.BarlowTwinsLoss(lambda_param=0.0051),
    ),
    "tcr": (losses.CodingRateLoss, True, _coding_rate, None),
    "vicreg-exp": (
        losses.VICRegExpLoss,
        False,
        _vicreg(0, lambda c: _off_diagonal_log_sum_exp(c / 0.1), (1, 1, 2), halved=True),
        None,
    ),
    "simclr": (
        losses.NTXentLoss,
        False,
        _contrastive(0.15, positive_in_denominator=True),
        lambda module: module.NTXentLoss(temperature=0.15),
    ),
    "dcl": (
        losses.DCLLoss,
        False,
        _contrastive(0.1, positive_in_denominator=False),
        lambda module: module.DCLLoss(temperature=0.1),
    ),
    "spectral": (losses.SpectralContrastiveLoss, True, _spectral, None),
    "sigreg": (losses.SIGRegLoss, False, None, _lejepa),
    "uniformity": (losses.UniformityLoss, False, None, _hypersphere),
    "vicreg-ctr": (
        losses.VICRegCtrLoss,
        False,
        _vicreg(1, lambda c: _off_diagonal_log_sum_exp(c / 0.15), (1, 1, 1), halved=True),
        None,
    ),
    "l_c": (
        lambda **kwargs: losses.VICRegFamilyLoss("samples", "squares", **kwargs),
        True,
        _vicreg(1, _mean_energy, (25, 25, 1), halved=False),
        None,
    ),
}
CRITERIA |= {
    name: (criterion, has_side(criterion), None, None)
    for name, criterion in without_row([row[0] for row in CRITERIA.values()]).items()
}
CONTENDERS = ["ours", "other side", "dense", "lightly"]


def tensorflow_step(loss, z_1, z_2):
    """Returns a function that runs a forward and a backward pass and returns (loss, gradient)."""
    inputs = tf.constant(z_1), tf.constant(z_2)

    @tf.function(autograph=False)
    def step(z_1, z_2):
        with tf.GradientTape() as tape:
            tape.watch((z_1, z_2))
            value = loss(z_1, z_2)
        return value, tape.gradient(value, (z_1, z_2))

    def run():
        value, (gradient, _) = step(*inputs)
        return float(value), gradient.numpy()

    return run


def lightly_losses():
    """Returns the module `lightly.loss`, or None if it is not installed."""
    try:
        import torch

        try:
            import torchvision  # noqa: F401
        except RuntimeError:
            # Its compiled part does not load beside a CPU build of torch. Its import looks up these
            # two operators and never calls them.
            operators = torch.library.Library("torchvision", "DEF")
            for name in ("nms", "qnms"):
                operators.define(
                    f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                )
        import lightly.loss
    except ImportError:
        return None
    return lightly.loss


def torch_step(loss, z_1, z_2):
    """Returns the same for a PyTorch loss."""
    import torch

    inputs = [torch.tensor(z, requires_grad=True) for z in (z_1, z_2)]

    def run():
        for z in inputs:
            z.grad = None
        value = loss(*inputs)
        value.backward()
        return float(value.detach()), inputs[0].grad.numpy()

    return run


def contenders(criterion, samples, dimensions, lightly_module):
    """Returns the steps that take part, by name: functions without arguments."""
    ours, has_sides, dense, peer = CRITERIA[criterion]
    rng = np.random.RandomState(0)
    z_1 = rng.randn(samples, dimensions).astype("float32")
    z_2 = z_1 + 0.5 * rng.randn(samples, dimensions).astype("float32")
    steps = {"ours": tensorflow_step(ours(), z_1, z_2)}
    if criterion in FACTORING and max(samples, dimensions) > LARGEST_FACTOR:
        return steps
    if has_sides and samples != dimensions:
        other = "covariance" if samples <= dimensions else "gram"
        steps["other side"] = tensorflow_step(ours(side=other), z_1, z_2)
    if dense is not None:
        steps["dense"] = tensorflow_step(dense, z_1, z_2)
    if peer is not None and lightly_module is not None:
        steps["lightly"] = torch_step(peer(lightly_module), z_1, z_2)
    return steps


# --- Measuring ---------------------------------------------------------------------------------


def time_in_turns(steps, seconds, turns=25):
    """Runs the steps in turns, and returns the median seconds of each and what each returned.

    There are at most so many turns, and at least 3. A short step runs once more before it is timed,
    because the threads of the step before it keep a core busy for a while.
    """
    results, first = {}, {}
    for name, step in steps.items():
        step()  # This traces it.
        begin = time.perf_counter()
        results[name] = step()
        first[name] = time.perf_counter() - begin
    times = {name: [] for name in steps}
    start = time.perf_counter()
    for turn in range(turns):
        for name, step in steps.items():
            if first[name] < 0.5:
                step()
            begin = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - begin)
        took = time.perf_counter() - start
        if turn >= min(3, turns) - 1 and took > seconds:
            break
    return {name: statistics.median(values) for name, values in times.items()}, results


def peak_memory(criterion, samples, dimensions, name):
    """Returns the MiB of the resident set at the peak of a first step, above its inputs."""

    def prepare():
        module = lightly_losses()
        contenders(criterion, 8, 4, module)[name]()
        return contenders(criterion, samples, dimensions, module)[name]

    return peak_above(prepare)


def memory_of(criterion, samples, dimensions):
    """Returns the peak memory by contender."""
    names = ["ours"] if CRITERIA[criterion][2] is None else ["ours", "dense"]
    if criterion in FACTORING and max(samples, dimensions) > LARGEST_FACTOR:
        return {"ours": peak_memory(criterion, samples, dimensions, "ours")}
    if CRITERIA[criterion][3] is not None and importlib.util.find_spec("lightly"):
        names.append("lightly")
    return {name: peak_memory(criterion, samples, dimensions, name) for name in names}


def agreement(results):
    """Returns each contender's largest relative difference from the plain form.

    It is that of the value or of the gradient (in the Frobenius norm), whichever is larger.

    Raises:
        RuntimeError: if a difference is above 1e-3.
    """
    if "dense" not in results:
        return {}
    value, gradient = results["dense"]
    worst = {}
    for name, (other_value, other_gradient) in results.items():
        worst[name] = max(
            abs(other_value - value) / abs(value),
            float(np.linalg.norm(other_gradient - gradient) / np.linalg.norm(gradient)),
        )
    if max(worst.values()) > 1e-3:
        raise RuntimeError(f"The contenders do not compute the same: {worst}")
    return worst


# --- The program -------------------------------------------------------------------------------


def row_of(record):
    """Returns a line of the table, in Markdown."""
    seconds, memory = record["seconds"], record.get("memory", {})
    ours = seconds["ours"]
    cells = [record["criterion"], f"{record['samples']}, {record['dimensions']}"]
    cells.append(f"{1000 * ours:.1f}")
    for name in CONTENDERS[1:]:
        ratio = seconds[name] / ours if name in seconds else None
        cells.append("–" if ratio is None else f"{ratio:.2g}" if ratio < 10 else f"{ratio:.0f}")
    for name in ("ours", "dense", "lightly"):
        cells.append(f"{memory[name]:.0f}" if name in memory else "–")
    return "| " + " | ".join(cells) + " |"


COLUMNS = ["criterion", "N, M", "ours, ms", "other side, ×", "dense, ×", "lightly, ×"]
COLUMNS += ["ours, MiB", "dense, MiB", "lightly, MiB"]
HEADER = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def say_where_behind(records):
    """Names where ours takes at least 5 % and 0.1 ms longer than lightly or the plain form."""
    for record in records:
        times = record.get("seconds", {})
        for name in ("dense", "lightly"):
            excess = times["ours"] - times[name] if name in times else 0
            if excess > max(1e-4, 0.05 * times.get(name, 0)):
                print(
                    f"behind {name}: {record['criterion']} ({record['samples']}, "
                    f"{record['dimensions']}), {1000 * times['ours']:.2f} ms against "
                    f"{1000 * times[name]:.2f}"
                )


def plot(records, path):
    """Draws the seconds by M at one N, and by N at one M, on log axes."""
    from matplotlib.figure import Figure

    def curve(criterion, name, fixed, along):
        # By size: if the table has a point of the curve too, the curve's own, measured last, wins.
        points = {
            record[along]: record["seconds"][name]
            for record in records
            if record["criterion"] == criterion
            and all(record[key] == value for key, value in fixed.items())
            and name in record.get("seconds", {})
        }
        return sorted(points.items())

    panels = [
        (criterion, fixed, along)
        for criteria, fixed, along in [
            (("vicreg", "barlow-twins", "tcr"), {"samples": CURVE_SAMPLES}, "dimensions"),
            (("simclr", "dcl", "spectral"), {"dimensions": CURVE_DIMENSIONS}, "samples"),
        ]
        for criterion in criteria
    ]
    styles = {
        "ours": {"color": "C0", "linewidth": 2.5},
        "other side": {"color": "C0", "linestyle": ":"},
        "dense": {"color": "C1", "linestyle": "--"},
        "lightly": {"color": "C2", "linestyle": "-."},
    }
    labels = {
        "ours": "keras_ssl",
        "dense": "plain TensorFlow",
        "other side": "keras_ssl, other side",
    }
    figure = Figure(figsize=(10, 6.2), layout="constrained")
    axes = figure.subplots(2, 3, sharey="row")
    for axis, (criterion, fixed, along) in zip(axes.flat, panels, strict=True):
        for name, style in styles.items():
            points = curve(criterion, name, fixed, along)
            if points:
                axis.loglog(
                    *zip(*points, strict=True), label=labels.get(name, name), base=10, **style
                )
        axis.set_xscale("log", base=2)
        (what, size), *_ = fixed.items()
        axis.set_title(f"{criterion}, {what} = {size}", fontsize=10)
        axis.set_xlabel(f"{along}, {'M' if along == 'dimensions' else 'N'}")
        axis.grid(True, which="major", alpha=0.3)
    for axis in axes[:, 0]:
        axis.set_ylabel("seconds, forward and backward")
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


def print_large_batches(records):
    """Prints the peak memory of a step whose matrix of products would be 16 GiB."""
    for criterion in ("simclr", "dcl"):
        peak = peak_memory(criterion, *LARGE_BATCH, "ours")
        record = {"criterion": criterion, "samples": LARGE_BATCH[0], "dimensions": LARGE_BATCH[1]}
        records.append({**record, "memory": {"ours": peak}})
        print(f"{criterion} {LARGE_BATCH}: {peak:.0f} MiB", flush=True)


def main():
    """Prints the table, then measures the curves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=list(CRITERIA))
    parser.add_argument("--grid", nargs="+", metavar="NxM", default=[f"{n}x{m}" for n, m in GRID])
    parser.add_argument("--seconds", type=float, default=4.0, help="time for the turns of one row")
    parser.add_argument("--turns", type=int, default=25, help="the most turns of one row")
    parser.add_argument("--no-curves", action="store_true", help="print only the table")
    parser.add_argument("--no-memory", action="store_true", help="measure only times")
    parser.add_argument("--output", type=pathlib.Path, default="runs/losses.json")
    arguments = parser.parse_args()
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    grid = [tuple(map(int, shape.split("x"))) for shape in arguments.grid]
    jobs = [
        (criterion, samples, dimensions)
        for samples, dimensions in grid
        for criterion in arguments.criteria
        # It whitens: it needs more samples than dimensions.
        if criterion != "WMSELoss" or samples > dimensions
    ]
    memory = [{} if arguments.no_memory else memory_of(*job) for job in jobs]
    records = []
    if not arguments.no_memory:
        print_large_batches(records)
    lightly_module = lightly_losses()
    print(HEADER)
    for (criterion, samples, dimensions), peaks in zip(jobs, memory, strict=True):
        steps = contenders(criterion, samples, dimensions, lightly_module)
        seconds, results = time_in_turns(steps, arguments.seconds, arguments.turns)
        record = {
            "criterion": criterion,
            "samples": samples,
            "dimensions": dimensions,
            "seconds": seconds,
            "difference": agreement(results),
            "memory": peaks,
        }
        print(row_of(record), flush=True)
        records.append(record)
        arguments.output.write_text(json.dumps(records, indent=1) + "\n")
    say_where_behind(records)
    if not arguments.no_curves:
        criteria = ["vicreg", "barlow-twins", "tcr"], ["simclr", "dcl", "spectral"]
        for samples, dimensions in CURVES:
            by_dimensions = samples == CURVE_SAMPLES
            for criterion in criteria[0] if by_dimensions else criteria[1]:
                steps = contenders(criterion, samples, dimensions, lightly_module)
                records.append(
                    {
                        "criterion": criterion,
                        "samples": samples,
                        "dimensions": dimensions,
                        "seconds": time_in_turns(steps, arguments.seconds / 4, arguments.turns)[0],
                    }
                )
                print(f"{criterion} {samples}x{dimensions}", file=sys.stderr, flush=True)
        plot(records, arguments.output.with_suffix(".png"))
    arguments.output.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    main()
