"""What a replica needs to know of the others: the only module that knows `tf.distribute`.

The rule, from which everything follows: every replica returns its *share* of the loss, and the
shares add up to the loss of the global batch, because the optimizer adds up the gradients. Outside
a replica, and with one replica, each function here does nothing.
"""

from typing import Any

import keras
from keras import ops


def _replica_context() -> Any:
    """The `tf.distribute` context of a replica that has company, else `None`."""
    if keras.backend.backend() != "tensorflow":
        return None  # JAX compiles one program over the global batch: there is nothing to gather.
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    # None: cross-replica context, which is where Keras traces a model symbolically.
    if context is None or context.num_replicas_in_sync == 1:
        return None
    return context


def replica_count() -> int:
    """Number of replicas that train in step with this one, itself included."""
    context = _replica_context()
    return 1 if context is None else context.num_replicas_in_sync


def replica_id() -> Any:
    """Index of this replica, from 0: a Python int, or a scalar int32 tensor inside a replica."""
    context = _replica_context()
    return 0 if context is None else context.replica_id_in_sync_group


def gather_batch(x: Any) -> Any:
    """The rows of `x` of all replicas, in order, with the gradient of the sum of all their losses.

    The gradient is that of the sum over replicas of whatever each computes from the result: a loss
    that every replica computes alike must therefore be divided by `replica_count()`. (The paper's
    footnote 1: much published code loses exactly this factor.)

    Args:
        x: Tensor of shape (N, ...), N rows on each replica.

    Returns:
        Tensor of shape (N * replicas, ...).
    """
    context = _replica_context()
    if context is None:
        return x
    import tensorflow as tf

    gathered = context.all_gather(x, axis=0)
    # all_gather forgets every static dimension, and set_shape would not survive a retrace.
    rows = None if x.shape[0] is None else x.shape[0] * context.num_replicas_in_sync
    return tf.ensure_shape(gathered, (rows, *x.shape[1:]))


def share(global_loss: Any) -> Any:
    """This replica's part of a loss that all replicas compute alike on the global batch."""
    return ops.divide(global_loss, replica_count())
