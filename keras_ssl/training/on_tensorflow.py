"""The steps of a method on TensorFlow, on one device or on replicas of `tf.distribute`."""

import contextlib
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ssl._tensors import Tensor
from keras_ssl.training import batch_norm, optimizer_steps
from keras_ssl.training.gradient_caching import cached_gradients, embed_in_parts
from keras_ssl.training.replicated_model import ReplicatedModel


class Trainer(ReplicatedModel):
    """See `keras_ssl.training.trainer`."""

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Does one training step on `((view_1, view_2), labels)`."""
        x, labels = self.unpacked(data)
        with batch_norm.fused(self):
            if self.micro_batch_size is None:
                representations, gradients = self._gradients(x)
            else:
                representations, gradients = cached_gradients(
                    self, x, lambda embeddings: self.scaled_loss(x, embeddings)
                )
        self.finish_step(gradients, representations, labels)
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Evaluates the loss, its terms and the probe on `((view_1, view_2), labels)`."""
        x, labels = self.unpacked(data)
        if self.micro_batch_size is None:
            representations, embeddings = self.embed(x, training=False)
        else:
            representations, embeddings = embed_in_parts(self, x, training=False)
        self.finish_evaluation(x, embeddings, representations, labels)
        return self.get_metrics_result()

    def _gradients(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns representations and this replica's part of the gradients, all images at once."""
        with tf.GradientTape() as tape:
            representations, embeddings = self.embed(x, training=True)
            loss = self.scaled_loss(x, embeddings)
        return representations, tape.gradient(loss, self.trainable_weights)

    def optimizer_scope(
        self, optimizer: keras.optimizers.Optimizer
    ) -> contextlib.AbstractContextManager[None]:
        """Opens a scope of a step of an optimizer."""
        return optimizer_steps.fused(optimizer)


def embedder(model: Any, views: tuple[Any, ...]) -> Callable[[Any], Any]:
    """See `keras_ssl.training.trainer`."""

    def embed(views: Tensor) -> Tensor:
        with keras.StatelessScope():  # receives assignments, and is dropped
            return model.embed(views, training=True)

    specs = keras.tree.map_structure(
        lambda x: tf.TensorSpec((None, *x.shape[1:]), x.dtype), tuple(views)
    )
    # As in a training step.
    return tf.function(embed, autograph=False).get_concrete_function(specs)


def differentiated(
    model: Any, function: Callable[[Any], dict[str, Tensor]]
) -> Callable[[tuple[Tensor, ...]], tuple[dict[str, Tensor], dict[str, Any]]]:
    """See `keras_ssl.training.trainer`."""

    def values_and_slopes(tensors: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
            tape.watch(tensors)
            values = function(tensors)
        zero = tf.UnconnectedGradients.ZERO
        return values, {
            name: tape.gradient(value, tensors, unconnected_gradients=zero)
            for name, value in values.items()
        }

    return values_and_slopes
