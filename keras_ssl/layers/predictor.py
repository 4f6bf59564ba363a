"""The predictor, which BYOL and SimSiam have on only one branch."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count
from keras_ssl.layers.projector import Projector, check_matrix, parse_widths


@keras.saving.register_keras_serializable(package="keras_ssl")
class Predictor(keras.layers.Layer):
    """A multi-layer perceptron from embeddings to embeddings of the same dimension.

    Batch normalization and a ReLU follow each hidden layer. The last layer is only linear, as in
    `keras_ssl.layers.Projector`.

    Args:
        hidden: Widths of the hidden layers, such as "4096" or [512]. Default 4096, as in BYOL.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        embeddings: Float (N, M).
        training: Whether to use and update batch statistics.

    Returns:
        Float (N, M).

    Raises:
        ValueError: if the widths are not whole numbers above zero.

    Example:
        >>> import numpy as np
        >>> tuple(Predictor("64")(np.zeros((4, 16), "float32")).shape)
        (4, 16)

    References:
        - Grill et al.: Bootstrap your own latent, NeurIPS 2020, and its published code.
    """

    def __init__(self, hidden: str | Sequence[int] = "4096", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden = parse_widths(hidden, name="hidden")

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the variables for embeddings of shape (N, M)."""
        check_matrix(input_shape)
        dimensions = check_count("dimensions", input_shape[-1])
        self._layer = Projector(
            [*self.hidden, dimensions], dtype=self.dtype_policy, trainable=self.trainable
        )
        self._layer.build(input_shape)

    def call(self, embeddings: Tensor, training: bool = False) -> Tensor:  # noqa: D102
        return self._layer(embeddings, training=training)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Returns (N, M)."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "hidden": list(self.hidden)}
