"""The paper's statements, held against matrices."""

import numpy as np
import pytest

from keras_ssl import duality

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
    # The other half of the table, by exchanging samples and dimensions.
    assert duality.dimension_norm_profile_bounds(8192, 1024).lower == 65536.0


@pytest.mark.parametrize(("n", "m"), [(4, 8), (8, 4), (16, 16)])
def test_doubly_normalised_case(n, m):
    """Unit rows and columns of norm sqrt(N / M): any matrix of signs, scaled, is one."""
    k = np.sign(_matrix((n, m))) / np.sqrt(m)
    difference = duality.dimension_contrastive_energy(k) - duality.sample_contrastive_energy(k)
    assert float(difference) == pytest.approx(duality.doubly_normalized_difference(n, m), abs=1e-9)


@pytest.mark.parametrize("dimensions", [4, 64])
def test_proposition_3_1_on_the_sphere(dimensions):
    k = np.random.RandomState(0).randn(2000, dimensions)
    moments = duality.negative_pair_moments(k)
    pairs = 2000 * 1999 / 2
    # Five standard errors, the pairs being uncorrelated on the uniform sphere.
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
