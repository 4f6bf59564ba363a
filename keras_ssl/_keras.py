"""Every private name of Keras, TensorFlow and keras-tuner that the library leans on, on one page.

Each name is used in one small function here, whose comment says why no public name does. Methods
that Keras calls and our subclasses override are in `HOOKS`; they stand in the subclass.

After an upgrade, `tests/test_private_names.py` names what is missing. It also fails where a private
name is used outside of this file.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras

# (owner, name): what the functions of this file use.
PRIVATE_NAMES = (
    ("keras.Layer", "_flatten_layers"),
    ("keras.Layer", "_get_own_losses"),
    ("keras.Layer", "_clear_losses"),
    ("keras.Layer", "_layers"),
    ("keras.Layer", "_non_trainable_variables"),
    ("keras.Layer", "_seed_generators"),
    ("keras.Model", "_compile_metrics"),
    ("keras.Model", "_compile_metrics._user_metrics"),
    ("keras.Model", "_distribute_strategy"),
    ("keras.Model", "_initial_epoch"),
    ("keras.Model", "_symbolic_build"),
    ("keras.Model.evaluate", "_use_cached_eval_dataset"),
    ("keras.optimizers.Optimizer", "_clip_gradients"),
    ("keras.optimizers.Optimizer", "_get_variable_index"),
    ("keras.optimizers.Optimizer", "_learning_rate"),
    ("tensorflow.data.Dataset", "_inputs"),
    ("tensorflow.distribute.StrategyExtended", "_batch_gather_to"),
    ("tensorflow.distribute.MirroredStrategy.extended", "_cross_device_ops"),
    ("tensorflow.python.distribute.values.PerReplicaSpec", "_value_specs"),
    ("tensorflow", "__internal__.distribute.strategy_supports_no_merge_call"),
    ("tensorflow.python.framework.ops", "gradient_registry._registry"),
    ("keras_tuner.Oracle", "_get_trial_dir"),
    ("keras_tuner.Oracle", "_project_dir"),
    ("keras_tuner.Oracle", "_record_values"),
    ("keras_tuner.Oracle", "_retry_queue"),
    ("keras_tuner.Tuner", "_is_worker"),
)

# (owner, name): methods that their owner calls, and that our subclasses or `replace_moments`
# override.
HOOKS = (
    ("keras.Model", "_maybe_symbolic_build"),
    ("keras.layers.BatchNormalization", "_moments"),
    ("keras_tuner.Oracle", "_save_trial"),
    ("keras_tuner.Tuner", "_populate_initial_space"),
)


# --- Layers --------------------------------------------------------------------------------------


def all_layers(layer: keras.layers.Layer, include_self: bool = True) -> list[keras.layers.Layer]:
    """The layers within `layer`, at any depth; itself first, unless `include_self` is False."""
    # `Model.layers` gives the outermost alone, and a layer that holds others has no such list.
    return list(layer._flatten_layers(include_self=include_self))


def own_losses(layer: keras.layers.Layer) -> list[Any]:
    """What `add_loss` and activity regularizers gave this very layer in its last call."""
    # `Layer.losses` has those of inner layers, and the regularizers of weights, too.
    return layer._get_own_losses()


def clear_losses(model: keras.Model) -> None:
    """Forgets the losses that layers gave in their last call."""
    # Keras does it at the beginning of an outermost call, and nowhere that one could ask for it.
    model._clear_losses()


def own_state(layer: keras.layers.Layer) -> list[keras.Variable]:
    """The variables of this very layer that no gradient changes, such as moving averages."""
    # `Layer.non_trainable_variables` has those of inner layers, and frozen weights, too.
    return layer._non_trainable_variables


def own_seed_generators(layer: keras.layers.Layer) -> list[keras.random.SeedGenerator]:
    """The seed generators of this very layer."""
    # Keras tracks them, and shows no more than the variables of their states.
    return layer._seed_generators


def replace_layer(model: keras.Model, name: str, layer: keras.layers.Layer) -> None:
    """Sets `model.name` to `layer`, at the place of the layer that the attribute held.

    A plain assignment would append it. The order of the layers is that of the weights.
    """
    # Keras tracks what is assigned, in order, and lets nobody choose the place.
    place = model._layers.index(getattr(model, name))
    setattr(model, name, layer)
    model._layers.remove(layer)
    model._layers[place] = layer


def replace_moments(
    layer: keras.layers.BatchNormalization, moments: Callable[[Any, Any], tuple[Any, Any]]
) -> None:
    """Lets batch normalization take `moments(x, mask)`, mean and variance, for its statistics."""
    # Users choose the layers of their encoder: no subclass of ours could take their place.
    layer._moments = moments


# --- Models --------------------------------------------------------------------------------------


def compiled_metrics(model: keras.Model) -> keras.metrics.Metric | None:
    """The metrics given to `compile`, as one metric; `None` where there are none."""
    # `Model.metrics` mixes them with all others, and ours is an override that needs them.
    return model._compile_metrics


def metrics_as_given(model: keras.Model) -> Any:
    """The `metrics` given to `compile`, as they were given."""
    # `get_compile_config` has them serialized, which not every metric can be.
    metrics = compiled_metrics(model)
    return None if metrics is None else metrics._user_metrics


def own_strategy(model: keras.Model) -> Any:
    """The `tf.distribute` strategy that the model was created in, or `None`."""
    # `Model.distribute_strategy` gives the current one where the model was created in none.
    return model._distribute_strategy


def forget_initial_epoch(model: keras.Model) -> None:
    """Lets the next fit begin where it is told to, after one that `BackupAndRestore` moved on."""
    # Keras keeps the epoch that was restored, and would begin every later fit there.
    model._initial_epoch = None


def build_for(model: keras.Model, data_batch: Any) -> None:
    """Builds what `compile` was given, such as metrics, for a batch or its specification."""
    # Keras does it at the beginning of `fit`, on a batch that it draws and averages over replicas.
    model._symbolic_build(data_batch=data_batch)


def is_within_fit(arguments: Mapping[str, Any]) -> bool:
    """Whether a call of `evaluate` with these arguments is Keras' own, after an epoch of `fit`."""
    # The argument is how `fit` says so.
    return bool(arguments.get("_use_cached_eval_dataset"))


# --- Optimizers ----------------------------------------------------------------------------------


def schedule_of(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """The schedule of the learning rate; `None` where it is a number or a function."""
    # `Optimizer.learning_rate` gives the number that the schedule is at.
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    rate = getattr(optimizer, "_learning_rate", None)
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


def clipped(optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any]) -> list[Any]:
    """The gradients, clipped as the optimizer's arguments say."""
    # `apply_gradients` clips what one replica has, on its way.
    return optimizer._clip_gradients(gradients)


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """The place of a variable among those that the optimizer was built with."""
    # All of Keras' own optimizers ask for it this way; `update_step` is told no more.
    return optimizer._get_variable_index(variable)


# --- TensorFlow ----------------------------------------------------------------------------------


def inputs_of(dataset: Any) -> Sequence[Any]:
    """The data sets that a `tf.data.Dataset` was made of; none for anything else."""
    # There is no public name. Without it each epoch would still be another one, as in any other
    # model.
    return getattr(dataset, "_inputs", tuple)()


def gather_apart(strategy: Any, x: Any) -> Any:
    """The rows of `x` of all replicas, in a `merge_call`, without a gradient."""
    import tensorflow as tf

    # `all_gather` does this and adds a gradient, for whose sake TensorFlow walks back through the
    # graphs of all replicas at every call.
    options = tf.distribute.experimental.CommunicationOptions()
    return strategy.extended._batch_gather_to([(x, x)], 0, options)[0]


def replicas_have_own_collectives() -> bool:
    """Whether replicas communicate from within their own graphs, as GPUs under XLA do."""
    import tensorflow as tf

    # TensorFlow exports it to Keras alone, whose `LossScaleOptimizer` asks in the same way.
    return tf.__internal__.distribute.strategy_supports_no_merge_call()


def cross_device_ops(strategy: Any) -> Any:
    """What reduces over the devices of a `MirroredStrategy`; `None` for the default and others."""
    # It is an argument of the strategy that the strategy shows nobody.
    return getattr(strategy.extended, "_cross_device_ops", None)


def spec_of_one_replica(spec: Any) -> Any:
    """Of a specification of a batch on all replicas, that of the first; any other as it is."""
    # A distributed data set's `element_spec` is public, what is in it is not.
    return getattr(spec, "_value_specs", [spec])[0]


@contextlib.contextmanager
def forgotten_gradients() -> Iterator[None]:
    """A scope whose custom gradients TensorFlow forgets at its end.

    Every graph that calls a function with a custom gradient names it in a table that TensorFlow
    keeps as long as the process lives, and the gradient holds the graph: some 10 MiB for every
    model that was trained, in a process that trains many. What was differentiated inside the scope
    goes on working; a graph traced there cannot be differentiated once more outside of it.
    """
    from tensorflow.python.framework import ops as tf_ops

    # There is no public way to the table, and without it nothing is lost but memory.
    table = getattr(getattr(tf_ops, "gradient_registry", None), "_registry", {})
    before = set(table)
    try:
        yield
    finally:
        for name in set(table) - before:
            if name.startswith("CustomGradient"):
                del table[name]


# --- Keras-tuner, which the caller has imported --------------------------------------------------


def trial_folder(oracle: Any, trial_id: str) -> str:
    """The folder of a trial, which is made where it is missing."""
    # A `Tuner` has public names for both folders. An oracle, which saves the trials, has not.
    return oracle._get_trial_dir(trial_id)


def project_folder(oracle: Any) -> str:
    """The folder of all trials, which is made where it is missing."""
    return oracle._project_dir


def retry_queue(oracle: Any) -> list[str]:
    """The trials that will be run again, the next one last; the list itself."""
    # `max_retries_per_trial` fills it. Nothing public puts a trial there that was interrupted.
    return oracle._retry_queue


def record_values(oracle: Any, trial: Any) -> None:
    """Tells a search that the values of a trial are not to be drawn again."""
    # The oracle does it for trials that it created; ours come from the trials' files.
    oracle._record_values(trial)


def is_worker(tuner: Any) -> bool:
    """Whether another process, the chief, deals out the trials of this tuner."""
    # Keras-tuner reads it from environment variables whose meaning is its own.
    return tuner._is_worker()
