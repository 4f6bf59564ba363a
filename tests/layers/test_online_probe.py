import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import layers
from keras_ssl._require import readable_errors


def _probe(classes=3):
    probe = layers.OnlineProbe(classes)
    probe.build((None, 4))
    return probe


def _in_a_graph(probe, labels, **options):
    """Does a step as `fit` does: tracing knows neither the values nor the number of the labels."""
    labels = np.asarray(labels)
    shape = (None, *labels.shape[1:])
    step = tf.function(
        lambda y: probe.train_step(tf.ones((tf.shape(y)[0], 4)), y),
        input_signature=[tf.TensorSpec(shape, labels.dtype)],
        **options,
    )
    with readable_errors():
        step(labels)


def _eagerly(probe, labels):
    probe.train_step(np.ones((len(labels), 4), "float32"), labels)


@pytest.mark.parametrize("step", [_in_a_graph, _eagerly], ids=["graph", "eager"])
class TestLabels:
    @pytest.mark.parametrize("outside", [-1, 3, 20_000_000, 2**40])
    def test_outside_the_classes_are_refused(self, step, outside):
        probe = _probe()
        message = f"`labels`.*from 0 to 2, for num_classes=3. Received: a label {outside}$"
        with pytest.raises(ValueError, match=message):
            step(probe, np.array([0, 1, outside, 2], "int64"))
        assert not np.any(probe.kernel)

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (np.array([0.0, 1.0]), "integers from 0 to 2. Received: labels of dtype float64"),
            (np.array(["a", "b"], object), "integers.*string"),
            (np.array([True, False]), "integers.*bool"),
            (np.eye(3, dtype="int32"), r"one integer per image.*not one-hot.*, 3\)"),
            (np.zeros((2, 1, 1), "int32"), r"one integer per image.*1, 1\)"),
        ],
        ids=["floats", "strings", "booleans", "one-hot", "rank 3"],
    )
    def test_of_another_kind_are_refused(self, step, labels, message):
        with pytest.raises(ValueError, match=message):
            step(_probe(), labels)


# Tracing a step takes seconds: a graph gets the narrowest labels, and those of another shape.
SIZES = [
    *(
        (_eagerly, dtype, shape)
        for dtype in ("uint8", "int8", "int32", "int64", "uint16")
        for shape in ((4,), (4, 1))
    ),
    (_in_a_graph, "uint8", (4,)),
    (_in_a_graph, "int64", (4, 1)),
]


@pytest.mark.parametrize(("step", "dtype", "shape"), SIZES)
def test_whole_numbers_of_every_size_are_the_same(step, dtype, shape):
    kernels = []
    for labels in (np.array([0, 1, 2, 2]), np.array([0, 1, 2, 2], dtype).reshape(shape)):
        probe = _probe(300)  # More than a byte can hold.
        step(probe, labels)
        kernels.append(np.array(probe.kernel.numpy()))
    np.testing.assert_array_equal(*kernels)
    assert np.any(kernels[0])


def test_compiled_by_xla_a_label_outside_shows_as_nan():
    probe = _probe()
    _in_a_graph(probe, [0, 1, 5], jit_compile=True)
    assert np.isnan(probe.metrics[0].result())


def test_as_many_labels_as_images():
    with pytest.raises(ValueError, match="as many as the images. Received: 3 labels for 4 images"):
        _probe().train_step(np.ones((4, 4), "float32"), np.array([0, 1, 2]))


def test_classes_may_be_a_number_of_numpys():
    probe = layers.OnlineProbe(np.int64(3))
    assert type(probe.get_config()["num_classes"]) is int


@pytest.mark.parametrize("classes", [3.0, "3", True, 1, 0, -1, None, np.float32(3)], ids=repr)
def test_bad_numbers_of_classes(classes):
    with pytest.raises(ValueError, match="`num_classes` must be"):
        layers.OnlineProbe(classes)


@pytest.mark.parametrize("optimizer", ["nope", 3], ids=repr)
def test_bad_optimizers(optimizer):
    with pytest.raises(ValueError, match="optimizer"):
        layers.OnlineProbe(3, optimizer)


def test_a_batch_of_matrices_is_refused():
    with pytest.raises(ValueError, match=r"`representations` must be a matrix.*\(2, 4, 4, 8\)"):
        layers.OnlineProbe(3)(keras.ops.zeros((2, 4, 4, 8)))
