"""A teacher, whose weights are a moving average of a student's weights."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl._backend import widest
from keras_ssl._keras import all_layers, clear_losses, renew_normalization
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_fraction


@keras.saving.register_keras_serializable(package="keras_ssl")
class MovingAverage(keras.layers.Layer):
    """Copies of layers, called one after the other, whose weights follow those of the originals.

    When the teacher is built, the copies get the weights of the originals. Each `update` then does
    one step, where t is a weight of the copy, s the same weight of the original and m the momentum:

        t <- m t + (1 - m) s

    No gradient passes through the teacher. It has its own batch statistics: in training it
    normalizes by the statistics of the batch, and keeps moving averages of them for inference, as
    in BYOL's published code. It averages only the weights that gradients can train in the original,
    also those of parts that are frozen now and thawed later. The
    number of steps is a variable, so a model that is saved and loaded continues its schedule.

    Args:
        student: A layer, or several layers in the order in which they are called, such as
            `[model.encoder, model.projector]`.
        momentum: m, in [0, 1], or a schedule of it, such as
            `keras_ssl.optimizers.cosine_momentum(0.996, steps)`. Default 0.996, as in BYOL.
        **kwargs: Other arguments of `keras.layers.Layer`, such as `name`.

    Call arguments:
        inputs: The inputs of the student's first layer.
        training: Whether to use and update batch statistics.

    Returns:
        The outputs of the last layer, behind a stop-gradient.

    Raises:
        TypeError: if the student is not made of Keras layers.
        ValueError: if the momentum is outside [0, 1]; when the teacher is built, if a layer of the
            student is not built yet, has LoRA, or its copy has other weights.

    Example:
        >>> student = keras.layers.Dense(1, kernel_initializer="zeros")
        >>> student.build((None, 1))
        >>> teacher = MovingAverage(student, momentum=0.9)
        >>> before = float(teacher(ops.ones((1, 1)))[0, 0])
        >>> student.set_weights([ops.ones((1, 1)), ops.zeros((1,))])
        >>> teacher.update()
        >>> before, round(float(teacher(ops.ones((1, 1)))[0, 0]), 3)  # a tenth of the way
        (0.0, 0.1)

    References:
        - Grill et al.: Bootstrap your own latent, NeurIPS 2020, section 3.1, and its code.
    """

    def __init__(
        self,
        student: keras.layers.Layer | Sequence[keras.layers.Layer],
        momentum: float | keras.optimizers.schedules.LearningRateSchedule = 0.996,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        layers = [student] if isinstance(student, keras.layers.Layer) else student
        if (
            not isinstance(layers, (list, tuple))
            or not layers
            or not all(isinstance(layer, keras.layers.Layer) for layer in layers)
        ):
            raise TypeError(
                f"`student` must be a Keras layer, or a list of them. Received: student={student!r}"
            )
        if isinstance(momentum, keras.optimizers.schedules.LearningRateSchedule):
            self.momentum: Any = momentum
        else:
            self.momentum = check_fraction("momentum", momentum)
        # Keras does not look into functions, so the teacher does not own the student's variables.
        self._student: Callable[[], list[Any]] = lambda: list(layers)
        self._averaged: Callable[[], list[Any]] = lambda: []
        self._copies: list[keras.layers.Layer] = []
        self._has_started = False

    @property
    def student(self) -> list[keras.layers.Layer]:
        """The layers that the teacher follows."""
        return self._student()

    def replace(self, old: keras.layers.Layer, new: keras.layers.Layer) -> None:
        """Replaces a layer of the student, before the teacher is built."""
        layers = [new if layer is old else layer for layer in self.student]
        self._student = lambda: layers

    def build(self, input_shape: Any = None) -> None:
        """Copies the student. Its layers must be built."""
        if self.momentum != 1.0:  # A copy that never moves is right in a file.
            _refuse_lora(self.student)
        self._copies = [copied(layer) for layer in self.student]
        averaged = []
        for copy, layer in zip(self._copies, self.student, strict=True):
            # Now its variables tell which of them can be trained. Layer by layer: on TensorFlow, a
            # flag that the outer layer has already does not reach the inner ones.
            for inner in all_layers(copy):
                inner.trainable = True
            pairs = zip(copy.weights, layer.weights, strict=True)
            averaged += [(own, theirs) for own, theirs in pairs if own.trainable]
        self._averaged = lambda: averaged
        self.follow_flags()
        self.iterations = self.add_weight(
            shape=(), initializer="zeros", dtype=widest("int64"), trainable=False, name="iterations"
        )

    def follow_flags(self) -> None:
        """Makes each layer of the copies trainable or not, as the original is now.

        Batch normalization that is not trainable uses its moving averages in training, too. A
        method calls this before it trains, when nothing is traced.
        """
        for copy, layer in zip(self._copies, self.student, strict=True):
            for own, theirs in zip(all_layers(copy), all_layers(layer), strict=False):
                if own.trainable != theirs.trainable:
                    own.trainable = theirs.trainable
        for own, _ in self._averaged():
            own.trainable = False  # Not on the layer: it would then not normalize by batches.

    def start(self, training: bool = True) -> None:
        """Copies the student's weights once more, unless training has begun before.

        What is assigned while a step is traced is lost, so a method that was built there calls this
        before it trains.

        Args:
            training: Whether training begins. After an evaluation, the student may get other
                weights, and the copy starts again.

        Raises:
            ValueError: if the weights are of half precision, in which small steps are lost.
        """
        if self._copies and not self._has_started:
            if self.momentum != 1.0:
                _refuse_half_precision(self.student)
            if int(ops.convert_to_numpy(self.iterations)) == 0:
                for layer, copy in zip(self.student, self._copies, strict=True):
                    give_weights(layer, copy)
                if training and self.momentum == 1.0:
                    # It may never move, and a file must say that it has begun.
                    self.iterations.assign(1)
            self._has_started = training

    def call(self, inputs: Any, training: bool = False) -> Tensor:  # noqa: D102
        x = inputs
        for copy in self._copies:
            x = copy(x, training=training)
            clear_losses(copy)  # They are of nothing that is trained.
            if len(getattr(x, "shape", ())) == 4 and copy is not self._copies[-1]:
                x = ops.mean(x, axis=(1, 2))  # The encoder has returned feature maps.
        return keras.tree.map_structure(ops.stop_gradient, x)

    def update(self) -> None:
        """Moves one step toward the student. Call it after the student's step, in `after_step`."""
        momentum = self.momentum
        if callable(momentum):
            # Rounding may push a schedule that ends at 1 above 1.
            momentum = ops.minimum(momentum(self.iterations.value), 1.0)
        self.iterations.assign_add(1)
        for own, theirs in self._averaged():
            m = ops.cast(momentum, own.dtype)
            other = ops.cast(theirs, own.dtype)
            # Of what is frozen, equal weights stay the same to the last bit.
            is_trained = theirs.trainable
            own.assign(m * own + (1 - m) * other if is_trained else own + (1 - m) * (other - own))

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        serialize = keras.saving.serialize_keras_object
        momentum = self.momentum if isinstance(self.momentum, float) else serialize(self.momentum)
        student = [serialize(layer) for layer in self.student]
        return {**super().get_config(), "student": student, "momentum": momentum}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "MovingAverage":  # noqa: D102
        deserialize = keras.saving.deserialize_keras_object
        student = [deserialize(layer) for layer in config["student"]]
        momentum = config["momentum"]
        momentum = deserialize(momentum) if isinstance(momentum, dict) else momentum
        return cls(**{**config, "student": student, "momentum": momentum})


def _refuse_half_precision(layers: Sequence[keras.layers.Layer]) -> None:
    for layer in layers:
        dtypes = {keras.backend.standardize_dtype(weight.dtype) for weight in layer.weights}
        if half := dtypes & {"float16", "bfloat16"}:
            raise ValueError(
                "`student` must have weights of float32, to which a small step can be added: use a "
                f"mixed policy, such as mixed_bfloat16. Received: {half.pop()} in layer "
                f"{layer.name!r}"
            )


def _refuse_lora(layers: Sequence[keras.layers.Layer]) -> None:
    for layer in layers:
        if any(getattr(inner, "lora_enabled", False) for inner in all_layers(layer)):
            raise ValueError(
                "`student` must have no LoRA, because a file holds only the sum of a layer's own "
                "weights and those of LoRA. Received: LoRA in layer "
                f"{layer.name!r}"
            )


def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Returns a layer of the same kind with the same weights."""
    if not layer.built:
        raise ValueError(
            "`student` must be made of layers that are built, so that they can be copied. "
            f"Received: layer {layer.name!r}, which is not built"
        )
    is_graph = isinstance(layer, keras.Model) and getattr(layer, "inputs", None)
    copy = (
        keras.models.clone_model(layer) if is_graph else type(layer).from_config(layer.get_config())
    )
    if not copy.built and layer.get_build_config():
        copy.build_from_config(layer.get_build_config())
    if [w.shape for w in copy.weights] != [w.shape for w in layer.weights]:
        raise ValueError(
            "`student` must be made of layers that `get_config` and `get_build_config` describe, "
            f"so that they can be copied. Received: layer {layer.name!r} with {len(layer.weights)} "
            f"weights, whose copy has {len(copy.weights)}"
        )
    give_weights(layer, copy)
    return copy


def give_weights(layer: keras.layers.Layer, copy: keras.layers.Layer) -> None:
    """Gives a copy of a layer the weights that the layer has now."""
    for own, theirs in zip(copy.weights, layer.weights, strict=True):
        own.assign(ops.copy(theirs.value))  # On JAX, two variables must not share one array.
    renew_normalization(copy)
