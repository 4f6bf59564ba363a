"""The projector, the multi-layer perceptron between representations and embeddings."""

import math
import warnings
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from keras_ssl._backend import has_accelerator
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count

# Batch normalization as in the published PyTorch codes: epsilon 1e-5, momentum 0.1 (0.9 in Keras).
_BATCH_NORM = {"epsilon": 1e-5, "momentum": 0.9}

# With up to this many weights, a step on small images takes a CPU a fraction of a second. With
# 8192-8192-8192 it takes 2.6 s.
_HEAVY = 10_000_000


def parse_widths(spec: str | Sequence[int], name: str = "widths") -> tuple[int, ...]:
    """Returns the widths that a projector's specification stands for.

    Args:
        spec: The paper's notation, such as "8192-8192-512", or a sequence of whole numbers above
            zero.
        name: Name of the argument.

    Returns:
        Tuple of widths, one for each linear layer.

    Raises:
        ValueError: if the specification is empty or a width is not a whole number above zero.
    """
    try:
        parts = [int(part) for part in spec.split("-")] if isinstance(spec, str) else list(spec)
        widths = tuple(check_count(name, part) for part in parts)
    except (TypeError, ValueError):
        widths = ()
    if not widths:
        raise ValueError(
            f'`{name}` must be whole numbers above zero, such as "2048-2048-512" or '
            f"[2048, 2048, 512]. Received: {name}={spec!r}"
        )
    return widths


def check_matrix(shape: Sequence[int | None]) -> None:
    """Raises a `ValueError` unless `shape` is a shape of representations, (N, D)."""
    if len(shape) != 2:
        raise ValueError(
            "`representations` must be a matrix (samples N, features D). "
            f"Received: shape={tuple(shape)}"
        )


def warn_if_heavy(projector: keras.layers.Layer) -> None:
    """Warns if a projector is of a size for accelerators, and there are none.

    Args:
        projector: A method's default projector, which the user did not choose.
    """
    widths = getattr(projector, "widths", ())
    # This leaves out the first layer, which depends on the encoder.
    weights = sum(math.prod(pair) for pair in pairwise(widths))
    if weights > _HEAVY and not has_accelerator():
        text = "-".join(map(str, widths))
        warnings.warn(
            f"The default projector, {text}, has more than {weights / 1e6:.0f} million weights: a "
            "step takes seconds without an accelerator, and TensorFlow finds none here. A smaller "
            f'one is enough for small images: projector="2048-2048-512". (Pass projector="{text}" '
            "to silence this warning.)",
            UserWarning,
            stacklevel=3,
        )


@keras.saving.register_keras_serializable(package="keras_ssl")
class Projector(keras.layers.Layer):
    """A stack of linear layers. Batch normalization and a ReLU follow all but the last.

    The last layer has no bias, no batch normalization (which would defeat VICReg's variance term)
    unless `normalized`, and no activation. The order is that of the published code (linear, batch
    normalization, ReLU); the text of the duality paper puts the ReLU before batch normalization.

    Args:
        widths: Widths of the linear layers, as a string like the paper's "8192-8192-512" or as a
            sequence. The last width is the dimension M of the embeddings.
        normalized: Whether batch normalization, without scale and offset, ends the projector, as in
            the published codes of SimSiam and MoCo v3.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        representations: Float (N, D).
        training: Whether to use and update batch statistics.

    Returns:
        Embeddings, float (N, M), not scaled to norm 1.

    Raises:
        ValueError: if the widths are not whole numbers above zero.

    Example:
        >>> import numpy as np
        >>> projector = Projector("512-512-128")
        >>> tuple(projector(np.zeros((4, 64), "float32")).shape)
        (4, 128)

    References:
        - Garrido et al., ICLR 2023, supplement D; the published code of VICReg.
    """

    def __init__(
        self, widths: str | Sequence[int], *, normalized: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.widths = parse_widths(widths)
        self.normalized = bool(normalized)
        self._blocks: list[keras.layers.Layer] = []
        for width in self.widths[:-1]:
            self._blocks += [
                keras.layers.Dense(width, dtype=self.dtype_policy),
                keras.layers.BatchNormalization(**_BATCH_NORM, dtype=self.dtype_policy),
                keras.layers.ReLU(dtype=self.dtype_policy),
            ]
        self._blocks.append(
            keras.layers.Dense(self.widths[-1], use_bias=False, dtype=self.dtype_policy)
        )
        if self.normalized:
            self._blocks.append(
                keras.layers.BatchNormalization(
                    **_BATCH_NORM, center=False, scale=False, dtype=self.dtype_policy
                )
            )
        if not kwargs.get("trainable", True):  # A file says it of the whole.
            for block in self._blocks:
                block.trainable = False

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the variables for representations of shape (N, D)."""
        check_matrix(input_shape)
        shape = tuple(input_shape)
        for block in self._blocks:
            block.build(shape)
            shape = block.compute_output_shape(shape)

    def call(self, representations: Tensor, training: bool = False) -> Tensor:  # noqa: D102
        x = representations
        for block in self._blocks:
            if isinstance(block, keras.layers.BatchNormalization):
                x = block(x, training=training)
            else:
                x = block(x)
        return x

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, int]:
        """Returns (N, M)."""
        return (input_shape[0], self.widths[-1])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "widths": list(self.widths),
            "normalized": self.normalized,
        }
