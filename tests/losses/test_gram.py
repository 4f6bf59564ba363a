"""Compares the cheap forms with the matrices they avoid, and checks their precision."""

import functools
import sys

import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import losses
from keras_ssl.losses import gram
from keras_ssl.losses.gram import correlation, sides, spectrum, squares
from tests.catalog import with_side


def _with_gradient(function, *arrays, mode="eager"):
    """Returns value and gradients: eagerly, in a graph, with XLA, or for unknown shapes."""
    tensors = [tf.convert_to_tensor(a) for a in arrays]
    signature = [tf.TensorSpec((None, None), t.dtype) for t in tensors] if mode == "any" else None

    def run(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            value = function(*tensors)
        return value, tape.gradient(value, tensors)

    if mode != "eager":
        run = tf.function(run, jit_compile=mode == "xla", input_signature=signature)
    value, gradients = run(*tensors)
    return np.asarray(value, "float64"), [np.asarray(g, "float64") for g in gradients]


def _assert_close(ours, expected, rtol):
    """Compares values, and gradients in the Frobenius norm."""
    assert ours[0] == pytest.approx(expected[0], rel=rtol)
    for a, b in zip(ours[1], expected[1], strict=True):
        assert np.linalg.norm(a - b) <= rtol * np.linalg.norm(b)


# --- The matrices ----------------------------------------------------------------------------


def _energy(x, y):
    c = tf.matmul(x, y, transpose_b=True)
    return tf.reduce_sum(tf.square(tf.linalg.set_diag(c, tf.zeros(c.shape[0], c.dtype))))


def _energy_of_dimensions(x, y):
    return _energy(tf.transpose(x), tf.transpose(y))


def _log_det(x):
    return tf.linalg.logdet(tf.eye(x.shape[0], dtype=x.dtype) + tf.matmul(x, x, transpose_b=True))


def _logits(x, y, images, f, temperature):
    image = tf.range(x.shape[0]) % images
    logits = f(tf.matmul(x, y, transpose_b=True)) / temperature
    return tf.where(image[:, None] == image, tf.cast(-np.inf, x.dtype), logits)


@pytest.mark.parametrize(
    ("mode", "shape", "side"),
    [
        *(("eager", shape, side) for shape in ((2, 1), (4, 30)) for side in gram.SIDES),
        # With known shapes the side is chosen while tracing, with unknown ones in the graph.
        *(
            pytest.param(*case, marks=pytest.mark.long)
            for case in [
                ("xla", (9, 8), "gram"),
                ("xla", (9, 8), "covariance"),
                ("any", (9, 8), "auto"),
                ("any", (4, 30), "auto"),
            ]
        ),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in [
                *(("graph", (9, 8), side) for side in gram.SIDES),
                ("xla", (9, 8), "auto"),
                *(("any", shape, side) for shape in ((9, 8), (4, 30)) for side in gram.SIDES[1:]),
            ]
        ),
    ],
    ids=str,
)
def test_squares_and_log_determinants_are_those_of_the_matrix(shape, side, mode):
    x, y = np.random.RandomState(0).randn(2, *shape)

    def ours(x, y):
        one = gram.sample_energy(x, side=side) + 2 * gram.dimension_energy(x, side=side)
        two = gram.sample_energy(x, y, side) - 3 * gram.dimension_energy(x, y, side)
        return one + two + gram.log_det(y, side)

    def expected(x, y):
        one = _energy(x, x) + 2 * _energy_of_dimensions(x, x)
        return one + _energy(x, y) - 3 * _energy_of_dimensions(x, y) + _log_det(y)

    _assert_close(_with_gradient(ours, x, y, mode=mode), _with_gradient(expected, x, y), rtol=1e-10)


@pytest.mark.parametrize("shape", [(2, 1), (4, 30), (30, 4), (7, 7)], ids=str)
@pytest.mark.parametrize("side", gram.SIDES)
def test_the_frobenius_energy_is_that_of_the_matrix(shape, side):
    """Either matrix gives the same (Theorem 3.3), with the gradient 4 z z^T z."""
    z = np.random.RandomState(0).randn(*shape)
    exact = np.sum((z @ z.T) ** 2), [4 * z @ z.T @ z]
    energy = functools.partial(gram.frobenius_energy, side=side)
    _assert_close(_with_gradient(energy, z), exact, rtol=1e-12)
    _assert_close(_with_gradient(energy, z.astype("float32")), exact, rtol=1e-5)


@pytest.mark.parametrize("shape", [(4, 30), (30, 4)], ids=str)
def test_the_frobenius_energy_of_a_batch_of_unknown_size(shape):
    z = np.random.RandomState(0).randn(*shape)
    exact = np.sum((z @ z.T) ** 2), [4 * z @ z.T @ z]
    _assert_close(_with_gradient(gram.frobenius_energy, z, mode="any"), exact, rtol=1e-12)


F = {"cosine": tf.identity, "squared": tf.square, "absolute": tf.abs}


LOGITS = [("cosine", 5, 1), ("squared", 10, 1), ("absolute", 5, 1), ("cosine", 10, 20)]
MODES = [(None, "eager"), (1, "eager"), (4, "graph"), (5, "xla"), (4, "any"), (None, "any")]


def _marks(logits, mode):
    """All runs eagerly; graphs, with and without known shapes, where the exponential is shifted."""
    if mode[1] == "eager":
        return ()
    shifted = logits == LOGITS[-1] and mode in [(5, "xla"), (4, "any")]
    return pytest.mark.long if shifted else pytest.mark.slow


@pytest.mark.parametrize(
    ("similarity", "images", "scale", "block_size", "mode"),
    [
        pytest.param(*logits, *mode, marks=_marks(logits, mode))
        for logits in LOGITS
        for mode in MODES
    ],
)
def test_log_sum_exps_are_those_of_the_matrix(similarity, images, scale, block_size, mode):
    """A `scale` of 20 gives logits of a thousand, where an exponential needs its shift."""
    rng = np.random.RandomState(0)
    x, y = scale * rng.randn(2, 10, 4)
    g, h = rng.randn(2, 10)  # Gradients of either sign.
    f = getattr(gram, similarity.upper())

    def ours(x, y):
        options = {"samples": images, "similarity": f, "temperature": 0.3}
        options["block_size"] = block_size
        one = gram.sample_log_sum_exp(x, **options)
        of_rows, of_columns = gram.sample_log_sum_exp(x, y, **options)
        return tf.reduce_sum(g * one + h * of_rows - g * of_columns)

    def expected(x, y):
        one = _logits(x, x, images, F[similarity], 0.3)
        two = _logits(x, y, images, F[similarity], 0.3)
        of_rows, of_columns = tf.reduce_logsumexp(two, axis=1), tf.reduce_logsumexp(two, axis=0)
        return tf.reduce_sum(g * tf.reduce_logsumexp(one, axis=1) + h * of_rows - g * of_columns)

    _assert_close(_with_gradient(ours, x, y, mode=mode), _with_gradient(expected, x, y), rtol=1e-9)


def test_blocks_do_not_hold_the_matrix():
    """No tensor in the compiled graph has as many entries as the matrix of products."""
    n = 600

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(gram.sample_log_sum_exp(x, block_size=50))
        return tape.gradient(value, x)

    definition = step.get_concrete_function(tf.TensorSpec((n, 8))).graph.as_graph_def(
        add_shapes=True
    )
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    sizes = [
        np.prod([axis.size for axis in shape.dim])
        for node in nodes
        for shape in node.attr["_output_shapes"].list.shape
    ]
    assert max(sizes) == 50 * n


@pytest.mark.parametrize("limit", [25.0, 35.0, 1000.0])
@pytest.mark.parametrize("block_size", [None, 7])
def test_log_sum_exps_in_float32_with_and_without_a_shift(block_size, limit):
    """Products up to 30 need no shift of the exponential; larger ones get one."""
    x = np.random.RandomState(0).randn(20, 3)
    x *= np.sqrt(limit / np.max(np.sum(x**2, axis=1)))

    def ours(x):
        return tf.reduce_sum(gram.sample_log_sum_exp(x, block_size=block_size))

    def expected(x):
        return tf.reduce_sum(tf.reduce_logsumexp(_logits(x, x, 20, tf.identity, 1), axis=1))

    exact = _with_gradient(expected, x.astype("float32").astype("float64"))
    _assert_close(_with_gradient(ours, x.astype("float32")), exact, rtol=1e-5)
    # A small weight on the loss does not flush its gradient to zero.
    weighted = _with_gradient(lambda x: 1e-10 * ours(x), x.astype("float32"))
    _assert_close(weighted, (1e-10 * exact[0], [1e-10 * g for g in exact[1]]), rtol=1e-5)


@pytest.mark.parametrize("kind", ["plain", "collapsed", "rank-one"])
@pytest.mark.parametrize("shape", [(33, 32), (8, 100)], ids=str)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_log_determinants_in_float32(kind, shape, scale):
    """Embeddings in many directions stay in float32; those in few directions use float64."""
    z = scale * tf.cast(_embeddings(kind, *shape)[0], "float32")
    exact = _with_gradient(_log_det, tf.cast(z, "float64"))
    for side in gram.SIDES:
        ours = _with_gradient(functools.partial(gram.log_det, side=side), z)
        assert ours[0] == pytest.approx(exact[0], rel=1e-5)
        # The tolerance is relative to the parts before they cancel.
        assert np.abs(ours[1][0] - exact[1][0]).max() <= 1e-5 * np.abs(z).max() * 2


def test_a_log_determinant_of_what_is_not_finite_is_not_finite():
    z = np.ones((4, 3), "float32")
    z[0, 0] = np.nan
    assert np.isnan(gram.log_det(z))


def test_two_equal_candidates_share_the_gradient():
    """A positive and a negative that both have product 0 share the denominator equally."""
    z_1, z_2 = np.eye(4)[:2], np.eye(4)[2:]
    criterion = losses.NTXentLoss(temperature=1.0, negatives="same_view", dtype="float64")
    _, (gradient, _) = _with_gradient(criterion, z_1, z_2)
    # The alignment pulls with -1/2 per anchor (a mean over 4 anchors, 2 of them here), and the
    # contrast gives half of it back.
    np.testing.assert_allclose(gradient[0], [0, 1 / 4, -1 / 4, 0], atol=1e-12)


# --- The side --------------------------------------------------------------------------------


@pytest.fixture
def computed(monkeypatch):
    """Records which matrices are computed: of samples, or of dimensions."""
    names = set()

    def recorded(x, y, axis, compute=squares.gram_matrix):
        names.add(sides.BY_AXIS[axis])
        return compute(x, y, axis)

    monkeypatch.setattr(squares, "gram_matrix", recorded)
    monkeypatch.setattr(correlation, "gram_matrix", recorded)
    # In the package, this name is the function, not the module.
    monkeypatch.setattr(sys.modules["keras_ssl.losses.gram.log_det"], "gram_matrix", recorded)
    monkeypatch.setattr(spectrum, "gram_matrix", recorded)
    return names


# Some cases are near equal costs: 16 d = 15 n for one view, and 4 d = 3 n for two.
SHAPES_OF_SIDES = [(4, 30), (30, 4), (9, 9), (30, 29), (30, 28), (28, 30), (30, 22), (22, 30)]


@pytest.mark.parametrize("name", with_side())
def test_the_side_that_is_told_is_the_one_that_is_computed(name, computed):
    cases = [("auto", shape) for shape in SHAPES_OF_SIDES]
    cases += [(side, shape) for side in ("gram", "covariance") for shape in SHAPES_OF_SIDES[:2]]
    told = set()
    for side, shape in cases:
        criterion = with_side()[name](side=side)
        z_1, z_2 = np.random.RandomState(0).randn(2, *shape)
        computed.clear()
        criterion(z_1, z_1 + 0.1 * z_2)
        assert computed == {criterion.select_side(*shape).name}, (side, shape)
        told |= computed
    assert told == {"gram", "covariance"}


def test_the_cheaper_side_is_told_with_its_reason():
    assert losses.VICRegLoss().select_side(256, 8192).name == "gram"
    assert losses.VICRegLoss().select_side(8192, 256).name == "covariance"
    assert "256^2 products of samples" in losses.VICRegLoss().select_side(256, 8192).why
    assert "argument `side`" in losses.VICRegLoss(side="gram").select_side(8192, 256).why
    assert "no dual" in losses.VICRegCtrLoss().select_side(8192, 256).why


# --- Precision -------------------------------------------------------------------------------

SHAPES = [(2, 1), (2, 7), (33, 32)]
LARGE = [(64, 1000), (1000, 64), (4096, 256), (64, 8192)]


def _embeddings(kind, n, m):
    rng = np.random.RandomState(n + m)
    z_1 = rng.randn(n, m)
    z_2 = z_1 + 0.5 * rng.randn(n, m)
    if kind == "collapsed":  # Nearly the same embedding for all.
        z_1, z_2 = (3 + rng.randn(m) + 1e-2 * z for z in (z_1, z_2))
    elif kind == "rank-one":  # Nearly the same direction for all.
        z_1, z_2 = (np.outer(z[:, 0], rng.randn(m)) + 1e-2 * z for z in (z_1, z_2))
    elif kind == "scaled dimensions":
        scale = 10 ** rng.uniform(-3, 3, m)
        z_1, z_2 = z_1 * scale, z_2 * scale
    elif kind == "scaled samples":
        scale = 10 ** rng.uniform(-3, 3, (n, 1))
        z_1, z_2 = z_1 * scale, z_2 * scale
    elif kind == "one large":  # In float32, only the diagonal remains.
        z_1[0, 0], z_2[0, 0] = 1e3, 1e3
    elif kind in ("large", "small"):
        scale = {"large": 1e3, "small": 1e-3}[kind]
        z_1, z_2 = z_1 * scale, z_2 * scale
    dtype = kind if kind in ("float16", "bfloat16") else "float32"
    return tf.cast(z_1, dtype), tf.cast(z_2, dtype)


KINDS = [
    "plain",
    "collapsed",
    "rank-one",
    "scaled dimensions",
    "scaled samples",
    "one large",
    "large",
    "small",
    "float16",
    "bfloat16",
]


def _check_energies(kind, shape):
    z_1, z_2 = (z - tf.reduce_mean(z, axis=0) for z in _embeddings(kind, *shape))
    z_1, z_2 = tf.cast(z_1, "float32"), tf.cast(z_2, "float32")
    exact = [tf.cast(z, "float64") for z in (z_1, z_2)]
    for of_dimensions in (False, True):
        energy = gram.dimension_energy if of_dimensions else gram.sample_energy
        reference = _energy_of_dimensions if of_dimensions else _energy
        for inputs, in_float64 in [((z_1,), exact[:1]), ((z_1, z_2), exact)]:
            expected = _with_gradient(lambda *z, f=reference: f(z[0], z[-1]), *in_float64)
            if expected[0] == 0:  # A single dimension has no others.
                continue
            for side in gram.SIDES:
                ours = _with_gradient(functools.partial(energy, side=side), *inputs)
                _assert_close(ours, expected, rtol=1e-5)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_either_side_is_exact_to_five_digits(kind, shape):
    _check_energies(kind, shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_either_side_is_exact_to_five_digits_of_large_batches(kind, shape):
    _check_energies(kind, shape)


SQUARED = with_side()
del SQUARED["GramAnchorLoss"]  # A difference of cosines: tests/layers/test_gram_anchor.py.


def _value_and_gradient(criterion, pair):
    with tf.GradientTape() as tape:
        tape.watch(pair)
        value = criterion(*pair)
    return float(value), np.concatenate([np.asarray(g, float) for g in tape.gradient(value, pair)])


# Here the gradient itself is a small difference: between samples that differ in size by a million,
# or between embeddings that nearly coincide once they are scaled to norm 1 in float32.
GRADIENT_BOUNDS = {
    ("BarlowTwinsLoss", "scaled samples"): 5e-5,
    ("CodingRateLoss", "collapsed"): 5e-5,
    ("FroSSLLoss", "collapsed"): 5e-5,
    ("MMCRLoss", "collapsed"): 5e-5,  # Directions that are mostly rounding count as any other.
}


def _check_criterion(name, kind, shape):
    pair = [tf.cast(z, "float32") for z in _embeddings(kind, *shape)]
    cheaper = "gram" if shape[0] <= shape[1] else "covariance"
    expected, slope = _value_and_gradient(
        SQUARED[name](dtype="float64", side=cheaper), [tf.cast(z, "float64") for z in pair]
    )
    for side in gram.SIDES:
        if max(shape) > 4096 and name == "CodingRateLoss" and side == "covariance":
            continue  # It would take minutes.
        value, own_slope = _value_and_gradient(SQUARED[name](side=side), pair)
        # The entropy of one direction is 0, the logarithm of 1 plus rounding.
        vanishes = 1e-7 if (name, kind) == ("FroSSLLoss", "collapsed") else 0
        assert value == pytest.approx(expected, rel=1e-5, abs=vanishes)
        bound = GRADIENT_BOUNDS.get((name, kind), 1e-5)
        if name == "CodingRateLoss" and side not in ("auto", cheaper):
            bound = 1e-4  # It inverts the larger matrix, which nobody needs to do.
        assert np.linalg.norm(own_slope - slope) <= bound * np.linalg.norm(slope), side


def _exact(shape, kind):
    # The squares themselves are compared for all kinds above.
    is_fast = kind in ("plain", "collapsed")
    return pytest.param(shape, kind, marks=() if is_fast else pytest.mark.slow)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [_exact(shape, kind) for shape in [(33, 32), (8, 100)] for kind in KINDS],
    ids=str,
)
@pytest.mark.parametrize("name", SQUARED)
def test_criteria_are_exact_to_five_digits_on_either_side(name, kind, shape):
    _check_criterion(name, kind, shape)


@pytest.mark.slow
@pytest.mark.parametrize("shape", LARGE, ids=str)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SQUARED)
def test_criteria_are_exact_to_five_digits_of_large_batches(name, kind, shape):
    _check_criterion(name, kind, shape)


def test_a_diagonal_that_hides_the_rest_is_not_subtracted():
    """One dimension is a million times the others: a float32 difference would keep no digit."""
    rng = np.random.RandomState(0)
    z = rng.randn(4, 64).astype("float32")
    z[:, 0] *= 1e6
    expected = float(gram.dimension_energy(z.astype("float64"), side="covariance"))
    whole = np.sum(np.square(z @ z.T))
    naive = whole - np.sum(np.square(np.sum(np.square(z), axis=0)))
    assert abs(naive - expected) > 1e-3 * expected
    assert float(gram.dimension_energy(z)) == pytest.approx(expected, rel=1e-5)
