"""Replicas that train in step: the only part of the library that knows `tf.distribute`."""

from keras_ssl.distribution.batch_norm import synchronize
from keras_ssl.distribution.replicas import (
    alone,
    batch_mean,
    batch_size,
    custom_gradient,
    first_row,
    gather_batch,
    has_even_shards,
    own_rows,
    replica_count,
    replica_id,
    share,
    sum_over_replicas,
)
from keras_ssl.distribution.training import ReplicatedModel, apply_gradients

__all__ = [
    "ReplicatedModel",
    "alone",
    "apply_gradients",
    "batch_mean",
    "batch_size",
    "custom_gradient",
    "first_row",
    "gather_batch",
    "has_even_shards",
    "own_rows",
    "replica_count",
    "replica_id",
    "share",
    "sum_over_replicas",
    "synchronize",
]
