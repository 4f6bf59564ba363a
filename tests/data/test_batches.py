import dataclasses
import itertools
import subprocess
import sys
from unittest import mock

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import data
from keras_ssl.data import batches
from tests.conftest import quick_policy


def _take(dataset, count):
    return list(itertools.islice(dataset, count))


def _views(images, **kwargs):
    return data.make_views(images, quick_policy(), 16, **kwargs)


def test_elements(images):
    (view_1, view_2), labels = _take(_views(images), 1)[0]
    assert view_1.shape == view_2.shape == (16, 8, 8, 1)
    assert view_1.dtype == "float32" and labels.shape == (16,)
    assert np.abs(view_1 - view_2).max() > 0
    ((view_1, _),) = _take(_views(images.without_labels()), 1)[0]
    assert view_1.shape == (16, 8, 8, 1)
    _, (others, labels) = _take(_views(images, probe_images=images), 1)[0]
    assert others.shape == (16, 8, 8, 1) and labels.shape == (16,)


def test_labels_stay_with_their_images():
    """Constant images whose brightness is their label, in a policy that only moves things."""
    labels = np.arange(32)
    images = data.from_arrays(np.full((32, 8, 8, 1), 8) * labels[:, None, None, None], labels)
    for (view_1, view_2), label in _take(data.make_views(images, data.weak(), 8), 4):
        for view in (view_1, view_2):
            np.testing.assert_allclose(view[:, 0, 0, 0] * 255 / 8, label, atol=1e-3)


def test_an_epoch_sees_every_image_once_in_a_new_order():
    index = data.from_arrays(np.zeros((48, 4, 4), "uint8"), np.arange(48))
    views = data.make_views(index, data.weak(), 16)
    assert len(views) == 3
    epochs = [np.concatenate([labels for _, labels in views]) for _ in range(2)]
    for epoch in epochs:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(48))
    assert (epochs[0] != epochs[1]).any()


def test_two_iterators_at_once_are_two_epochs_unless_they_are_held(images):
    def labels(iterator):
        return np.concatenate([label for _, label in iterator])

    views = _views(images)
    first, second = iter(views), iter(views)
    assert (labels(first) != labels(second)).any()
    with views.epochs.at(0):
        first, second = iter(views), iter(views)
        np.testing.assert_array_equal(labels(first), labels(second))


@pytest.mark.long
def test_what_follows_a_seed_does_not_follow_its_neighbor(images):
    """Epoch 1 of seed 0 is not epoch 0 of seed 1."""
    one, other = _views(images, seed=0), _views(images, seed=1)
    with one.epochs.at(1), other.epochs.at(0):
        labels = [np.concatenate([label for _, label in views]) for views in (one, other)]
    assert (labels[0] != labels[1]).any()


def test_draws_differ_between_images_views_steps_and_epochs():
    same = data.from_arrays(np.random.RandomState(0).randint(0, 255, (1, 96, 96)).repeat(32, 0))
    views = _views(same)
    batches = [*views, *views]
    draws = [view.numpy().reshape(16, -1) for batch in batches for view in batch[0]]
    assert len(np.unique(np.concatenate(draws), axis=0)) == 8 * 16


def test_everything_repeats_under_a_seed_whatever_the_global_one(images):
    runs = []
    for global_seed, seed in ((1, 5), (2, 5), (1, 6)):
        keras.utils.set_random_seed(global_seed)
        runs.append(_take(_views(images, seed=seed), 3))
    for a, b in zip(runs[0], runs[1], strict=True):
        np.testing.assert_array_equal(a[0][0], b[0][0])
        np.testing.assert_array_equal(a[0][1], b[0][1])
        np.testing.assert_array_equal(a[1], b[1])
    assert np.abs(runs[0][0][0][0] - runs[2][0][0][0]).max() > 0


@pytest.mark.parametrize("probe_count", [48, 20])
def test_an_epoch_goes_on_where_it_stopped(images, probe_count):
    """With the images of the probe too, which may be reshuffled several times an epoch."""
    views = _views(images, probe_images=images.spread(probe_count))
    with views.epochs.at(1):
        whole, rest = list(views), list(views.starting_at(1))
    assert len(rest) == len(whole) - 1
    for a, b in zip(whole[1:], rest, strict=True):
        for x, y in zip(keras.tree.flatten(a), keras.tree.flatten(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_what_was_done_is_not_fetched_again(images):
    fetched = []

    def fetch(key):
        tf.py_function(lambda key: fetched.append(int(key)), [key], [])
        return images.fetch(key)

    views = _views(dataclasses.replace(images, fetch=fetch))
    assert len(list(views.starting_at(2))) == 1 and len(fetched) == 16


def test_a_batch_larger_than_the_data_set(images):
    with pytest.raises(ValueError, match="`batch_size`.*48 images.*batch_size=49"):
        data.make_views(images, data.weak(), 49)
    with pytest.raises(ValueError, match="`batch_size`.*batch_size=0"):
        data.make_views(images, data.weak(), 0)


def test_probe_images_without_labels(images):
    with pytest.raises(ValueError, match="`probe_images` must have labels"):
        _views(images, probe_images=images.without_labels())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((4, 8, 8, 1)), "from_arrays.*ndarray"),
        (tf.data.Dataset.range(3), r"`dataset.map\(.*tf.data.Dataset|dataset.map"),
        ("photos", "loaded first, by keras_ssl.data.load.*str"),
        (None, "ImageSet.*NoneType"),
    ],
)
def test_images_that_are_no_image_set(images, value, message):
    for arguments in ((value, data.weak(), 2), (images, data.weak(), 2, 0, value)):
        if arguments[-1] is None:
            continue  # no images of its own for the probe
        with pytest.raises(TypeError, match=message):
            data.make_views(*arguments)


@pytest.mark.parametrize("seed", [-1, 0.5, "1", True, 2**64])
def test_bad_seeds(images, seed):
    with pytest.raises(ValueError, match="`seed` must be a whole number from 0"):
        _views(images, seed=seed)


def test_a_policy_that_is_none(images):
    with pytest.raises(TypeError, match="`policy` must be.*Views.*'simclr'"):
        data.make_views(images, "simclr", 4)
    with pytest.raises(TypeError, match="`policy` must be.*Views"):
        data.make_views(images, data.RandomFlip(), 4)


def test_images_in_memory_are_fetched_at_once_as_they_are_one_by_one(images):
    one_by_one = dataclasses.replace(images, fetch=lambda key: images.fetch(key))
    for a, b in zip(_views(images), _views(one_by_one), strict=True):
        for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
            np.testing.assert_array_equal(x, y)


def test_views_are_the_same_on_many_cores(images):
    """There, TensorFlow makes them."""

    def made(cores, calls):
        with (
            mock.patch.object(batches, "_cores", lambda: cores),
            mock.patch.object(data.Views, "_one_by_one", autospec=True) as by_opencv,
        ):
            by_opencv.side_effect = real
            dataset = data.make_views(images, data.tiny_gray(), 16)
            arrays = [x for batch in dataset for x in tf.nest.flatten(batch)]
            assert bool(by_opencv.call_count) == calls
            return arrays

    real = data.Views._one_by_one
    for a, b in zip(made(2, calls=True), made(64, calls=False), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_an_array_is_neither_copied_nor_changed(tmp_path):
    pixels = np.lib.format.open_memmap(tmp_path / "a.npy", "w+", "uint8", (48, 8, 8, 1))
    pixels[:] = np.random.RandomState(0).randint(0, 256, pixels.shape)
    images, before = data.from_arrays(pixels), pixels.copy()
    assert np.shares_memory(images.fetch.pixels, pixels)
    fetched = images.fetch(tf.constant(3))
    assert not np.shares_memory(fetched.numpy(), pixels)
    for _ in _views(images):
        pass
    np.testing.assert_array_equal(pixels, before)


def test_an_array_in_another_order_is_not_copied_for_each_batch():
    pixels = np.moveaxis(np.random.RandomState(0).randint(0, 256, (48, 3, 8, 8), "uint8"), 1, -1)
    fetch = data.from_arrays(pixels).fetch
    assert fetch.pixels is pixels or np.shares_memory(fetch.pixels, pixels)
    np.testing.assert_array_equal(fetch(tf.constant([5, 3])), pixels[[5, 3]])
    np.testing.assert_array_equal(fetch(tf.constant(7)), pixels[7])


@pytest.mark.long
@pytest.mark.parametrize("how", ["", "raise ValueError('stopped')"], ids=["end", "error"])
def test_a_program_ends_while_batches_are_made(how):
    """Threads that still fetch do not keep it: half of the programs would never end."""
    program = f"""
import numpy as np
from keras_ssl import data
images = data.from_arrays(np.zeros((4096, 64, 64, 3), "uint8"))
iterator = iter(data.make_views(images, data.byol(), 256))
next(iterator)
{how}
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program], timeout=60, capture_output=True)
        assert done.returncode == bool(how), done.stderr.decode()[-2000:]
