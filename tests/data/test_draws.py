import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data
from keras_ssl.data import draws

RATIO = (3 / 4, 4 / 3)
# From torchvision 0.28.0 (torch 2.13.0), 50,000 boxes after torch.manual_seed(0):
# RandomResizedCrop.get_params(torch.zeros(1, *size), scale, [3 / 4, 4 / 3]). Fractions of boxes
# that are the whole image and that are smaller than the scale; mean and standard deviation of the
# area, as a fraction, and of the logarithm of width over height; mean top and left, as fractions of
# the sides.
TORCHVISION = {
    ((224, 224), (0.9, 1.0)): (0.1186, 0.0229, 0.9421, 0.0312, 0.0000, 0.0419, 0.0147, 0.0147),
    ((32, 32), (0.9, 1.0)): (0.0917, 0.0154, 0.9399, 0.0304, 0.0003, 0.0545, 0.0152, 0.0149),
    ((32, 32), (0.08, 1.0)): (0.0025, 0.0044, 0.4897, 0.2403, 0.0012, 0.1610, 0.1620, 0.1613),
    ((224, 224), (0.08, 1.0)): (0.0001, 0.0003, 0.4798, 0.2342, 0.0007, 0.1595, 0.1642, 0.1639),
    ((60, 20), (0.5, 1.0)): (0.0000, 1.0000, 0.4500, 0.0000, -0.3001, 0.0000, 0.2667, 0.0000),
    ((24, 40), (0.2, 1.0)): (0.0000, 0.0009, 0.4292, 0.1455, 0.0389, 0.1642, 0.0924, 0.2411),
}


def _numbers(seed=(0, 0), n=1000, count=draws.CROP_NUMBERS):
    return draws.numbers(draws.key(seed), np.arange(n, dtype="int32"), count)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1, 2**32 - 1), (2**32 - 1, 2**32 - 1), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
    ids=["zeros", "ones", "pi"],
)
def test_known_answers(counter, key, expected):
    """The vectors of Random123 (tests/kat_vectors) for threefry2x32 of 20 rounds."""
    answer = draws.threefry([draws.word(k) for k in key], [draws.word(c) for c in counter])
    assert tuple(int(word.view("uint32")[0]) for word in answer) == expected


def _boxes(seed, xp):
    numbers = draws.numbers(draws.key(seed, xp), xp.arange(3000, dtype="int32"), 25, xp)
    boxes = draws.crop_boxes(numbers[:, :22], (224, 200), (0.08, 1.0), RATIO, xp)
    return numbers, boxes, draws.uniform(numbers[:, 22:], 0.1, 2.0, xp)


@pytest.mark.parametrize(
    "run",
    [
        lambda seed: _boxes(tf.unstack(seed), keras.ops),
        tf.function(lambda seed: _boxes(tf.unstack(seed), keras.ops)),
        tf.function(lambda seed: _boxes(tf.unstack(seed), keras.ops), jit_compile=True),
        lambda seed: next(
            iter(
                tf.data.Dataset.from_tensors(seed).map(
                    lambda seed: _boxes(tf.unstack(seed), keras.ops), num_parallel_calls=2
                )
            )
        ),
    ],
    ids=["eager", "graph", "xla", "map"],
)
def test_tensorflow_draws_bit_for_bit_what_numpy_draws(run):
    seed = (3, 2**40 + 5, 7)
    for ours, theirs in zip(_boxes(seed, np), run(tf.constant(seed, tf.int64)), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_row_follows_from_the_key_and_the_image_alone():
    many, few = _numbers(n=100, count=9), _numbers(n=10, count=4)
    np.testing.assert_array_equal(many[:10, :4], few)
    some = draws.numbers(draws.key((0, 0)), np.array([70, 3], "int32"), 9)
    np.testing.assert_array_equal(some, many[[70, 3]])


def test_numbers_are_uniform_and_independent():
    numbers = _numbers((1, 2), n=100_000, count=6)
    assert numbers.dtype == "float32" and numbers.min() >= 0 and numbers.max() < 1
    # Five standard errors of a mean, a variance and a correlation.
    assert numbers.mean(0) == pytest.approx(0.5, abs=5 * math.sqrt(1 / 12 / 1e5))
    assert numbers.var(0) == pytest.approx(1 / 12, abs=5 * math.sqrt(1 / 180 / 1e5))
    others = _numbers((1, 3), n=100_000, count=6)
    correlation = np.corrcoef(np.concatenate([numbers, others], axis=1).T) - np.eye(12)
    assert np.abs(correlation).max() < 5 / math.sqrt(1e5)
    lag = (numbers[1:] - 0.5) * (numbers[:-1] - 0.5)
    assert lag.mean(0) == pytest.approx(0, abs=5 / 12 / math.sqrt(1e5))


def test_seeds_differ_in_each_number_and_in_their_order():
    seeds = [(0, 0), (0, 1), (1, 0), (2**31, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 2, 3)]
    drawn = np.stack([_numbers(seed, n=4, count=2).ravel() for seed in seeds])
    assert len(np.unique(drawn)) == drawn.size


@pytest.mark.parametrize(
    "same",
    [
        [(5, 7), (np.int64(5), np.uint8(7)), (5 + 2**32, 7 - 2**40)],
        [(-1, 0), (2**32 - 1, 0), (np.int32(-1), 0)],
        [(3,), (3, 0)],
    ],
    ids=["types", "negative", "one"],
)
def test_whole_numbers_count_modulo_2_to_the_32(same):
    for seed in same[1:]:
        np.testing.assert_array_equal(_numbers(seed), _numbers(same[0]))


def test_uniform_and_log_uniform_are_their_formulas():
    numbers = np.concatenate([_numbers().ravel(), np.float32([0, 1 - 2**-24])])
    exact = numbers.astype("float64")
    np.testing.assert_allclose(
        draws.uniform(numbers, 0.08, 1.0), 0.08 + 0.92 * exact, rtol=0, atol=2**-23
    )
    np.testing.assert_allclose(
        draws.log_uniform(numbers, 0.75, 4 / 3), 0.75 * (16 / 9) ** exact, rtol=3e-7
    )
    assert (draws.uniform(numbers, 0.7, 0.7) == np.float32(0.7)).all()
    assert (draws.log_uniform(numbers, 1.0, 1.0) == 1).all()


class TestCropBoxes:
    @pytest.mark.parametrize(("size", "scale"), TORCHVISION, ids=str)
    def test_statistics_are_torchvisions(self, size, scale):
        n = 50_000
        top, left, height, width = draws.crop_boxes(_numbers((1, 1), n), size, scale, RATIO).T
        area, ratio = height * width / math.prod(size), np.log(width / height)
        is_whole = (height == size[0]) & (width == size[1])
        whole, below, *others = TORCHVISION[size, scale]
        for share, theirs in ((is_whole, whole), (area < scale[0], below)):
            # Five standard errors of a difference of fractions, plus the rounding to four digits.
            error = 5 * math.sqrt(2 * theirs * (1 - theirs) / n) + 1e-4
            assert share.mean() == pytest.approx(theirs, abs=error)
        ours = [area.mean(), area.std(), ratio.mean(), ratio.std()]
        ours += [(top / size[0]).mean(), (left / size[1]).mean()]
        # None of these has a standard deviation above 0.25.
        assert ours == pytest.approx(others, abs=5 * 0.25 * math.sqrt(2 / n))

    @pytest.mark.parametrize(
        "size",
        [(224, 224), (32, 32), (60, 20), (20, 60), (1, 28), (28, 1), (1, 1), (7, 5)],
        ids=str,
    )
    @pytest.mark.parametrize("scale", [(0.9, 1.0), (0.08, 1.0), (1.0, 1.0)], ids=str)
    def test_boxes_are_those_of_the_loop(self, size, scale):
        """torchvision's loop over ten tries, image by image, on the same numbers."""
        numbers = _numbers((2, 3), n=200)
        expected = [_loop(row.astype("float64").tolist(), *size, scale) for row in numbers]
        np.testing.assert_array_equal(draws.crop_boxes(numbers, size, scale, RATIO), expected)

    def test_all_places_are_alike(self):
        boxes = draws.crop_boxes(_numbers((4, 4), n=60_000), (4, 4), (0.25, 0.25), (1.0, 1.0))
        assert (boxes[:, 2:] == 2).all()
        places, counts = np.unique(boxes[:, :2], axis=0, return_counts=True)
        np.testing.assert_array_equal(places, [[i, j] for i in range(3) for j in range(3)])
        assert counts / 60_000 == pytest.approx(1 / 9, abs=5 * math.sqrt(8 / 81 / 60_000))

    @pytest.mark.parametrize(
        ("size", "expected"),
        [((60, 20), (16, 0, 27, 20)), ((20, 60), (0, 16, 20, 27)), ((50, 50), (0, 0, 50, 50))],
        ids=str,
    )
    def test_where_no_try_fits_it_is_the_largest_central_box(self, size, expected):
        # With the whole area, only the image's own ratio fits.
        numbers = _numbers(n=50)
        numbers[:, 10:20] = 0.0
        boxes = draws.crop_boxes(numbers, size, (1.0, 1.0), RATIO)
        np.testing.assert_array_equal(boxes, np.tile(expected, (50, 1)))


def _loop(numbers, height, width, scale):
    for i in range(10):
        area = (scale[0] + (scale[1] - scale[0]) * numbers[i]) * height * width
        ratio = RATIO[0] * (RATIO[1] / RATIO[0]) ** numbers[10 + i]
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            top, left = numbers[20] * (height - h + 1), numbers[21] * (width - w + 1)
            return math.floor(top), math.floor(left), h, w
    w, h = width, height
    if width / height < RATIO[0]:
        h = round(width / RATIO[0])
    elif width / height > RATIO[1]:
        w = round(height * RATIO[1])
    return (height - h) // 2, (width - w) // 2, h, w


def test_draws_of_numpy_applied_apart_are_the_policys_own():
    images = np.random.RandomState(0).randint(0, 256, (5, 12, 10, 3), "uint8")
    policy = data.byol((8, 8))
    numbers = _numbers((1, 2, 3), n=5, count=1 + policy.draw_count)
    drawn = policy.draw_all(numbers, (12, 10))
    assert all(isinstance(leaf, np.ndarray) for leaf in tf.nest.flatten(drawn))
    views = policy.apply(data.to_unit_floats(images), drawn)
    for apart, own in zip(views, policy(images, seed=(1, 2, 3)), strict=True):
        np.testing.assert_array_equal(np.clip(apart, 0, 1), own)
