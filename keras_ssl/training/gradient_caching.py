"""Gradient caching: the exact gradient of a large batch in the memory of a small one.

To accumulate gradients over small batches is another loss: negatives and covariances are those of
the small batch. But a criterion sees embeddings alone, and those of a large batch fit anywhere.
With z the embeddings of a batch of n micro-batches z_k and L the criterion,

    dL/dw = sum_k (dz_k/dw)^T dL/dz_k

so that three steps give the gradient of the whole: the embeddings of all micro-batches, keeping no
activation; dL/dz, of the whole batch; and each micro-batch once more, pulling its rows of dL/dz
back to the weights. The price is one more forward pass.

References:
    - Gao et al.: Scaling deep contrastive learning batch size under memory limited setup, 2021.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ssl import replicas
from keras_ssl._keras import clear_losses
from keras_ssl._tensors import Tensor


def embed_in_parts(model: Any, views: Tensor, training: bool) -> tuple[Any, Any]:
    """`model.embed(views, training)`, `model.micro_batch_size` images at a time.

    Batch statistics are those of each micro-batch, on each replica by itself.
    """
    parts = _MicroBatches(views, model.micro_batch_size)
    structure: list[Any] = []

    def embed(k: Tensor) -> list[Any]:
        with replicas.alone():
            outputs = model.embed(parts.of(views, k), training=training)
        structure.append(outputs)
        return keras.tree.flatten(outputs)

    # The first tells the dtypes, and how many representations and embeddings there are.
    first = embed(0)
    arrays = [
        tf.TensorArray(x.dtype, parts.count, element_shape=(None, *x.shape[1:]), infer_shape=False)
        for x in first
    ]
    arrays = [array.write(0, x) for array, x in zip(arrays, first, strict=True)]

    def body(k: Tensor, arrays: Tensor) -> Tensor:
        return k + 1, [array.write(k, x) for array, x in zip(arrays, embed(k), strict=True)]

    _, arrays = parts.loop(body, (tf.constant(1), arrays))
    clear_losses(model)  # What layers noted down inside the loop is out of reach.
    whole = [
        tf.ensure_shape(array.concat(), (parts.known_rows, *x.shape[1:]))
        for array, x in zip(arrays, first, strict=True)
    ]
    return keras.tree.pack_sequence_as(structure[0], whole)


def cached_gradients(
    model: Any, views: Tensor, scaled_loss: Callable[[Any], Any]
) -> tuple[Any, list[Any]]:
    """The gradients of a large batch, `model.micro_batch_size` images at a time.

    Batch normalization sees one micro-batch of one replica, as on that many replicas that are not
    synchronized; its moving averages are updated once, with the mean of what every micro-batch
    would have made of them. Random layers draw for a micro-batch what they drew for it before. A
    teacher is called on every micro-batch as the student is; its embeddings have no gradient.

    Args:
        model: `keras_ssl.models.JointEmbeddingModel`.
        views: Tuple of views, of N rows each.
        scaled_loss: From the embeddings, each (N, M), to the loss, times the loss scale.

    Returns:
        Tuple of representations, each (N, D), and this replica's part of the gradient of each of
        `model.trainable_weights`.
    """
    parts = _MicroBatches(views, model.micro_batch_size)
    states = [variable.value for variable in model.non_trainable_variables]
    before = [tf.identity(state) for state in states]
    averaged = [i for i, state in enumerate(states) if state.dtype.is_floating]

    representations, embeddings = embed_in_parts(model, views, training=True)
    embeddings = tuple(tf.stop_gradient(z) for z in embeddings)
    for state, value in zip(states, before, strict=True):
        state.assign(value)

    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(embeddings)
        loss = scaled_loss(embeddings)
    slopes = tape.gradient(loss, embeddings, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    weights = [weight.value for weight in model.trainable_weights]

    def body(k: Tensor, gradients: list[Any], sums: list[Any]) -> Tensor:
        clear_losses(model)
        with tf.GradientTape() as tape, replicas.alone():
            _, z = model.embed(parts.of(views, k), training=True)
            # Regularizers of weights count once in all, those of activations are means.
            part = tf.shape(z[0])[0] / parts.rows
            rest = model.layer_loss()
            rest = model.optimizer.scale_loss(rest * tf.cast(part, rest.dtype))
        added = tape.gradient(
            [*z, rest],
            weights,
            output_gradients=[*parts.of(slopes, k), replicas.share(tf.ones((), rest.dtype))],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        gradients = [g + tf.convert_to_tensor(a) for g, a in zip(gradients, added, strict=True)]
        sums = [total + (states[i] - before[i]) for total, i in zip(sums, averaged, strict=True)]
        for i in averaged:
            states[i].assign(before[i])
        return k + 1, gradients, sums

    nothing = [tf.zeros_like(weight) for weight in weights]
    _, gradients, sums = parts.loop(
        body, (tf.constant(0), nothing, [tf.zeros_like(before[i]) for i in averaged])
    )
    clear_losses(model)
    for i, total in zip(averaged, sums, strict=True):
        change = total / tf.cast(parts.count, total.dtype)
        # Changes, not values: what none of them changed, such as a teacher, stays to the last bit.
        states[i].assign(before[i] + replicas.sum_over_replicas(replicas.share(change)))
    return representations, gradients


class _MicroBatches:
    """The rows of a batch, so many at a time."""

    def __init__(self, views: Tensor, size: int) -> None:
        first = keras.tree.flatten(views)[0]
        self.size, self.rows = size, first.shape[0]
        self.known_rows: int | None = first.shape[0]
        if self.rows is None and replicas.replica_count() > 1:
            # The last batch of an epoch may leave a replica without an image.
            raise ValueError(
                "With `micro_batch_size` on several replicas, batches must be of one size: drop "
                f"the remainder. Received: micro_batch_size={size}, batches of unknown size"
            )
        if self.rows is None:
            # A data set that keeps its remainder: the last micro-batch may be short.
            self.rows = tf.shape(first)[0]
            self.count = (self.rows + size - 1) // size
        elif self.rows % size:
            raise ValueError(
                "`micro_batch_size` must divide the images that one device gets of a batch. "
                f"Received: micro_batch_size={size}, {self.rows} images"
            )
        else:
            self.count = self.rows // size

    def of(self, structure: Any, k: Tensor) -> Tensor:
        """The rows of micro-batch k in each tensor of `structure`."""
        start = k * self.size
        size = self.size if isinstance(self.rows, int) else tf.minimum(self.size, self.rows - start)
        return tf.nest.map_structure(
            lambda x: tf.slice(x, [start] + [0] * (len(x.shape) - 1), [size, *x.shape[1:]]),
            structure,
        )

    def loop(self, body: Callable[..., Any], values: Tensor) -> Any:
        """`values = body(*values)`, the first of which counts, up to the last micro-batch."""
        # One after the other: side by side they would take the memory of the whole batch.
        return tf.while_loop(lambda k, *_: k < self.count, body, values, parallel_iterations=1)
