import html
import tracemalloc
from unittest import mock

import keras
import matplotlib
import numpy as np
import pytest
from PIL import Image

from keras_ssl import data, evaluation, models
from keras_ssl._text import short
from keras_ssl.evaluation import CKA, linear_cka
from tests.conftest import tiny_encoder
from tests.test_text import NAMES


def _pair(n=40, d1=6, d2=9, seed=0):
    """Features of two encoders that share some directions, with means."""
    rng = np.random.RandomState(seed)
    x = rng.randn(n, d1) * np.arange(1, d1 + 1) + 5
    return x, np.tanh(x @ rng.randn(d1, d2)) + 0.5 * rng.randn(n, d2) - 3


def _by_hsic(x, y):
    """The paper's definition, by kernels of all pairs of images and the centering matrix."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    n = len(x)
    h = np.eye(n) - np.ones((n, n)) / n
    k, m = x @ x.T, y @ y.T

    def hsic(a, b):
        return np.trace(a @ h @ b @ h) / (n - 1) ** 2

    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def _rotation(d, seed=0):
    return np.linalg.qr(np.random.RandomState(seed).randn(d, d))[0]


class TestLinearCKA:
    @pytest.mark.parametrize(
        "shape", [(40, 6, 9), (8, 20, 30), (30, 2, 60), (2, 3, 3), (9, 1, 1)], ids=str
    )
    def test_is_the_papers_by_all_pairs_of_images(self, shape):
        x, y = _pair(*shape)
        assert linear_cka(x, y) == pytest.approx(_by_hsic(x, y), rel=1e-11)
        assert linear_cka(y, x) == pytest.approx(linear_cka(x, y), rel=1e-12)

    def test_both_sides_are_equal(self):
        """Dimensions of zeros change nothing but the side on which it is computed."""
        x, y = _pair()
        wide = np.pad(x, [(0, 0), (0, 200)])
        assert linear_cka(wide, y) == pytest.approx(linear_cka(x, y), rel=1e-12)

    @pytest.mark.parametrize("shape", [(4, 3000), (3000, 4)], ids=str)
    def test_takes_the_smaller_side(self, shape):
        """Of the larger one, a matrix would take 72 MB."""
        x = np.random.RandomState(0).randn(*shape)
        tracemalloc.start()
        linear_cka(x, x)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2e6

    @pytest.mark.parametrize("d2", [9, 90])
    def test_rotations_scales_and_offsets_change_nothing(self, d2):
        x, y = _pair(d2=d2)
        other_x, other_y = 3 * x @ _rotation(6) + 7, -1e-3 * y @ _rotation(d2) - 1
        assert linear_cka(other_x, other_y) == pytest.approx(linear_cka(x, y), rel=1e-11)
        # Another linear map does: CKA is not CCA.
        assert abs(linear_cka(x * np.array([9, 1, 1, 1, 1, 1]), y) - linear_cka(x, y)) > 0.01

    @pytest.mark.parametrize("n", [4, 40])
    def test_of_itself(self, n):
        x, _ = _pair(n)
        assert linear_cka(x, x) == pytest.approx(1, rel=1e-12)

    def test_without_a_shared_direction(self):
        x, y = np.array([[1.0], [-1], [1], [-1]]), np.array([[1.0], [1], [-1], [-1]])
        assert linear_cka(x, y) == 0

    def test_large_means_and_extreme_scales(self):
        x, y = _pair()
        assert linear_cka(1e150 * x, 1e-150 * y) == pytest.approx(linear_cka(x, y), rel=1e-11)
        far = x + 1e7  # It rounds; to subtract it again does not.
        assert linear_cka(far, y) == pytest.approx(linear_cka(far - 1e7, y), rel=1e-11)

    def test_half_precision(self):
        """Squares of these features are beyond the range of float16."""
        x, y = (100 * z.astype("float16") for z in _pair())
        assert linear_cka(x, y) == pytest.approx(_by_hsic(x, y), rel=1e-11)

    @pytest.mark.parametrize(("n", "d1", "d2"), [(1000, 100, 150), (100, 200, 100)])
    def test_of_white_noise(self, n, d1, d2):
        """Its relative deviation is about sqrt(2 / (D1 D2)), from seed to seed."""
        rng = np.random.RandomState(0)
        expected = np.sqrt(d1 * d2 / ((n + d1) * (n + d2)))
        assert linear_cka(rng.randn(n, d1), rng.randn(n, d2)) == pytest.approx(expected, rel=0.05)

    @pytest.mark.parametrize("d2", [9, 90])
    def test_equal_features_of_all_images_have_nothing_to_compare(self, d2):
        x, y = _pair(d2=d2)
        collapsed = np.full_like(x, 0.1)  # Its mean is not 0.1 to the last bit.
        assert np.isnan(linear_cka(collapsed, y)) and np.isnan(linear_cka(y, collapsed))
        assert np.isnan(linear_cka(x[:1], y[:1]))

    @pytest.mark.parametrize(
        ("features", "message"),
        [
            ((np.ones(3), np.ones((3, 2))), r"`features_1` must be a matrix \(N, D\).*\(3,\)"),
            ((np.ones((3, 2)), np.full((3, 2), np.nan)), "`features_2` must be .*finite"),
            ((np.ones((3, 2)), np.ones((4, 2))), r"same images.*\(3, 2\) and \(4, 2\)"),
        ],
        ids=["vector", "NaN", "other images"],
    )
    def test_bad_features(self, features, message):
        with pytest.raises(ValueError, match=message):
            linear_cka(*features)


def _dense(mean=0.0, units=5):
    """Returns an encoder whose representations lie around `mean`."""
    return keras.Sequential(
        [
            keras.layers.Input((8, 8, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(units, bias_initializer=keras.initializers.Constant(mean)),
        ]
    )


@pytest.fixture
def sorted_images(images):
    """The images, the darkest class first: the means of batches differ."""
    return images.subset(np.argsort(images.labels(), kind="stable"))


class TestMatrix:
    def test_equals_cka_of_all_features(self, sorted_images):
        encoders = {
            "tiny": tiny_encoder(),
            "pixels": evaluation.raw_pixels((8, 8, 1)),
            "far": _dense(mean=3e4),
        }
        cka = evaluation.cka_matrix(encoders, sorted_images, batch_size=7)
        assert cka.names == ("tiny", "pixels", "far") and cka.values.dtype == "float64"
        features = [evaluation.extract(e, sorted_images, 7).values for e in encoders.values()]
        # The deviations are small beside this mean.
        assert features[2].std(axis=0).max() < 1e-4 * abs(features[2].mean())
        expected = [[linear_cka(x, y) for y in features] for x in features]
        np.testing.assert_allclose(cka.values, expected, rtol=1e-10)
        np.testing.assert_array_equal(cka.values, cka.values.T)
        by_hsic = _by_hsic(features[0], features[1])
        assert cka.values[0, 1] == pytest.approx(by_hsic, rel=1e-10)

    def test_goes_over_the_images_once(self, images):
        batches = data.ImageSet.batches
        with mock.patch.object(data.ImageSet, "batches", autospec=True, side_effect=batches) as go:
            evaluation.cka_matrix({"a": _dense(), "b": _dense()}, images, batch_size=20)
        assert go.call_count == 1

    def test_of_a_method_its_representations_are_compared(self, images):
        method = models.VICReg(_dense(units=4), "8")
        cka = evaluation.cka_matrix({"method": method, "encoder": method.encoder}, images)
        np.testing.assert_allclose(cka.values, np.ones((2, 2)), rtol=1e-6)

    def test_a_collapsed_encoder(self, images):
        collapsed = _dense(0.1)
        collapsed.layers[-1].kernel.assign(np.zeros((64, 5)))
        encoders = {"one": _dense(), "collapsed": collapsed}
        values = evaluation.cka_matrix(encoders, images, batch_size=20).values
        np.testing.assert_allclose(values, [[1, np.nan], [np.nan, np.nan]], rtol=1e-12)

    @pytest.mark.parametrize(
        ("encoders", "error", "message"),
        [
            ([], TypeError, "`encoders` must be a mapping.*Received: encoders of type list"),
            ({"a": None}, TypeError, r"`encoders`.*Received: encoders\['a'\] of type NoneType"),
            ({}, ValueError, "`encoders` must hold at least one"),
        ],
        ids=["list", "None", "empty"],
    )
    def test_bad_encoders(self, encoders, error, message, images):
        with pytest.raises(error, match=message):
            evaluation.cka_matrix(encoders, images)

    def test_bad_images_and_features(self, images):
        with pytest.raises(TypeError, match="`images` must be a keras_ssl.data.ImageSet"):
            evaluation.cka_matrix({"a": _dense()}, np.zeros((4, 8, 8, 1)))
        with pytest.raises(ValueError, match="`batch_size` must be a whole number"):
            evaluation.cka_matrix({"a": _dense()}, images, batch_size=0)
        with pytest.raises(ValueError, match=r"`encoders\['b'\]` must be .* of finite numbers"):
            evaluation.cka_matrix({"a": _dense(), "b": _dense(np.inf)}, images)


class TestPicture:
    def test_names_and_values_are_in_it(self, tmp_path):
        names = tuple(NAMES.values())
        values = np.eye(len(names))
        values[0, 1] = values[1, 0] = 0.873
        values[2, 2] = np.nan
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            evaluation.draw_cka(CKA(names, values), tmp_path / "cka.svg", "Of $5 encoders")
        text = html.unescape((tmp_path / "cka.svg").read_text("utf-8"))
        for name in names:
            assert text.count(f">{short(name)}<") == 2, name  # beside its row and below its column
        assert text.count(">0.87<") == 2 and text.count(">nan<") == 1
        assert ">Of $5 encoders<" in text

    @pytest.mark.parametrize("count", [1, 12])
    def test_is_as_large_as_its_matrix(self, count, tmp_path):
        path = tmp_path / "cka.png"
        evaluation.draw_cka(CKA(("encoder",) * count, np.ones((count, count))), str(path))
        with Image.open(path) as picture:
            assert min(picture.size) > 50 * count
        assert list(tmp_path.iterdir()) == [path]

    def test_is_a_png_without_a_suffix(self, tmp_path):
        evaluation.draw_cka(CKA(("encoder",), np.ones((1, 1))), tmp_path / "cka")
        with Image.open(tmp_path / "cka") as picture:
            assert picture.format == "PNG"

    @pytest.mark.parametrize("shape", [(2, 2), (3, 2), (3,)])
    def test_bad_values(self, shape, tmp_path):
        with pytest.raises(ValueError, match="`cka` must have a square matrix.*3 names"):
            evaluation.draw_cka(CKA(("a", "b", "c"), np.ones(shape)), tmp_path / "cka.png")
