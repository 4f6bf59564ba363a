"""The paper's online linear probe, a classifier that is trained together with the encoder."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl import replicas
from keras_ssl._backend import widest
from keras_ssl._keras import optimizer_config
from keras_ssl._require import require
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count
from keras_ssl.layers.projector import check_matrix
from keras_ssl.optimizers.apply import apply_gradients


@keras.saving.register_keras_serializable(package="keras_ssl")
class OnlineProbe(keras.layers.Layer):
    """A softmax regression on frozen representations, with its own optimizer.

    The probe reads the representations behind a stop-gradient, and hides its weights from the
    model's optimizer (to the model they are non-trainable). An encoder is therefore trained to the
    same weights, bit for bit, with or without a probe. The probe's weights start at zero, because
    the problem is convex, and the probe draws no random numbers.

    With representations r, predicted probabilities p and one-hot labels y, the gradient of the mean
    cross-entropy is `r^T (p - y) / N` for the kernel and `mean(p - y)` for the bias.

    Args:
        num_classes: Number of classes, at least 2.
        optimizer: A Keras optimizer, its name, or its config. Default `AdamW(1e-3)`. The paper does
            not give the probe's optimizer; FFCV-SSL, by the same group, uses AdamW with 1e-4 for
            ImageNet's longer training.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name` and `dtype` (float32 by
            default, under any policy).

    Call arguments:
        representations: Float (N, D).

    Returns:
        Logits, (N, num_classes).

    Raises:
        ValueError: if there are fewer than two classes, or the optimizer is unknown.

    Example:
        >>> representations, labels = ops.eye(2), ops.convert_to_tensor([1, 0])
        >>> probe = OnlineProbe(num_classes=2)
        >>> probe.build((None, 2))
        >>> probe.train_step(representations, labels)
        >>> [int(label) for label in ops.argmax(probe(representations), axis=1)]
        [1, 0]
    """

    def __init__(self, num_classes: int, optimizer: Any = None, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.num_classes = check_count("num_classes", num_classes)
        if self.num_classes < 2:
            raise ValueError(f"`num_classes` must be at least 2. Received: {num_classes=}")
        if optimizer is None:
            optimizer = keras.optimizers.AdamW(1e-3)
        self.optimizer = keras.optimizers.get(optimizer)
        self._loss_tracker = keras.metrics.Mean(name="probe_loss")
        self._accuracy_tracker = keras.metrics.SparseCategoricalAccuracy(name="probe_accuracy")

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Creates the variables of the probe and of its optimizer, for representations (N, D)."""
        check_matrix(input_shape)
        features = input_shape[-1]
        self.kernel = self.add_weight(
            shape=(features, self.num_classes), initializer="zeros", trainable=False, name="kernel"
        )
        self.bias = self.add_weight(
            shape=(self.num_classes,), initializer="zeros", trainable=False, name="bias"
        )
        self.optimizer.build([self.kernel, self.bias])

    def call(self, representations: Tensor) -> Tensor:  # noqa: D102
        return representations @ ops.convert_to_tensor(self.kernel) + self.bias

    def evaluate_step(self, representations: Tensor, labels: Tensor) -> Tensor:
        """Updates the probe's metrics and returns `p - y`, the gradient of the loss at the logits.

        Args:
            representations: See `train_step`.
            labels: See `train_step`.

        Raises:
            ValueError: See `train_step`.
        """
        labels = self._checked(labels, representations.shape[0])
        logits = self(ops.stop_gradient(representations))
        loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        # NaN for a label that `_checked` could not refuse, because XLA skips its check.
        is_known = ops.logical_and(labels >= 0, labels < self.num_classes)
        self._loss_tracker.update_state(ops.where(is_known, loss, float("nan")))
        self._accuracy_tracker.update_state(labels, logits)
        return ops.softmax(logits) - ops.one_hot(labels, self.num_classes, dtype=logits.dtype)

    def check_labels(self, labels: Tensor) -> None:
        """Raises a `ValueError` unless labels, or their specification, are integers (N,), (N, 1).

        Args:
            labels: See `train_step`.
        """
        if hasattr(labels, "__array__") or not hasattr(labels, "dtype"):  # not a specification
            labels = ops.convert_to_tensor(labels)
        dtype = keras.backend.standardize_dtype(labels.dtype)
        if not keras.backend.is_int_dtype(dtype):
            raise ValueError(
                "`labels` of the online probe must be integers from 0 to "
                f"{self.num_classes - 1}. Received: labels of dtype {dtype}"
            )
        shape = tuple(labels.shape)
        if len(shape) not in (1, 2) or shape[1:] not in ((), (1,)):
            raise ValueError(
                "`labels` of the online probe must be one integer per image, of shape (N,) or "
                f"(N, 1), not one-hot. Received: labels of shape {shape}"
            )

    def _checked(self, labels: Tensor, count: int | None) -> Tensor:
        """Returns the labels as int32 (N,), after checking them."""
        self.check_labels(labels)
        labels = ops.convert_to_tensor(labels)
        shape = tuple(labels.shape)
        if None not in (count, shape[0]) and count != shape[0]:
            raise ValueError(
                "`labels` of the online probe must be as many as the images. Received: "
                f"{shape[0]} labels for {count} images"
            )
        labels = ops.reshape(ops.cast(labels, widest("int64")), (-1,))  # (N, 1) is common.
        outside = ops.logical_or(labels < 0, labels >= self.num_classes)
        return ops.cast(
            require(
                labels,
                ops.logical_not(ops.any(outside)),
                "`labels` of the online probe must be integers from 0 to "
                f"{self.num_classes - 1}, for num_classes={self.num_classes}. Received: a label ",
                ops.take(labels, ops.argmax(outside)),
            ),
            "int32",
        )

    def train_step(self, representations: Tensor, labels: Tensor) -> None:
        """Does one step of the probe's optimizer.

        Args:
            representations: Float (N, D).
            labels: Integers in [0, num_classes), (N,) or (N, 1).

        Raises:
            ValueError: if the labels are not integers in [0, num_classes), or have another shape.
                For the error inside a graph, see `keras_ssl._require`. XLA skips such checks, and
                the loss becomes NaN.
        """
        error = self.evaluate_step(representations, labels)  # (N, num_classes)
        features = ops.cast(ops.stop_gradient(representations), error.dtype)
        # These are shares: the optimizer adds up the gradients of the replicas.
        count = ops.cast(replicas.batch_size(error), error.dtype)
        gradients = [
            ops.transpose(features) @ error / count,
            ops.sum(error, axis=0) / count,
        ]
        apply_gradients(self.optimizer, gradients, [self.kernel, self.bias])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "optimizer": optimizer_config(keras.saving.serialize_keras_object(self.optimizer)),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "OnlineProbe":  # noqa: D102
        config = dict(config)
        config["optimizer"] = keras.saving.deserialize_keras_object(config["optimizer"])
        return cls(**config)
