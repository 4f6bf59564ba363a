"""A term that keeps representations near where they came from."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_non_negative
from keras_ssl.layers.moving_average import MovingAverage
from keras_ssl.losses import GramAnchorLoss
from keras_ssl.replicas import alone


@keras.saving.register_keras_serializable(package="keras_ssl")
class GramAnchor(keras.layers.Layer):
    """Passes representations on, and adds how far their similarities are from those before.

    When it is built, it copies an encoder, and never changes the copy. In training, it adds
    `weight * ||A A^T - B B^T||_F^2 / N^2` to the loss, with A the representations and B those that
    the copy has of the same images, in inference mode; each row is scaled to norm 1. What is
    compared are the images of a call: those of a replica, or of a micro-batch.

    Args:
        encoder: The encoder that is copied, from images to representations (N, D).
        weight: At least 0. Default 1.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name`.

    Call arguments:
        inputs: A pair: images, as the encoder takes them, and its representations of them, float
            (N, D), N at least 2.
        training: Whether to add the term.

    Returns:
        The representations, unchanged.

    Raises:
        TypeError: if the encoder is not a Keras layer.
        ValueError: if the weight is negative.

    Example:
        >>> images = keras.ops.eye(2)
        >>> encoder = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
        >>> encoder.set_weights([images, keras.ops.zeros(2)])  # it returns the images
        >>> anchor = GramAnchor(encoder)
        >>> collapsed = anchor([images, keras.ops.ones((2, 2))], training=True)
        >>> round(float(anchor.losses[0]), 3)  # two of four cosines went from 0 to 1
        0.5

    References:
        - Simeoni et al.: DINOv3, 2025, section 4.
    """

    def __init__(self, encoder: keras.layers.Layer, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = check_non_negative("weight", weight)
        # A teacher that never moves: its weights are not trained, and hidden from the graph.
        self.before = MovingAverage(encoder, momentum=1.0, name="before")
        self._criterion = GramAnchorLoss()

    def build(self, input_shape: Any) -> None:
        """Copies the encoder."""
        self.before.build(input_shape[0])
        self.before.built = True

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:  # noqa: D102
        images, representations = inputs
        if training:
            anchor = self.before(images, training=False)
            with alone():
                distance = self._criterion(representations, anchor)
            self.add_loss(self.weight * distance)
        return representations

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Returns the shape of the representations."""
        return input_shape[1]

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        encoder = keras.saving.serialize_keras_object(self.before.student[0])
        return {**super().get_config(), "encoder": encoder, "weight": self.weight}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "GramAnchor":  # noqa: D102
        encoder = keras.saving.deserialize_keras_object(config["encoder"])
        return cls(**{**config, "encoder": encoder})
