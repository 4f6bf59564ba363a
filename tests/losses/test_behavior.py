"""Properties of every criterion that do not depend on its value: symmetry, gradients, precision."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import losses
from tests import reference
from tests.catalog import CRITERIA_AND_VARIANTS as CRITERIA

every_criterion = pytest.mark.parametrize("name", CRITERIA)


# Their way through `losses.gram` is another one's.
LIKE_OTHERS = (
    *(
        "FroSSLLoss-embeddings",
        "IVNELoss",
        "MatrixEntropyLoss-gram",
        "NTXentLoss-A",
        "NTXentLoss-B",
    ),
    *("NTXentLoss-absolute", "NTXentLoss-squared", "SIGRegLoss-blocks", "VICRegFamilyLoss"),
    *("VICRegLoss-gram", "BarlowTwinsLoss-gram", "VICRegExpLoss-blocks", "VIbCRegLoss"),
)
of_its_own_way = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.long if n in LIKE_OTHERS else ()) for n in CRITERIA],
)


def _every_criterion_but(*slow):
    """All criteria; `slow` ones, whose way through `losses.gram` another one covers, are marked."""
    return pytest.mark.parametrize(
        "name", [pytest.param(n, marks=pytest.mark.slow) if n in slow else n for n in CRITERIA]
    )


# The others cover every way: squares on either side, log-sum-exps of both, log-determinants.
every_way = _every_criterion_but(
    *("DCLLoss", "L_c", "NTXentLoss", "NTXentLoss-A", "NTXentLoss-B", "NTXentLoss-absolute"),
    *("NTXentLoss-squared", "SpectralContrastiveLoss-same-view", "VICRegFamilyLoss"),
    *("BarlowTwinsLoss-gram", "VICRegExpLoss-blocks", "VICRegLoss-gram"),
)


def _views(samples=8, dimensions=5, seed=0):
    rng = np.random.RandomState(seed)
    z_1 = rng.randn(samples, dimensions)
    return z_1, z_1 + 0.5 * rng.randn(samples, dimensions)


def _gradient(criterion, z_1, z_2):
    z_1, z_2 = tf.convert_to_tensor(z_1), tf.convert_to_tensor(z_2)
    with tf.GradientTape() as tape:
        tape.watch([z_1, z_2])
        loss = criterion(z_1, z_2)
    return loss, tape.gradient(loss, [z_1, z_2])


# Its views are queries and keys, and only queries search.
ONE_SIDED = ["MoCoLoss"]


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in ONE_SIDED])
def test_views_may_be_swapped(name):
    z_1, z_2 = _views()
    criterion = CRITERIA[name](dtype="float64")
    assert float(criterion(z_1, z_2)) == pytest.approx(float(criterion(z_2, z_1)))


@of_its_own_way
def test_order_of_samples_does_not_matter(name):
    z_1, z_2 = _views()
    order = np.random.RandomState(1).permutation(len(z_1))
    criterion = CRITERIA[name](dtype="float64")
    assert float(criterion(z_1, z_2)) == pytest.approx(float(criterion(z_1[order], z_2[order])))


@pytest.mark.parametrize("name", ["VICRegLoss", "VICRegExpLoss"])
def test_a_common_shift_does_not_matter(name):
    z_1, z_2 = _views()
    criterion = CRITERIA[name](dtype="float64")
    assert float(criterion(z_1, z_2)) == pytest.approx(float(criterion(z_1 + 3, z_2 + 3)))


def test_barlow_twins_does_not_see_scale_or_shift_of_a_dimension():
    z_1, z_2 = _views(samples=64)
    scale, shift = np.array([0.5, 1, 2, 4, 8.0]), np.arange(5)
    criterion = losses.BarlowTwinsLoss(dtype="float64")
    # Up to the epsilon under the square root.
    assert float(criterion(z_1, z_2)) == pytest.approx(
        float(criterion(z_1 * scale + shift, z_2 * scale - shift)), rel=1e-3
    )


@pytest.mark.parametrize("name", ["NTXentLoss", "DCLLoss", "CodingRateLoss", "NTXentLoss-absolute"])
def test_scale_does_not_matter_to_normalized_criteria(name):
    z_1, z_2 = _views()
    criterion = CRITERIA[name](dtype="float64")
    assert float(criterion(z_1, z_2)) == pytest.approx(float(criterion(10 * z_1, 0.1 * z_2)))


@pytest.mark.parametrize("name", ["NTXentLoss-absolute", "NTXentLoss-squared"])
def test_even_similarities_do_not_see_the_sign(name):
    z_1, z_2 = _views()
    criterion = CRITERIA[name](dtype="float64")
    assert float(criterion(z_1, z_2)) == pytest.approx(float(criterion(z_1, -z_2)))


@of_its_own_way
def test_gradient_equals_finite_differences(name):
    z_1, z_2 = _views(6, 4)
    criterion = CRITERIA[name](dtype="float64")
    _, (gradient, _) = _gradient(criterion, z_1, z_2)
    step = 1e-6
    for i, j in [(0, 0), (2, 3), (5, 1)]:
        shifted = [z_1.copy(), z_1.copy()]
        shifted[0][i, j] += step
        shifted[1][i, j] -= step
        slope = (float(criterion(shifted[0], z_2)) - float(criterion(shifted[1], z_2))) / (2 * step)
        assert float(gradient[i, j]) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@of_its_own_way
@pytest.mark.parametrize(
    "views",
    [
        pytest.param((np.ones((4, 3)), np.ones((4, 3))), id="constant", marks=pytest.mark.long),
        pytest.param((np.zeros((4, 3)), np.zeros((4, 3))), id="zero"),
        pytest.param(_views(2, 3), id="two-samples"),
        pytest.param((1e4 * _views()[0], 1e4 * _views()[1]), id="huge", marks=pytest.mark.long),
        pytest.param((1e-6 * _views()[0], 1e-6 * _views()[1]), id="minute", marks=pytest.mark.long),
    ],
)
def test_value_and_gradient_stay_finite(name, views):
    loss, gradients = _gradient(CRITERIA[name](), *(v.astype("float32") for v in views))
    assert np.isfinite(float(loss))
    for gradient in gradients:
        assert np.isfinite(gradient.numpy()).all()


@of_its_own_way
def test_loss_falls_when_free_embeddings_are_optimized(name):
    z_1, z_2 = (tf.constant(z.astype("float32")) for z in _views(32, 8))
    criterion = CRITERIA[name]()
    values = []
    for _ in range(5):
        value, (gradient_1, gradient_2) = _gradient(criterion, z_1, z_2)
        values.append(float(value))
        z_1, z_2 = z_1 - 0.01 * gradient_1, z_2 - 0.01 * gradient_2
    assert values == sorted(values, reverse=True)


@of_its_own_way
@pytest.mark.parametrize("dtype", [pytest.param("float16", marks=pytest.mark.long), "bfloat16"])
def test_half_precision_embeddings_are_computed_in_float32(name, dtype):
    z_1, z_2 = (tf.cast(z, dtype) for z in _views())
    loss, (gradient, _) = _gradient(CRITERIA[name](), z_1, z_2)
    assert loss.dtype == "float32" and gradient.dtype == dtype
    exact = CRITERIA[name](dtype="float64")(tf.cast(z_1, "float64"), tf.cast(z_2, "float64"))
    assert float(loss) == pytest.approx(float(exact), rel=1e-5)


# Most other tests run graphs. tests/losses/test_gram.py compiles the parts of the other criteria.
COMPILED = ("NTXentLoss-blocks",)


@pytest.mark.parametrize(
    ("name", "jit_compile"),
    [
        pytest.param(
            name,
            jit_compile,
            id=f"{'xla' if jit_compile else 'graph'}-{name}",
            marks=pytest.mark.long if jit_compile and name in COMPILED else pytest.mark.slow,
        )
        for name in CRITERIA
        for jit_compile in (False, True)
    ],
)
def test_eager_and_compiled_agree(name, jit_compile):
    z_1, z_2 = (z.astype("float32") for z in _views())
    criterion = CRITERIA[name]()
    compiled = tf.function(lambda a, b: _gradient(criterion, a, b), jit_compile=jit_compile)
    loss, gradients = _gradient(criterion, z_1, z_2)
    compiled_loss, compiled_gradients = compiled(tf.constant(z_1), tf.constant(z_2))
    assert float(loss) == pytest.approx(float(compiled_loss), rel=1e-5)
    for a, b in zip(gradients, compiled_gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)

    # All hidden units of these samples are off. With XLA, Keras' own normalization gave NaN.
    z_1[3], z_2[5] = 0, 0
    loss, gradients = compiled(tf.constant(z_1), tf.constant(z_2))
    assert np.isfinite(float(loss))
    assert all(np.isfinite(gradient.numpy()).all() for gradient in gradients)


@pytest.mark.long
@every_way
def test_batch_size_may_be_unknown_when_traced(name):
    criterion = CRITERIA[name]()
    spec = tf.TensorSpec((None, 5))
    traced = tf.function(lambda a, b: criterion(a, b), input_signature=[spec, spec])
    for samples in (2, 8):
        z_1, z_2 = (z.astype("float32") for z in _views(samples))
        # Losses are about 1, or 0 by cancellation (SimCLR A has two opposite embeddings at N = 2).
        assert float(traced(z_1, z_2)) == pytest.approx(
            float(criterion(z_1, z_2)), rel=1e-5, abs=1e-5
        )


@pytest.mark.parametrize("negatives", ["all", "same_view", "cross_view"])
def test_nt_xent_keeps_its_digits_near_zero(negatives):
    """Its terms are about as large as 1 / temperature; their sum may be a millionth of that."""
    z = np.linalg.qr(np.random.RandomState(0).randn(16, 16))[0]
    z_1, z_2 = z, z + 0.05 * np.random.RandomState(1).randn(16, 16)
    settings = dict(temperature=0.05, negatives=negatives)
    loss = float(losses.NTXentLoss(**settings)(z_1, z_2))
    exact = reference.info_nce(
        z_1,
        z_2,
        **settings,
        similarity="cosine",
        normalization="embeddings",
        positive_in_denominator=True,
    )
    assert 0 < exact < 1e-6
    assert loss == pytest.approx(exact, rel=1e-4)


def test_simclr_a_of_rows_that_are_alike_has_no_rounding_noise():
    """All rows of a view are equal, and the views differ. Centered, each row is exactly zero."""
    z_1 = np.full((8, 5), 1e3) + 7.3 * np.arange(5)
    z_2 = np.full((8, 5), -3e2) + 0.7 * np.arange(5) ** 2
    criterion = losses.NTXentLoss(normalization="centered_embeddings")
    loss, gradients = _gradient(criterion, z_1.astype("float32"), z_2.astype("float32"))
    assert float(loss) == pytest.approx(np.log(15), rel=1e-7)
    assert all(np.isfinite(g).all() for g in gradients)


# The criteria that subtract the mean. The value of the others depends on it.
CENTERED = [
    *("VICRegLoss", "VICRegExpLoss", "VICRegLoss-gram", "BarlowTwinsLoss"),
    *("VICRegCtrLoss", "L_c", "NTXentLoss-A"),
]


@pytest.mark.parametrize("name", CENTERED)
@pytest.mark.parametrize("mean", [1e3, 1e5, 1e6])
def test_gradients_with_a_mean_far_from_zero(name, mean):
    rng = np.random.RandomState(0)
    z_1 = (rng.randn(32, 16) + mean).astype("float32")
    z_2 = (z_1 + 0.5 * rng.randn(32, 16)).astype("float32")
    exact = _gradient(CRITERIA[name](dtype="float64"), z_1.astype("float64"), z_2.astype("float64"))
    ours = _gradient(CRITERIA[name](), z_1, z_2)
    for a, b in zip(ours[1], exact[1], strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert np.abs(a - b).max() < 2e-5 * np.abs(b).max()


def test_a_subclass_that_changes_weights_or_terms_is_added_up_anew():
    class Weighted(losses.NTXentLoss):
        @property
        def weights(self):
            return {**super().weights, "alignment": 0.0}

    class Changed(losses.NTXentLoss):
        def terms(self, z_1, z_2):
            terms = super().terms(z_1, z_2)
            terms["contrast"] = 2 * terms["contrast"]
            return terms

    z_1, z_2 = _views()
    terms = losses.NTXentLoss().measure(z_1, z_2)
    assert float(Weighted()(z_1, z_2)) == pytest.approx(float(terms["contrast"]))
    expected = terms["alignment"] / 0.15 + 2 * terms["contrast"]
    assert float(Changed()(z_1, z_2)) == pytest.approx(float(expected))


@pytest.mark.parametrize("scale", [1e-20, 1e10, 1e30])
@pytest.mark.parametrize("name", ["NTXentLoss", "DCLLoss", "NTXentLoss-absolute", "CodingRateLoss"])
def test_unit_embeddings_of_any_scale(name, scale):
    z_1, z_2 = (z.astype("float32") for z in _views())
    expected = float(CRITERIA[name]()(z_1, z_2))
    loss, gradients = _gradient(CRITERIA[name](), z_1 * np.float32(scale), z_2 * np.float32(scale))
    assert all(np.isfinite(g).all() for g in gradients)
    if scale > 1e-6:  # Shorter embeddings stay shorter.
        assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_terms_may_leave_a_graph():
    z_1, z_2 = (tf.constant(z, tf.float32) for z in _views())
    terms = tf.function(losses.NTXentLoss().measure)(z_1, z_2)
    assert set(terms) == {"alignment", "contrast"}
