"""Gradient caching: the exact gradient of a large batch in the memory of a small one.

Accumulating gradients over small batches would optimize a different loss, because the negatives and
covariances would be those of the small batch. But a criterion sees only embeddings, and the
embeddings of a large batch fit anywhere. If L is the criterion and the embeddings z come from
micro-batches z_k, then

    dL/dw = sum_k (dz_k/dw)^T dL/dz_k

Three steps therefore give the gradient of the whole batch. The first computes the embeddings of all
micro-batches without keeping any activation. The second computes dL/dz on the whole batch. The
third passes each micro-batch through the network again, and pulls its rows of dL/dz back to the
weights. The price is one more forward pass.

References:
    - Gao et al.: Scaling deep contrastive learning batch size under memory limited setup, 2021.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from keras_ssl import replicas
from keras_ssl._keras import clear_losses, layer_metrics
from keras_ssl._tensors import Tensor


def embed_in_parts(
    model: Any, views: Tensor, training: bool, begin: Callable[[], Any] = lambda: None
) -> tuple[Any, Any]:
    """Does `model.embed(views, training)` on `model.micro_batch_size` images at a time.

    Each micro-batch on each replica has its own batch statistics. `begin` is called before each.
    """
    parts = _MicroBatches(views, model.micro_batch_size)
    structure: list[Any] = []

    def embed(k: Tensor) -> list[Any]:
        begin()
        with replicas.alone():
            outputs = model.embed(parts.of(views, k), training=training)
        structure.append(outputs)
        return keras.tree.flatten(outputs)

    # The first one tells the dtypes, and how many representations and embeddings there are.
    first = embed(0)
    arrays = [
        tf.TensorArray(x.dtype, parts.count, element_shape=(None, *x.shape[1:]), infer_shape=False)
        for x in first
    ]
    arrays = [array.write(0, x) for array, x in zip(arrays, first, strict=True)]

    def body(k: Tensor, arrays: Tensor) -> Tensor:
        return k + 1, [array.write(k, x) for array, x in zip(arrays, embed(k), strict=True)]

    _, arrays = parts.loop(body, (tf.constant(1), arrays))
    clear_losses(model)  # Losses that layers added inside the loop are out of reach.
    whole = [
        tf.ensure_shape(array.concat(), (parts.known_rows, *x.shape[1:]))
        for array, x in zip(arrays, first, strict=True)
    ]
    return keras.tree.pack_sequence_as(structure[0], whole)


def cached_gradients(
    model: Any, views: Tensor, scaled_loss: Callable[[Any], Any]
) -> tuple[Any, list[Any]]:
    """Returns the gradients of a large batch, with `model.micro_batch_size` images at a time.

    Batch normalization sees one micro-batch of one replica, as if the micro-batches were replicas
    that are not synchronized. Its moving averages are updated once, with the mean of the changes
    that the micro-batches would have made. In the second pass, random layers draw the same numbers
    for a micro-batch as in the first. A teacher is called on every micro-batch like the student;
    its embeddings have no gradient.

    Args:
        model: A `keras_ssl.models.JointEmbeddingModel`.
        views: Tuple of views, each with N rows.
        scaled_loss: A function of the embeddings, each (N, M), that returns the loss times the loss
            scale.

    Returns:
        Tuple of representations, each (N, D), and this replica's part of the gradient of each of
        `model.trainable_weights`.
    """
    parts = _MicroBatches(views, model.micro_batch_size)
    # Metrics that layers hold are among them: they see each image once, in the second pass.
    states = [v.value for v in (*model.non_trainable_variables, *layer_metrics(model))]
    before = [tf.identity(state) for state in states]
    count = len(model.non_trainable_variables)
    averaged = [i for i, state in enumerate(states[:count]) if state.dtype.is_floating]

    def begin() -> None:
        # As in the second pass: what a micro-batch changes, such as a center, no other one sees.
        for i in averaged:
            states[i].assign(before[i])

    representations, embeddings = embed_in_parts(model, views, True, begin)
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
            # In total, regularizers of weights count once, and those of activations are averaged.
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
        begin()
        return k + 1, gradients, sums

    nothing = [tf.zeros_like(weight) for weight in weights]
    _, gradients, sums = parts.loop(
        body, (tf.constant(0), nothing, [tf.zeros_like(before[i]) for i in averaged])
    )
    clear_losses(model)
    for i, total in zip(averaged, sums, strict=True):
        change = total / tf.cast(parts.count, total.dtype)
        # Adding changes keeps unchanged variables, such as a teacher's, the same to the last bit.
        states[i].assign(before[i] + replicas.sum_over_replicas(replicas.share(change)))
    return representations, gradients


class _MicroBatches:
    """The rows of a batch, split into micro-batches."""

    def __init__(self, views: Tensor, size: int) -> None:
        first = keras.tree.flatten(views)[0]
        self.size, self.rows = size, first.shape[0]
        self.known_rows: int | None = first.shape[0]
        if self.rows is None and replicas.replica_count() > 1:
            # A replica may get no images of the last batch of an epoch.
            raise ValueError(
                "With `micro_batch_size` on several replicas, batches must have one known size: "
                f"drop the remainder. Received: micro_batch_size={size}, batches of unknown size"
            )
        if self.rows is None:
            # The data set keeps its remainder, so the last micro-batch may be short.
            self.rows = tf.shape(first)[0]
            self.count = (self.rows + size - 1) // size
        elif self.rows % size:
            raise ValueError(
                "`micro_batch_size` must divide the number of images that one device gets from a "
                f"batch. Received: micro_batch_size={size}, {self.rows} images"
            )
        else:
            self.count = self.rows // size

    def of(self, structure: Any, k: Tensor) -> Tensor:
        """Returns the rows of micro-batch k in each tensor of `structure`."""
        start = k * self.size
        size = self.size if isinstance(self.rows, int) else tf.minimum(self.size, self.rows - start)

        def rows(x: Tensor) -> Tensor:
            # -1 is all there is: the length of sequences may be known only in the graph.
            others = [-1 if length is None else length for length in x.shape[1:]]
            return tf.slice(x, [start] + [0] * len(others), [size, *others])

        return tf.nest.map_structure(rows, structure)

    def loop(self, body: Callable[..., Any], values: Tensor) -> Any:
        """Repeats `values = body(*values)` for all micro-batches; the first value counts them."""
        # One after the other: in parallel they would take the memory of the whole batch.
        return tf.while_loop(lambda k, *_: k < self.count, body, values, parallel_iterations=1)
