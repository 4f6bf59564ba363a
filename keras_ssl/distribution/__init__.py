"""Replicas that train in step: the only part of the library that knows `tf.distribute`."""

from keras_ssl.distribution.batch_norm import synchronize
from keras_ssl.distribution.checks import has_accelerator, readable_errors, require
from keras_ssl.distribution.random_layers import draw_apart, seed_generators
from keras_ssl.distribution.replicas import (
    alone,
    batch_mean,
    batch_size,
    custom_gradient,
    first_row,
    forgotten_gradients,
    gather_batch,
    has_even_shards,
    own_rows,
    replica_count,
    replica_id,
    share,
    sum_over_replicas,
)
from keras_ssl.distribution.strategies import (
    STRATEGIES,
    describe,
    is_chief,
    is_on_one_machine,
    strategy,
)
from keras_ssl.distribution.training import ReplicatedModel, WorkerLostError, apply_gradients

__all__ = [
    "STRATEGIES",
    "ReplicatedModel",
    "WorkerLostError",
    "alone",
    "apply_gradients",
    "batch_mean",
    "batch_size",
    "custom_gradient",
    "describe",
    "draw_apart",
    "first_row",
    "forgotten_gradients",
    "gather_batch",
    "has_accelerator",
    "has_even_shards",
    "is_chief",
    "is_on_one_machine",
    "own_rows",
    "readable_errors",
    "replica_count",
    "replica_id",
    "seed_generators",
    "require",
    "share",
    "strategy",
    "sum_over_replicas",
    "synchronize",
]
