"""Batches by Python are those of tf.data: bit for bit, in the same orders and with the same draws.

TensorFlow is there, and hidden: `tests/test_without_tensorflow.py` does without it.
"""

import dataclasses
import importlib.util

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_ssl import data, encoders, models
from keras_ssl._tensorflow import is_installed
from keras_ssl.data import batches, without_tensorflow
from keras_ssl.data.orders import shuffled
from keras_ssl.data.sources.resizing import brought_to
from keras_ssl.data.without_tensorflow import Batches

RNG = np.random.RandomState(0)
PIXELS = RNG.randint(0, 255, (23, 9, 8, 3)).astype("uint8")
LABELS = RNG.randint(0, 3, 23)
GROUPS = np.repeat(np.arange(10), [1, 2, 3, 2, 4, 1, 3, 2, 2, 3])
POLICY = data.simclr((8, 8))


@pytest.fixture(autouse=True)
def few_cores(monkeypatch):
    """On more than four, tf.data makes views by TensorFlow, which rounds otherwise."""
    monkeypatch.setattr(batches, "_cores", lambda: 2)


@pytest.fixture
def hidden(monkeypatch):
    """A function that calls another as if TensorFlow were not installed."""
    find = importlib.util.find_spec

    def call(function):
        with monkeypatch.context() as context:
            context.setattr(
                importlib.util,
                "find_spec",
                lambda name: None if name == "tensorflow" else find(name),
            )
            is_installed.cache_clear()
            assert not is_installed()
            try:
                return function()
            finally:
                is_installed.cache_clear()

    yield call
    is_installed.cache_clear()


def same(batches, others):
    """Whether two sequences of structures hold the same bits; also of the same types and shapes."""
    batches, others = list(batches), list(others)
    assert len(batches) == len(others) > 0
    for batch, other in zip(batches, others, strict=True):
        tf.nest.assert_same_structure(batch, other)
        for x, y in zip(tf.nest.flatten(batch), tf.nest.flatten(other), strict=True):
            x, y = np.asarray(x), np.asarray(y)
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 1001])
@pytest.mark.parametrize("seed", [0, 1, 2**31 - 2, 2**31 - 1, 2**31, 2**32 - 1, 2**33 + 5])
def test_an_order_is_that_of_tensorflow(size, seed):
    def order(number):
        tf.compat.v1.get_default_graph().seed = None
        shuffle = tf.data.Dataset.range(size).shuffle
        return shuffle(size, seed=number, reshuffle_each_iteration=False)

    seeds = tf.data.Dataset.from_tensors(np.int64(seed))
    np.testing.assert_array_equal(
        shuffled(size, seed), list(seeds.flat_map(order).as_numpy_iterator())
    )


def sets():
    labeled = data.from_arrays(PIXELS, LABELS)
    return {
        "labels": labeled,
        "no labels": data.from_arrays(PIXELS),
        "floats": data.from_arrays(PIXELS / np.float32(255), LABELS),
        "groups": dataclasses.replace(labeled, groups=GROUPS),
        "chosen": labeled.subset([5, 3, 22, 7, 9, 1, 0]),
    }


@pytest.mark.parametrize("name", sets())
class TestSets:
    def test_views(self, name, hidden):
        """Two epochs, the second from its second step on."""
        images = sets()[name]
        both = data.make_views(images, POLICY, 3, seed=7)
        mine = hidden(lambda: data.make_views(images, POLICY, 3, seed=7))
        assert isinstance(mine, Batches) and len(mine) == both.cardinality()

        def epochs():
            return [*mine, *mine.starting_at(1), *mine.take(1)]

        same([*both, *both.starting_at(1), *both.take(1)], hidden(epochs))

    def test_views_and_a_probe(self, name, hidden):
        """Whose images are fewer, or more, than those of an epoch."""
        images = sets()[name]
        for probe in (images.spread(2), data.from_arrays(PIXELS[:, :8], LABELS)):
            if not probe.has_labels:
                continue
            both = data.make_views(images, POLICY, 3, seed=7, probe_images=probe)
            mine = hidden(lambda p=probe: list(data.make_views(images, POLICY, 3, 7, p)))
            same(both, mine)

    def test_batches_and_what_is_made_of_them(self, name, hidden):
        images = sets()[name]
        same(images.batches(4), hidden(lambda: list(images.batches(4))))
        same([images.sample(5)], [hidden(lambda: images.sample(5))])
        assert data.fingerprint(images) == hidden(lambda: data.fingerprint(images))
        parts = hidden(lambda: data.split(images) if images.has_labels else (images.spread(3),) * 2)
        others = data.split(images) if images.has_labels else (images.spread(3),) * 2
        for part, other in zip(parts, others, strict=True):
            same(part.batches(4), other.batches(4))
        same(images.without_labels().batches(4), hidden(images.without_labels).batches(4))

    def test_images_for_a_method_that_makes_the_views(self, name, hidden):
        images = sets()[name]
        if images.groups is None:
            both = data.make_batches(images, 3, seed=2**31 - 1)
            same(both, hidden(lambda: list(data.make_batches(images, 3, seed=2**31 - 1))))


@pytest.mark.parametrize("seed", [0, 1, 2**32])
@pytest.mark.parametrize("counts", [[1, 1], [1, 2, 3, 4, 5], [7] * 30])
def test_two_images_of_each_group_are_those_of_tensorflow(counts, seed):
    groups = np.random.RandomState(1).permutation(np.repeat(np.arange(len(counts)), counts))
    pixels = np.zeros((len(groups), 4, 4, 1), "uint8")
    images = data.from_arrays(pixels, np.arange(len(groups)))
    images = dataclasses.replace(images, groups=groups)

    def of_tensorflow(number):
        tf.compat.v1.get_default_graph().seed = None
        return images.shuffled_pairs(number)

    seeds = tf.data.Dataset.from_tensors(np.int64(seed))
    (found,) = seeds.flat_map(of_tensorflow).batch(len(counts))
    same([found], [without_tensorflow.pairs(images, seed)])


def test_labels_are_the_callers_own(hidden):
    images = sets()["labels"]
    images.labels()[:] = 9
    for _, labels in hidden(lambda: list(images.batches(4))):
        labels[:] = 9
    np.testing.assert_array_equal(images.labels(), LABELS)


def test_sets_are_compared_by_identity():
    images = sets()["labels"]
    assert images == images and images != images.subset([0, 1]) and len({images, images}) == 1


@pytest.mark.long
def test_evaluating_within_an_epoch_changes_nothing(hidden):
    """And a fit shuffles no steps."""
    images = sets()["labels"]

    class Evaluate(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.model.evaluate(batches, verbose=0)

    def weights(*callbacks, **options):
        keras.utils.set_random_seed(0)
        model = models.VICReg(encoders.resnet((9, 8, 3), blocks=(1,), width=4), "8-4")
        model.compile("sgd")
        model.fit(batches, epochs=2, initial_epoch=1, verbose=0, callbacks=callbacks, **options)
        return model.get_weights()

    batches = hidden(lambda: data.make_views(images, data.TwoViews(data.RandomFlip()), 3))
    alone = hidden(weights)
    same([alone], [hidden(lambda: weights(Evaluate()))])
    with pytest.warns(UserWarning, match="`shuffle=True` is ignored"):
        same([alone], [hidden(lambda: weights(shuffle=True))])


def test_batches_that_are_wrong(hidden):
    batches = hidden(lambda: data.make_views(sets()["labels"], POLICY, 3))
    for count in (-1, 0, 1.5):
        with pytest.raises(ValueError, match="`count`"):
            batches.take(count)
    few = dataclasses.replace(sets()["labels"], shuffle_buffer=4)
    with pytest.raises(ImportError, match="`shuffle_buffer`"):
        hidden(lambda: data.make_views(few, POLICY, 3))


def test_an_error_reaches_who_asks_for_the_batch():
    def make(epoch, step):
        if step == 2:
            raise ValueError("step 2 is broken")
        return step

    batches = Batches(make, range(4), data.Epochs())
    assert [batches[0], batches[1]] == [0, 1]
    with pytest.raises(ValueError, match="step 2 is broken"):
        _ = batches[2]
    assert batches[3] == 3


def test_an_augmentation_that_opencv_does_not_know(hidden):
    class Mine(data.RandomFlip):
        def augment(self, images, drawn):
            return 1 - super().augment(images, drawn)

    images, policy = sets()["groups"], data.TwoViews(Mine())
    both = data.make_views(images, policy, 3)
    mine = hidden(lambda: list(data.make_views(images, policy, 3)))
    for batch, other in zip(both, mine, strict=True):
        for x, y in zip(tf.nest.flatten(batch), tf.nest.flatten(other), strict=True):
            np.testing.assert_allclose(x, y, atol=1e-6)


def test_views_outside_of_batches(hidden, tmp_path):
    """As in inspection and in `view_grid`, of bytes and of floats."""
    for images in (PIXELS[:4], PIXELS[:4] / np.float32(255)):
        same([POLICY.of([images], (3, -1))], [hidden(lambda i=images: POLICY.of([i], (3, -1)))])
        grid = data.view_grid(images, POLICY, tmp_path / "a.png", count=2)
        mine = hidden(lambda i=images: data.view_grid(i, POLICY, tmp_path / "b.png", count=2))
        np.testing.assert_array_equal(grid, mine)


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_folder_with_a_file_that_is_lost(hidden, tmp_path, in_memory):
    def folder():
        for i, pixels in enumerate(PIXELS):
            (tmp_path / f"class {i % 2}").mkdir(exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / f"class {i % 2}" / f"{i:02}.png")
        images = data.from_folder(tmp_path, 8, in_memory=in_memory)
        if not in_memory:
            (tmp_path / "class 0" / "04.png").write_bytes(b"lost")
        return images.subset([2, 0, 1, 5, 20, 7, 8])

    both, mine = folder(), hidden(folder)
    kept = hidden(mine.in_memory)
    same(data.make_views(both, POLICY, 2), hidden(lambda: list(data.make_views(mine, POLICY, 2))))
    same(both.batches(3), hidden(lambda: list(kept.batches(3))))
    assert both.replaced == mine.replaced and bool(both.replaced) is not in_memory


@pytest.mark.parametrize("size", [None, 4, 5, 31])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_images_that_are_brought_to_a_size(hidden, size, channels, dtype):
    """To rounding, which is one of 255 levels in a few places."""
    for own in (1, 3):
        pixels = PIXELS[..., :own]
        pixels = pixels if dtype == "uint8" else pixels / np.float32(255)
        images = brought_to(data.Splits(data.from_arrays(pixels), None), size, channels).train
        (both,) = [np.asarray(x) for x, _ in images.batches(23)]
        (mine,) = hidden(lambda i=images: [x for x, _ in i.batches(23)])
        assert mine.dtype == both.dtype and mine.shape == both.shape
        assert np.abs(mine - both).max() < (1.001 / 255 if dtype == "uint8" else 2e-6)
        assert np.mean(np.abs(mine - both) > 1e-6) < 1e-2


def test_an_epoch_is_made_again_and_ahead(hidden):
    """A step can be asked for in any order; `fit` asks in order, and gets what was made ahead."""
    images = sets()["labels"]
    mine = hidden(lambda: data.make_views(images, POLICY, 3, seed=1))
    both = list(data.make_views(images, POLICY, 3, seed=1))

    def asked():
        first = mine[0]  # `fit` looks at a batch before the first epoch.
        mine.on_epoch_begin()
        return [first, mine[4], *(mine[i] for i in range(len(mine)))]

    same([both[0], both[4], *both], hidden(asked))


def test_sources_that_need_tensorflow_say_so(hidden):
    keys = tf.data.Dataset.from_tensor_slices((["a", "b"], np.array([-1, -1])))
    images = data.ImageSet(keys, lambda key: tf.zeros((2, 2, 1)), 2, (2, 2, 1))
    with pytest.raises(ImportError, match="TensorFlow must be installed for these images"):
        hidden(lambda: list(data.make_views(images, POLICY, 2)))
