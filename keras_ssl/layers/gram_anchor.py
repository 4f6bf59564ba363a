"""A term that keeps representations near where they came from."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_non_negative
from keras_ssl.losses import GramAnchorLoss
from keras_ssl.replicas import alone


@keras.saving.register_keras_serializable(package="keras_ssl")
class GramAnchor(keras.layers.Layer):
    """Passes representations on, and adds how far their similarities are from those of an anchor.

    In training, it adds `weight * ||A A^T - B B^T||_F^2 / N^2` to the loss, with A and B the
    representations and the anchor's, each row scaled to norm 1. Each replica compares the images
    that it has.

    Args:
        weight: At least 0. Default 1.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name`.

    Call arguments:
        inputs: A pair: representations, float (N, D), and those of the anchor, float (N, D).
        training: Whether to add the term.

    Returns:
        The representations, unchanged.

    Raises:
        ValueError: if the weight is negative.

    References:
        - Simeoni et al.: DINOv3, 2025, section 4.
    """

    def __init__(self, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = check_non_negative("weight", weight)
        self._criterion = GramAnchorLoss()

    def call(self, inputs: Sequence[Tensor], training: bool = False) -> Tensor:  # noqa: D102
        representations, anchor = inputs
        if training:
            with alone():
                distance = self._criterion(representations, ops.stop_gradient(anchor))
            self.add_loss(self.weight * distance)
        return representations

    def compute_output_shape(self, input_shape: Sequence[Any]) -> Any:
        """Returns the shape of the representations."""
        return input_shape[0]

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "weight": self.weight}
