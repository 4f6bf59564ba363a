"""Checks the paper's statements on matrices."""

import keras
import numpy as np
import pytest

from keras_ssl import duality, evaluation

SHAPES = [(8, 5), (5, 8), (2, 1), (64, 16), (16, 64)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}")


def _matrix(shape):
    return np.random.RandomState(sum(shape)).randn(*shape)


def _unit_rows(k):
    return k / np.linalg.norm(k, axis=1, keepdims=True)


def test_reference_point():
    x = np.random.RandomState(0).randn(8, 5)
    assert float(duality.sample_contrastive_energy(x)) == pytest.approx(296.234690, abs=1e-6)
    assert float(duality.dimension_contrastive_energy(x)) == pytest.approx(203.996981, abs=1e-6)


@every_shape
def test_energies_by_definition(shape):
    k = _matrix(shape)
    for matrix, energy in [
        (k @ k.T, duality.sample_contrastive_energy(k)),
        (k.T @ k, duality.dimension_contrastive_energy(k)),
    ]:
        off_diagonal = matrix - np.diag(np.diag(matrix))
        assert float(energy) == pytest.approx(np.sum(off_diagonal**2), abs=1e-9)


@every_shape
def test_theorem_3_3(shape):
    k = _matrix(shape)
    sides = duality.theorem_3_3(k)
    norm = np.linalg.norm(k.T @ k) ** 2
    assert float(sides.dimensions) == pytest.approx(norm, rel=1e-14)
    assert float(sides.samples) == pytest.approx(norm, rel=1e-14)


@every_shape
def test_lemma_3_4_and_corollary_3_4_1(shape):
    k = _unit_rows(_matrix(shape))
    bounds = duality.dimension_norm_profile_bounds(*shape)
    assert bounds.lower <= float(duality.dimension_norm_profile(k)) * (1 + 1e-12)
    assert float(duality.dimension_norm_profile(k)) <= bounds.upper * (1 + 1e-12)
    energy = float(duality.sample_contrastive_energy(k))
    bounds = duality.sample_energy_bounds(k)
    assert float(bounds.lower) - 1e-9 <= energy <= float(bounds.upper) + 1e-9
    energy = float(duality.dimension_contrastive_energy(k.T))
    bounds = duality.dimension_energy_bounds(k.T)
    assert float(bounds.lower) - 1e-9 <= energy <= float(bounds.upper) + 1e-9


def test_bounds_of_lemma_3_4_are_met():
    n, m = 6, 4
    even = np.full((n, m), 1 / np.sqrt(m))
    peaked = np.eye(m)[np.zeros(n, int)]
    bounds = duality.dimension_norm_profile_bounds(n, m)
    assert float(duality.dimension_norm_profile(even)) == pytest.approx(bounds.lower)
    assert float(duality.dimension_norm_profile(peaked)) == pytest.approx(bounds.upper)


def test_table_s4_bounds():
    assert duality.dimension_norm_profile_bounds(1024, 8192) == (128.0, 1024.0**2)
    assert duality.dimension_norm_profile_bounds(1024, 512).lower == 2048.0
    # Exchanging samples and dimensions gives the other half of the table.
    assert duality.dimension_norm_profile_bounds(8192, 1024).lower == 65536.0


@pytest.mark.parametrize(("n", "m"), [(4, 8), (8, 4), (16, 16)])
def test_doubly_normalized_case(n, m):
    """A scaled matrix of signs has rows of norm 1 and columns of norm sqrt(N / M)."""
    k = np.sign(_matrix((n, m))) / np.sqrt(m)
    difference = duality.dimension_contrastive_energy(k) - duality.sample_contrastive_energy(k)
    assert float(difference) == pytest.approx(duality.doubly_normalized_difference(n, m), abs=1e-9)


@pytest.mark.parametrize("dimensions", [4, 64])
def test_proposition_3_1_on_the_sphere(dimensions):
    k = np.random.RandomState(0).randn(2000, dimensions)
    moments = duality.negative_pair_moments(k)
    pairs = 2000 * 1999 / 2
    # Five standard errors, because pairs are uncorrelated on the uniform sphere.
    assert abs(float(moments.mean)) < 5 * np.sqrt(1 / dimensions / pairs) + 1 / 2000
    assert float(moments.variance) == pytest.approx(1 / dimensions, rel=0.02)


def test_negative_pair_moments_by_definition():
    k = _unit_rows(_matrix((7, 3)))
    cosines = (k @ k.T)[~np.eye(7, dtype=bool)]
    moments = duality.negative_pair_moments(3 * k)
    assert float(moments.mean) == pytest.approx(cosines.mean())
    assert float(moments.variance) == pytest.approx(cosines.var())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: duality.sample_contrastive_energy(np.ones(3)), r"`k`.*matrix.*\(3,\)"),
        (lambda: duality.theorem_3_3(np.ones((2, 3, 4))), r"`k`.*\(2, 3, 4\)"),
        (lambda: duality.negative_pair_moments(np.ones((1, 4))), "`k`.*at least 2 samples"),
        (lambda: duality.doubly_normalized_difference(0, 4), "`samples`.*samples=0"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- As metrics, over many batches -----------------------------------------------------------


def _stream(metric, k, batch=7):
    for start in range(0, len(k), batch):
        metric.update_state(k[start : start + batch])
    return metric.result()


@pytest.mark.parametrize("shape", [(40, 6), (5, 8), (2, 1)], ids=str)
def test_streamed_quantities_are_those_of_all_samples(shape):
    k = (1 + _matrix(shape)).astype("float32")
    m = shape[1]
    k_64 = k.astype("float64")
    for metric, expected in [
        (duality.SampleContrastiveEnergy(m), duality.sample_contrastive_energy(k_64)),
        (duality.DimensionContrastiveEnergy(m), duality.dimension_contrastive_energy(k_64)),
        (duality.NegativePairMean(m), duality.negative_pair_moments(k_64).mean),
        (duality.NegativePairVariance(m), duality.negative_pair_moments(k_64).variance),
        (duality.RankMe(m), evaluation.rankme(k)),
    ]:
        assert float(_stream(metric, k)) == pytest.approx(float(expected), rel=1e-6, abs=1e-9)
        # After a reset, one batch gives the same as several.
        metric.reset_state()
        metric.update_state(k)
        assert float(metric.result()) == pytest.approx(float(expected), rel=1e-6, abs=1e-9)


def test_streamed_profiles_keep_within_the_bounds_of_lemma_3_4():
    n, m = 30, 5
    k = _unit_rows(_matrix((n, m)))
    profile = _stream(duality.DimensionNormProfile(m), k)
    bounds = duality.dimension_norm_profile_bounds(n, m)
    assert float(profile["dimension_norm_profile"]) == pytest.approx(
        float(duality.dimension_norm_profile(k))
    )
    assert float(profile["dimension_norm_profile_lower"]) == pytest.approx(bounds.lower)
    assert float(profile["dimension_norm_profile_upper"]) == pytest.approx(bounds.upper)
    profile = _stream(duality.SampleNormProfile(m), 2 * k)
    assert float(profile["sample_norm_profile"]) == pytest.approx(n * 2**4)
    assert float(profile["sample_norm_profile_lower"]) == pytest.approx(n * 2**4)
    assert float(profile["sample_norm_profile_upper"]) == pytest.approx(n**2 * 2**4)


def test_streamed_residual_compares_two_sides_of_their_own():
    k = _matrix((40, 6))
    metric = duality.Theorem33Residual(6)
    assert 0 <= float(_stream(metric, k, batch=8)) < 1e-14
    batches = k.reshape(5, 8, 6)
    of_samples = sum(np.sum((b @ b.T) ** 2) for b in batches)
    of_dimensions = sum(np.sum((b.T @ b) ** 2) for b in batches)
    assert float(metric.of_samples.value) == pytest.approx(of_samples)
    assert float(metric.of_dimensions.value) == pytest.approx(of_dimensions)
    metric.of_samples.assign(1.5 * of_samples)
    assert float(metric.result()) == pytest.approx(0.5)


def test_monitor_holds_what_the_single_metrics_hold():
    k = _matrix((40, 6))
    values = {name: float(v) for name, v in _stream(duality.DualityMonitor(6), k).items()}
    for name, metric in [
        ("l_c", duality.SampleContrastiveEnergy(6)),
        ("l_nc", duality.DimensionContrastiveEnergy(6)),
        ("negative_pair_mean", duality.NegativePairMean(6)),
        ("negative_pair_variance", duality.NegativePairVariance(6)),
        ("rankme", duality.RankMe(6)),
    ]:
        assert values[name] == pytest.approx(float(_stream(metric, k)), rel=1e-12)
    assert values["negative_pair_variance_uniform"] == pytest.approx(1 / 6)
    profile = values["sample_norm_profile"]
    assert values["sample_norm_profile_lower"] <= profile <= values["sample_norm_profile_upper"]
    assert values["theorem_3_3_residual"] < 1e-14


def test_sums_of_half_precision_embeddings_are_float64():
    k = (100 * _matrix((300, 4))).astype("float16")
    metric = duality.SampleContrastiveEnergy(4)
    expected = float(duality.sample_contrastive_energy(k.astype("float64")))
    assert float(_stream(metric, k)) == pytest.approx(expected, rel=1e-12)


def test_an_embedding_that_is_not_a_number_gives_a_rank_that_is_not():
    metric = duality.RankMe(3)
    metric.update_state(np.full((4, 3), np.nan))
    assert np.isnan(metric.result())


def test_metrics_of_any_keras_model():
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(4)])
    model.compile("sgd", loss="mse", metrics=[duality.RankMe(4), duality.DualityMonitor(4)])
    x = _matrix((20, 3)).astype("float32")
    logs = model.evaluate(x, np.zeros((20, 4)), batch_size=8, verbose=0, return_dict=True)
    assert logs["rank_me"] == pytest.approx(
        evaluation.rankme(model.predict(x, verbose=0)), rel=1e-5
    )
    assert logs["rank_me"] == pytest.approx(logs["rankme"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: duality.RankMe(0), "`dimensions`.*dimensions=0"),
        (lambda: duality.RankMe(4).update_state(np.ones((2, 3))), r"\(samples, 4\).*\(2, 3\)"),
        (lambda: duality.RankMe(4).update_state(np.ones(4)), r"matrix.*\(4,\)"),
        (
            lambda: duality.RankMe(4).update_state(np.ones((2, 4)), sample_weight=[1, 2]),
            "`sample_weight`",
        ),
    ],
)
def test_bad_input_of_metrics(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "float16"])
def test_numbers_of_few_bits_do_not_overflow(dtype):
    k = np.arange(96).reshape(16, 6).astype(dtype)
    for sides in (duality.theorem_3_3(k), duality.theorem_3_3(k.tolist())):
        exact = np.sum((k.astype("float64").T @ k.astype("float64")) ** 2)
        assert float(sides.samples) == pytest.approx(exact, rel=1e-5)
        assert float(sides.dimensions) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("scale", [1.0, 1e-7, 1e-12, 1e12])
def test_cosines_do_not_depend_on_the_size_of_embeddings(scale):
    k = np.random.RandomState(0).rand(20, 6).astype("float32")
    moments = duality.negative_pair_moments(scale * k)
    metric = duality.NegativePairMean(6)
    metric.update_state(None, np.float32(scale) * k)
    assert float(moments.mean) == pytest.approx(float(metric.result()), rel=1e-4)
    assert float(moments.mean) == pytest.approx(
        float(duality.negative_pair_moments(k).mean), rel=1e-5
    )
