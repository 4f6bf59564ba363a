"""What a replica needs to know about the others, and how their numbers are combined.

One rule explains everything here: replicas compute *parts*, and parts add up. The optimizer adds up
the gradients of all replicas, so every replica returns its share of the loss, and the shares add up
to the loss of the global batch. A gradient that arrives at a value that is the same on all replicas
is a part too. The gradient of each function below is that of the sum of all replicas' losses.

Outside a replica, with one replica, and inside `alone()`, the functions here do nothing, except
`replica_id`.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import keras
from keras import ops

from keras_ssl._keras import gather_apart, replicas_have_own_collectives
from keras_ssl._tensors import Tensor, mean

# TensorFlow traces every replica in its own thread.
_thread = threading.local()


@contextlib.contextmanager
def _scope(is_alone: bool) -> Iterator[None]:
    before = getattr(_thread, "is_alone", False)
    _thread.is_alone = is_alone
    try:
        yield
    finally:
        _thread.is_alone = before


def alone() -> contextlib.AbstractContextManager[None]:
    """A scope in which a replica ignores the others: its own rows are the whole batch."""
    return _scope(True)


def custom_gradient(f: Callable[..., Any]) -> Callable[..., Any]:
    """A `keras.ops.custom_gradient` whose gradient is inside `alone()` if its value was.

    A gradient runs when a tape is asked for it, which is outside the scope of the value. If `f` has
    several values, they have the same shape, and the gradient gets as many arguments.
    """
    is_alone = getattr(_thread, "is_alone", False)

    def apply(*arguments: Any) -> Tensor:
        count = 0

        def value_and_gradient(*arguments: Any) -> Tensor:
            nonlocal count
            value, gradient = f(*arguments)
            count = len(value) if isinstance(value, tuple) else 0

            def gradient_in_scope(*arguments: Any, upstream: Tensor = None) -> Tensor:
                if upstream is None:  # Keras gives it a name, and other arguments, on PyTorch.
                    (upstream,) = arguments
                with _scope(is_alone):
                    return gradient(*(_unstacked(upstream, count) if count else (upstream,)))

            # As one tensor, because Keras' backends differ in what the gradient of several gets.
            return ops.stack(value) if count else value, gradient_in_scope

        value = ops.custom_gradient(value_and_gradient)(*arguments)
        return _unstacked(value, count) if count else value

    return apply


def _unstacked(x: Tensor, count: int) -> tuple[Tensor, ...]:
    return tuple(x[i] for i in range(count))


def _replica_context(even_alone: bool = False) -> Any:
    """The `tf.distribute` context of a replica among several, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None  # JAX compiles one program for the global batch: there is nothing to gather.
    if getattr(_thread, "is_alone", False) and not even_alone:
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    # None is the cross-replica context, in which Keras traces a model symbolically.
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def replica_count() -> int:
    """The number of replicas that train in step, including this one."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_id() -> Tensor:
    """The index of this replica, from 0: a Python int, or a scalar int32 tensor inside a replica.

    It is the same inside `alone()`: a replica draws its own random numbers even there.
    """
    context = _replica_context(even_alone=True)
    return 0 if context is None else context.replica_id_in_sync_group


def share(global_loss: Tensor) -> Tensor:
    """This replica's share of a loss that every replica computes on the whole global batch."""
    return ops.divide(global_loss, replica_count())


def sum_over_replicas(x: Tensor) -> Tensor:
    """Returns the sum of `x` over all replicas, on every replica.

    Args:
        x: Float tensor, with the same shape on all replicas.

    Returns:
        Tensor of the shape of `x`. The gradient is the sum of the replicas' gradients.
    """
    context = _replica_context()
    if context is None:
        return x
    return _with_gradient(x, _sum(context, x), lambda upstream: _sum(context, upstream))


def gather_batch(x: Tensor) -> Tensor:
    """Returns the rows of `x` of all replicas, in order.

    The gradient is that of the sum of all replicas' losses. If every replica computes the same loss
    from the result, that loss must therefore be divided by `replica_count()`. (The paper's footnote
    1: much published code loses exactly this factor.)

    Args:
        x: Tensor of shape (N, ...), with N rows on each replica. If N is not known when the graph
            is traced, it may differ from replica to replica.

    Returns:
        Tensor of shape (N * replicas, ...).
    """
    context = _replica_context()
    if context is None:
        return x
    import tensorflow as tf

    gathered = _gather(context, x)
    # Gathering loses every static dimension, and set_shape would not survive a retrace.
    rows = None if x.shape[0] is None else x.shape[0] * context.num_replicas_in_sync
    gathered = tf.ensure_shape(gathered, (rows, *x.shape[1:]))
    count = ops.shape(x)[0]
    return _with_gradient(
        x, gathered, lambda upstream: _slice(_sum(context, upstream), _first_row(context, x), count)
    )


def own_rows(x: Tensor) -> Tensor:
    """Returns this replica's rows of `x`: the inverse of `gather_batch`.

    Args:
        x: Tensor of shape (N * replicas, ...), the same on all replicas. The number of rows must be
            known.

    Returns:
        Tensor of shape (N, ...).
    """
    context = _replica_context()
    if context is None:
        return x
    count = x.shape[0] // context.num_replicas_in_sync
    return _slice(x, context.replica_id_in_sync_group * count, count)


def has_even_shards(x: Tensor) -> bool:
    """Whether all replicas are known to have as many rows as `x`, so that they can share work."""
    # If a data set keeps its remainder, the batch size is unknown and the last batch may be uneven.
    return x.shape[0] is not None


def batch_size(x: Tensor) -> Tensor:
    """The number of rows of `x` on all replicas together.

    Example:
        Outside of a replica, all rows are here; on two replicas of 4 rows each, it would be 8.

        >>> batch_size(ops.ones((4, 2)))
        4
    """
    context = _replica_context()
    rows = ops.shape(x)[0]
    if context is None:
        return rows
    if isinstance(rows, int):
        return rows * context.num_replicas_in_sync
    import tensorflow as tf

    return tf.reduce_sum(_gather(context, tf.reshape(rows, [1])))


def first_row(x: Tensor) -> Tensor:
    """The index of this replica's first row of `x` among the rows of all replicas."""
    context = _replica_context()
    return 0 if context is None else _first_row(context, x)


def batch_mean(x: Tensor, axis: int | None = None) -> Tensor:
    """Returns the mean of `x` over the global batch.

    Args:
        x: Tensor (N, ...), with the same number of rows on every replica.
        axis: 0 for the mean over the batch only, `None` for the mean over all entries.

    Returns:
        Tensor with the shape of a row of `x`, or a scalar.

    Example:
        A criterion that takes its means by this function is the same on any number of replicas.

        >>> x = ops.convert_to_tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> float(batch_mean(x)), ops.convert_to_numpy(batch_mean(x, axis=0)).tolist()
        (2.5, [2.0, 3.0])
    """
    return sum_over_replicas(share(mean(x, axis=axis)))


# --- The collectives themselves, without gradients ---------------------------------------------


def _sum(context: Any, x: Tensor) -> Tensor:
    import tensorflow as tf

    x = tf.stop_gradient(x)
    if _has_own_collectives(context):
        return context.all_reduce(tf.distribute.ReduceOp.SUM, x)

    # This does what all_reduce does, but without its gradient. For that gradient TensorFlow walks
    # back through the graphs of all replicas at every call: four minutes for sixty synchronized
    # layers.
    def reduce(strategy: Any, x: Tensor) -> Tensor:
        return strategy.extended.batch_reduce_to(tf.distribute.ReduceOp.SUM, [(x, x)])[0]

    return context.merge_call(reduce, args=(x,))


def _gather(context: Any, x: Tensor) -> Tensor:
    import tensorflow as tf

    x = tf.stop_gradient(x)
    if _has_own_collectives(context):
        return context.all_gather(x, axis=0)
    # This does what all_gather does, but without its gradient, as above.
    return context.merge_call(gather_apart, args=(x,))


def _has_own_collectives(context: Any) -> bool:
    """Whether replicas communicate from within their own graphs, as TPUs and GPUs under XLA do."""
    import tensorflow as tf

    is_tpu = isinstance(context.strategy, tf.distribute.TPUStrategy)
    return replicas_have_own_collectives() or is_tpu


def _with_gradient(x: Tensor, value: Any, gradient: Callable[[Any], Any]) -> Tensor:
    """Returns `value` as a function of `x` that has this gradient."""
    import tensorflow as tf

    @tf.custom_gradient
    def attach(x: Tensor, value: Any) -> Tensor:
        return tf.identity(value), lambda upstream: (gradient(upstream), None)

    return attach(x, value)


def _first_row(context: Any, x: Tensor) -> Tensor:
    if x.shape[0] is not None:
        return context.replica_id_in_sync_group * x.shape[0]
    import tensorflow as tf

    rows = _gather(context, tf.reshape(tf.shape(x)[0], [1]))
    return tf.reduce_sum(rows[: context.replica_id_in_sync_group])


def _slice(x: Tensor, start: Tensor, count: Tensor) -> Tensor:
    return ops.slice(x, (start, *(0,) * (len(x.shape) - 1)), (count, *ops.shape(x)[1:]))
