"""Layers, optimizers, metrics and encoders do on Keras' backend what NumPy says they do."""

import keras
import numpy as np
import pytest

from keras_ssl import data, duality, encoders, evaluation, layers, optimizers
from keras_ssl.optimizers.apply import apply_gradients

pytestmark = pytest.mark.every_backend
array = keras.ops.convert_to_numpy


def close(found, expected, rtol=1e-5):
    np.testing.assert_allclose(array(found), expected, rtol=rtol, atol=1e-6)


class TestLARS:
    @pytest.mark.parametrize("in_momentum", [False, True])
    def test_steps(self, in_momentum):
        rng = np.random.RandomState(0)
        w, b = rng.randn(3, 4), rng.randn(4)
        variables = [keras.Variable(w), keras.Variable(b)]
        lars = optimizers.LARS(0.3, 0.9, 0.01, 0.1, learning_rate_in_momentum=in_momentum)
        lars.build(variables)
        velocities = [0, 0]
        for _ in range(3):
            g_w, g_b = rng.randn(3, 4), rng.randn(4)
            tensors = [keras.ops.convert_to_tensor(g, "float32") for g in (g_w, g_b)]
            apply_gradients(lars, tensors, variables)
            g_w = g_w + 0.01 * w
            g_w *= 0.1 * np.linalg.norm(w) / np.linalg.norm(g_w)
            rate = (0.3, 1) if in_momentum else (1, 0.3)
            velocities = [
                0.9 * v + rate[0] * g for v, g in zip(velocities, (g_w, g_b), strict=True)
            ]
            w, b = (x - rate[1] * v for x, v in zip((w, b), velocities, strict=True))
        close(variables[0], w)
        close(variables[1], b)


def test_a_learning_rate_of_its_own_for_each_weight():
    variables = [keras.Variable([1.0, 2.0]), keras.Variable([3.0])]
    sgd = keras.optimizers.SGD(0.5, weight_decay=0.1)
    sgd.build(variables)
    optimizers.scale_learning_rates(sgd, [(variables[0], 0.5)])
    apply_gradients(sgd, [keras.ops.ones((2,)), keras.ops.ones((1,))], variables)
    close(variables[0], np.array([1, 2]) * (1 - 0.025) - 0.25)
    close(variables[1], 3 * (1 - 0.05) - 0.5)


def test_scaled_losses_that_overflow_change_nothing():
    variable = keras.Variable([1.0])
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.5))
    scaled.build([variable])
    before = float(array(scaled.scale_loss(1.0)))
    apply_gradients(scaled, [keras.ops.convert_to_tensor([np.inf], "float32")], [variable])
    close(variable, [1.0])
    assert float(array(scaled.scale_loss(1.0))) == before / 2
    apply_gradients(scaled, [keras.ops.convert_to_tensor([before], "float32")], [variable])
    close(variable, [0.0])


def test_schedules():
    schedule = optimizers.warmup_cosine(0.5, 256, 10, 4, warmup_epochs=1)
    close(schedule(5), 0.25)
    close(schedule(25), 0.25)
    close(optimizers.cosine_momentum(0.9, steps=100)(50), 0.95)


def test_quantities_of_the_duality():
    k = np.random.RandomState(0).randn(7, 5)
    gram = k @ k.T
    tensor = keras.ops.convert_to_tensor(k, "float32")
    close(duality.sample_contrastive_energy(tensor), np.sum(gram**2) - np.sum(np.diag(gram) ** 2))
    metric = duality.RankMe(5)
    for part in (k[:3], k[3:]):
        metric.update_state(part)
    s = np.linalg.svd(k, compute_uv=False)
    p = s / s.sum() + 1e-7
    close(metric.result(), np.exp(-np.sum(p * np.log(p))), rtol=1e-4)


def test_a_teacher_follows():
    student = keras.layers.Dense(3)
    student.build((None, 2))
    teacher = layers.MovingAverage(student, momentum=0.9)
    teacher.build()
    before = array(student.kernel)
    student.kernel.assign(before + 1)
    teacher.update()
    x = np.eye(2, dtype="float32")
    close(teacher(x), before + 0.1)


def test_a_probe_learns():
    probe = layers.OnlineProbe(2, keras.optimizers.SGD(1.0))
    x = np.float32([[1, 0], [0, 1]])
    probe.build(x.shape)
    probe.train_step(keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor([0, 1]))
    close(probe.kernel, [[0.25, -0.25], [-0.25, 0.25]])
    with pytest.raises(ValueError, match="from 0 to 1, .*Received: a label 2"):
        probe.evaluate_step(keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor([0, 2]))


@pytest.mark.parametrize("name", ["resnet8", pytest.param("vit_tiny", marks=pytest.mark.long)])
def test_encoders_represent(name):
    encoder = encoders.build_encoder(name, (32, 32, 3))
    images = np.random.RandomState(0).uniform(size=(2, 32, 32, 3)).astype("float32")
    found = array(encoder(images))
    assert found.shape[0] == 2 and np.isfinite(found).all() and found.std() > 0


def test_an_encoder_is_judged():
    labels = np.arange(48) % 3
    pixels = np.random.RandomState(0).randint(100, size=(48, 8, 8, 1)).astype("uint8")
    pixels[np.arange(48), labels] += 100  # a row of each class
    images = data.from_arrays(pixels, labels)
    features = evaluation.extract(evaluation.raw_pixels((8, 8, 1)), images, batch_size=20)
    close(features.values, pixels.reshape(48, 64) / 255)
    assert evaluation.knn_accuracy(features, features) == 1.0
    assert evaluation.linear_accuracy(features, features) == 1.0
