"""Views made by OpenCV, one image after the other, are those that TensorFlow makes of a batch."""

import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data

LAYERS = {
    "crop": data.RandomResizedCrop,
    "several of half": lambda: data.Compose(
        [data.RandomResizedCrop((13, 11)), data.RandomFlip()], probability=0.5
    ),
    "never": lambda: data.Compose([data.RandomResizedCrop((13, 11))], probability=0.0),
    "crop of half": lambda: data.RandomResizedCrop((13, 11), probability=0.5),
    "crop that enlarges": lambda: data.RandomResizedCrop((40, 30)),
    "crop that enlarges one side": lambda: data.RandomResizedCrop((40, 8)),
    "crop that reduces": lambda: data.RandomResizedCrop((7, 6), scale=(0.5, 1.0)),
    "flip": data.RandomFlip,
    "jitter": data.RandomColorJitter,
    "jitter without colors": lambda: data.RandomColorJitter(0.8, 0.8, 0.0, 0.0),
    "gray": data.RandomGrayscale,
    "blur": data.RandomGaussianBlur,
    "blur wider than the image": lambda: data.RandomGaussianBlur((5.0, 20.0)),
    "solarize": lambda: data.RandomSolarize(0.5),
}


def _images(count=24, channels=3, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (count, 20, 16, channels), "uint8")


def _assert_same(policy, images, seed=(3, 1)):
    assert policy.goes_one_by_one
    before = images.copy()
    for expected, view in zip(policy(images, seed=seed), policy.of([images], seed), strict=True):
        assert view.dtype == "float32" and view.shape == expected.shape
        assert float(tf.reduce_min(view)) >= 0 and float(tf.reduce_max(view)) <= 1
        np.testing.assert_allclose(view, expected, atol=2e-5)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("name", LAYERS)
def test_each_augmentation(name, channels):
    policy = data.TwoViews(LAYERS[name]())
    _assert_same(policy, _images(channels=channels))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("name", data.POLICIES)
def test_each_policy(name, dtype):
    images = _images()
    _assert_same(data.POLICIES[name](), images if dtype == "uint8" else np.float32(images / 255))


@pytest.mark.parametrize("channels", [4, 13])
def test_any_number_of_channels(channels):
    _assert_same(data.colorless(), _images(channels=channels))


@pytest.mark.parametrize("dtype", ["int16", "float16", "float64"])
def test_any_dtype(dtype):
    images = _images()
    _assert_same(data.byol(), (images if dtype == "int16" else images / 255).astype(dtype))


def test_what_a_resizing_left_beyond_the_range_is_clipped():
    images = np.full((4, 8, 8, 3), -0.0005, "float32")
    for view in data.weak().of([images, 1 - images], (1, 2)):
        assert float(tf.reduce_min(view)) >= 0 and float(tf.reduce_max(view)) <= 1


def test_views_of_several_sizes():
    _assert_same(data.multi_crop((20, 16)), _images())


def test_each_image_by_itself():
    """What becomes of an image depends on its place in the batch, not on the others."""
    images, policy = _images(), data.byol()
    whole, part = policy.of([images], (1, 2)), policy.of([images[:5]], (1, 2))
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[:5], b)


def test_each_view_of_another_batch():
    images, others, policy = _images(seed=0), _images(seed=1), data.simclr()
    views = policy.of([images, others], (1, 2))
    np.testing.assert_array_equal(views[0], policy.of([images], (1, 2))[0])
    np.testing.assert_array_equal(views[1], policy.of([others], (1, 2))[1])


@pytest.mark.parametrize("seed", [(1, 2, 3), (2**40 + 1, -2, 3)], ids=str)
def test_a_graph_gives_what_eager_gives(seed):
    images, policy = _images(), data.byol((24, 24))
    graph = tf.function(lambda images, step: policy.of([images], (*seed[:2], step)))
    views = graph(tf.constant(images), tf.constant(seed[2], tf.int64))
    for a, b in zip(policy.of([images], seed), views, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_replica_without_images_gets_views_of_none():
    policy = data.byol()
    signature = [tf.TensorSpec((None, 20, 16, 3), tf.uint8)]
    views = tf.function(lambda images: policy.of([images], (1, 2)), signature)(_images(0))
    assert [tuple(view.shape) for view in views] == [(0, 20, 16, 3)] * 2


def test_what_is_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"floats in \[0, 1\]"):
        data.byol().of([_images().astype("float32")], (1, 2))
    with pytest.raises(ValueError, match=r"batch \(N, height, width, channels\)"):
        data.byol().of([_images()[0]], (1, 2))


class Inverted(data.RandomFlip):
    """A change that OpenCV's form of its parent does not have."""

    def augment(self, images, drawn):
        return 1 - images


class Padded(data.Augmentation):
    """One that makes images larger, also those that are not chosen, in one of the two forms."""

    def augment(self, images, drawn):
        return self.leave(images) / 2

    def leave(self, images):
        return tf.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]])

    def augment_each(self, drawn):
        return lambda i, image: np.pad(image, [(1, 1), (1, 1), (0, 0)]) / 2


class Doubled(data.TwoViews):
    def augment(self, images, drawn):
        return tuple(view / 2 for view in super().augment(images, drawn))


@pytest.mark.parametrize(
    "policy",
    [
        data.TwoViews(data.Compose([data.RandomResizedCrop(), Inverted()])),
        data.TwoViews(Padded(0.5)),
        Doubled(data.RandomFlip()),
    ],
    ids=["augmentation", "leave", "policy"],
)
def test_a_subclass_that_changes_one_form_alone_is_applied_by_tensorflow(policy):
    images = _images()
    assert not policy.goes_one_by_one
    for a, b in zip(policy(images, seed=(1, 2)), policy.of([images], (1, 2)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_batches_of_views_are_made_so():
    same = np.repeat(_images(1), 24, axis=0)  # In any order.
    policy = data.byol()
    (views,) = next(iter(data.make_views(data.from_arrays(same), policy, 24, seed=5)))
    for a, b in zip(policy.of([same], (5, 0, 0)), views, strict=True):
        np.testing.assert_array_equal(a, b)
