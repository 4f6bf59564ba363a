"""Checks that options that would silently change the training are refused before the first step."""

import keras
import pytest

from keras_ssl import models
from tests.conftest import tiny_encoder


def _model(optimizer):
    model = models.SimCLR(tiny_encoder(), "8-4")
    model.compile(optimizer, run_eagerly=True)
    return model


ACCUMULATING = {
    "plain": lambda: keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
    "loss scale": lambda: keras.optimizers.LossScaleOptimizer(
        keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
    ),
}


@pytest.mark.parametrize("make", ACCUMULATING.values(), ids=ACCUMULATING)
def test_accumulated_gradients_are_refused_on_one_device(make, views):
    """They are gradients of small batches: SimCLR's loss of 32 images is not that of 16 twice."""
    message = "`micro_batch_size`.*Received: gradient_accumulation_steps=2"
    with pytest.raises(ValueError, match=message):
        _model(make()).fit(views, steps_per_epoch=1, shuffle=False, verbose=0)
    with pytest.raises(ValueError, match=message):
        _model(make()).train_on_batch(*next(iter(views)))


def test_what_means_the_same_is_not_refused(views):
    averaging = keras.optimizers.SGD(0.1, use_ema=True, ema_overwrite_frequency=1)
    _model(averaging).fit(views, steps_per_epoch=1, shuffle=False, verbose=0)
