"""`fit` and `evaluate` on several replicas, on which Keras' own are inexact or fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from keras_ssl._keras import build_for, own_strategy, spec_of_one_replica
from keras_ssl._tensorflow import tf
from keras_ssl._tensors import Tensor
from keras_ssl.training.batch_norm import synchronize
from keras_ssl.training.guards import check_devices, check_optimizer, warn_of_own_statistics
from keras_ssl.training.random_layers import draw_apart
from keras_ssl.training.strategies import is_on_one_machine


def _then_once(function: Callable[[Any], Any], look: Callable[[], None]) -> Callable[[Any], Any]:
    """Returns `function`, which then also calls `look` after its first call."""
    has_looked = False

    def function_and_look(data: Any) -> Any:
        nonlocal has_looked
        result = function(data)
        if not has_looked:
            has_looked = True
            look()
        return result

    return function_and_look


class WorkerLostError(RuntimeError):
    """A machine of a `MultiWorkerMirroredStrategy` was lost, which ends the training of all."""


class ReplicatedModel(keras.Model):
    """A `keras.Model` whose `fit` and `evaluate` give the same results on any number of devices.

    The steps of a subclass return the results of the metrics. On one device, Keras does everything.
    On several replicas, this class

    - builds the model from the shapes of a batch, because Keras would draw a batch and average it;
    - runs the steps in one graph, because Keras nests two, which fails in a loop of collectives
      (`steps_per_execution`, several machines: keras issue 19246, tensorflow issue 72388);
    - synchronizes batch normalization, and makes random layers draw separately on each replica;
    - warns of layers whose state differs between replicas;
    - refuses options that would give other numbers than on one device.
    """

    train_function: Any
    test_function: Any

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.fit`.

        Raises:
            WorkerLostError: if another machine was lost. None can continue without the others.
            ValueError: if this process has trained with another set of replicas before.
        """
        try:
            return super().fit(*args, **kwargs)
        except (
            tf.errors.UnavailableError,
            tf.errors.AbortedError,
            tf.errors.CancelledError,
            tf.errors.DeadlineExceededError,
            tf.errors.InternalError,
        ) as error:
            if is_on_one_machine(self.distribute_strategy):
                raise
            raise WorkerLostError(
                "Another worker was lost or could not be reached. Start the program again on all "
                f"workers, from the last checkpoint. TensorFlow says: {error.message[:500]}"
            ) from error

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        strategy = own_strategy(self)
        if strategy is None:
            if tf.distribute.has_strategy():
                raise ValueError(
                    "The model and its encoder must be created inside `strategy.scope()`. "
                    "Received: a model with variables on one device"
                )
            return
        if iterator is not None:
            # It specifies the global batch, or the parts of a distributed data set.
            specs = iterator.data_adapter.get_tf_dataset().element_spec
            data_batch = keras.tree.map_structure(spec_of_one_replica, specs)
        with strategy.scope():
            if not self.built:
                # Not symbolically, because several machines cannot create variables in a graph.
                self.build_for_batch(data_batch)
            build_for(self, self.with_symbolic_views(data_batch))
        if strategy.num_replicas_in_sync > 1:
            synchronize(self)
            draw_apart(self)
            self._check_replicas(iterator)

    def _check_replicas(self, iterator: Any) -> None:
        """Refuses what Keras 3.15 cannot do on several replicas the way it does on one device."""
        strategy = self.distribute_strategy
        outside = [
            v.path
            for v in self.variables
            if not strategy.extended.variable_created_in_scope(v.value)
        ]
        if outside:
            raise ValueError(
                "The encoder, the projector and the model must be created inside "
                f"`strategy.scope()`. Received: variables on one device: {outside[:3]}"
            )
        is_tpu = isinstance(strategy, tf.distribute.TPUStrategy)
        if self.jit_compile and not is_tpu:
            raise ValueError(
                "`jit_compile=True` does not work with a tf.distribute strategy in Keras 3.15, "
                f"except on TPUs. Received: jit_compile=True, strategy={type(strategy).__name__}"
            )
        check_devices(strategy)
        steps = getattr(iterator, "num_batches", None)
        if steps is not None and steps % self.steps_per_execution and not is_tpu:
            raise ValueError(
                "On several replicas the steps of an epoch must be a multiple of "
                f"`steps_per_execution`. Received: {steps} steps, "
                f"steps_per_execution={self.steps_per_execution}"
            )

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' hook: `train_function` runs `steps_per_execution` steps of training.

        Raises:
            ValueError: if an option of the optimizer does not work on several replicas.
        """
        replicas = self.distribute_strategy.num_replicas_in_sync
        if replicas > 1:
            check_optimizer(self.optimizer)
        if self.train_function is not None and not force:
            return self.train_function
        if self.built and own_strategy(self) is None and not self.optimizer.built:
            # Keras leaves that to the first step. TensorFlow traces twice what creates variables.
            self.optimizer.build(self.trainable_variables)
        if self._has_replicas():
            self.train_function = self._on_replicas(self.train_step)
        else:
            super().make_train_function(force)
        if replicas > 1:
            self.train_function = _then_once(
                self.train_function, lambda: warn_of_own_statistics(self)
            )
        return self.train_function

    def make_test_function(self, force: bool = False) -> Any:
        """Keras' hook: `test_function` runs `steps_per_execution` steps of evaluation."""
        if not self._has_replicas():
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = self._on_replicas(self.test_step)
        return self.test_function

    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.train_on_batch`; replicas share the batch out.

        Raises:
            ValueError: if it is not a multiple of the replicas, or they cannot share it out.
        """
        self._check_batches_by_hand()
        return super().train_on_batch(*args, **kwargs)

    def test_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.test_on_batch`; replicas share the batch out.

        Raises:
            ValueError: as `train_on_batch`.
        """
        self._check_batches_by_hand()
        return super().test_on_batch(*args, **kwargs)

    def _check_batches_by_hand(self) -> None:
        # Keras would give each replica the whole batch.
        if self.distribute_strategy.num_replicas_in_sync > 1 and not self._has_replicas():
            raise ValueError(
                "`train_on_batch` and `test_on_batch` work neither on TPUs nor with "
                "`run_eagerly=True` where there are several replicas: call `fit` or `evaluate`."
            )

    def _has_replicas(self) -> bool:
        strategy = self.distribute_strategy
        return (
            strategy.num_replicas_in_sync > 1
            and not self.run_eagerly
            # TPUs need Keras' own function, which asks no TPU for a mean.
            and not isinstance(strategy, tf.distribute.TPUStrategy)
        )

    def _on_replicas(self, step: Callable[[Any], dict[str, Any]]) -> Callable[[Any], Any]:
        strategy, steps = self.distribute_strategy, self.steps_per_execution
        structure: list[Any] = []  # That of the logs: some metrics return dictionaries.

        @tf.autograph.experimental.do_not_convert
        def packed_step(data: Any) -> Tensor:
            logs = step(data)
            structure.append(keras.tree.map_structure(lambda _: 0, logs))
            # One vector needs only one collective for all metrics.
            return tf.stack([tf.cast(value, "float32") for value in keras.tree.flatten(logs)])

        def one_step(data: Any) -> dict[str, Any]:
            figures = strategy.reduce("MEAN", strategy.run(packed_step, args=(data,)), axis=None)
            return keras.tree.pack_sequence_as(structure[-1], tf.unstack(figures))

        @tf.function(reduce_retracing=True)
        def step_on_data(data: Any) -> dict[str, Any]:
            return one_step(data)

        @tf.function(reduce_retracing=True)
        def steps_on_iterator(iterator: Any) -> dict[str, Any]:
            if steps > 1:  # TensorFlow would trace a loop even if it ran no step.
                for _ in tf.range(steps - 1):
                    one_step(next(iterator))
            return one_step(next(iterator))

        def function(iterator: Any) -> dict[str, Any]:
            if isinstance(iterator, (tf.data.Iterator, tf.distribute.DistributedIterator)):
                return steps_on_iterator(iterator)
            return step_on_data(self._shared_out(next(iterator)))  # train_on_batch

        return function

    def _shared_out(self, data: Any) -> Any:
        """Gives each replica its rows of a batch in arrays."""
        strategy = self.distribute_strategy
        count = strategy.num_replicas_in_sync
        if not is_on_one_machine(strategy):
            if len(strategy.extended.worker_devices) == 1:
                return data  # Each machine has its own.
            raise ValueError(
                "`train_on_batch` and `test_on_batch` need one machine, or one device on each: "
                f"call `fit` or `evaluate`. Received: {count} replicas on several machines"
            )
        rows = {len(x) for x in keras.tree.flatten(data) if x is not None}
        if any(number % count for number in rows):
            raise ValueError(
                "`x` must have as many rows for each replica. "
                f"Received: {sorted(rows)} rows for {count} replicas"
            )

        def own(context: tf.distribute.InputReplicaContext | Any) -> Any:
            i = context.replica_id_in_sync_group

            def part(x: Any) -> Any:
                return x if x is None else tf.split(tf.convert_to_tensor(x), count)[i]

            return keras.tree.map_structure(part, data)

        return strategy.experimental_distribute_values_from_function(own)
