"""Every private name of Keras, TensorFlow and keras-tuner that the library uses, in one file.

Each name is used in one small function here, whose comment says why no public name will do. `HOOKS`
lists the methods that Keras calls and our subclasses override; they are defined in the subclass.

After an upgrade, `tests/test_private_names.py` names what is missing. It also fails if a private
name is used outside this file.
"""

import contextlib
import functools
import importlib
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from keras_ssl._tensorflow import is_loaded

# (owner, name): the names that the functions of this file use.
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
    ("keras.Model", "_resolve_auto_jit_compile"),
    ("keras.Model", "_symbolic_build"),
    ("keras.Model.evaluate", "_use_cached_eval_dataset"),
    ("keras.optimizers.Optimizer", "_clip_gradients"),
    ("keras.optimizers.Optimizer", "_get_variable_index"),
    ("keras.optimizers.Optimizer", "_learning_rate"),
    ("keras.optimizers.Optimizer", "_use_weight_decay"),
    ("keras.optimizers.Adam", "_momentums"),
    ("keras.optimizers.Adam", "_velocities"),
    ("keras.src.backend.tensorflow", "numpy"),
    ("keras.src.backend.tensorflow", "nn"),
    ("tensorflow.data.Dataset", "_inputs"),
    ("tensorflow.distribute.StrategyExtended", "_batch_gather_to"),
    ("tensorflow.distribute.MirroredStrategy.extended", "_cross_device_ops"),
    ("tensorflow.python.distribute.values.PerReplicaSpec", "_value_specs"),
    ("tensorflow", "__internal__.distribute.strategy_supports_no_merge_call"),
    ("tensorflow.python.framework.ops", "gradient_registry._registry"),
    ("tensorflow.python.autograph.impl.api", "autograph_artifact"),
    ("keras_tuner.Oracle", "_get_trial_dir"),
    ("keras_tuner.Oracle", "_project_dir"),
    ("keras_tuner.Oracle", "_record_values"),
    ("keras_tuner.Oracle", "_retry_queue"),
)

# (owner, name): methods that their owner calls and that our subclasses, `replace_moments`
# or `replace_update` override.
HOOKS = (
    ("keras.Model", "_maybe_symbolic_build"),
    ("keras.layers.BatchNormalization", "_moments"),
    ("keras.optimizers.Optimizer", "_apply_weight_decay"),
    ("keras.optimizers.Optimizer", "_backend_update_step"),
    ("keras_tuner.Oracle", "_save_trial"),
    ("keras_tuner.Tuner", "_populate_initial_space"),
)


# --- Layers --------------------------------------------------------------------------------------


def all_layers(layer: keras.layers.Layer, include_self: bool = True) -> list[keras.layers.Layer]:
    """Returns `layer`, unless `include_self` is False, and all layers inside it, at any depth."""
    # `Model.layers` gives only the outermost ones, and a layer that holds others has no such list.
    return list(layer._flatten_layers(include_self=include_self))


def inner_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Returns the layers directly inside `layer`, in order; those of a graph as it computes."""
    # `all_layers` gives inner layers of any depth, and those of one layer last to first.
    return list(layer._flatten_layers(include_self=False, recursive=False))


def layer_metrics(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the variables of the metrics that the layers inside `layer` hold."""
    return [v for inner in inner_layers(layer) for v in inner.metrics_variables]


def own_weights(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns the weights of a layer that no layer inside it has."""
    theirs = {id(weight) for inner in inner_layers(layer) for weight in inner.weights}
    return [weight for weight in layer.weights if id(weight) not in theirs]


def renew_normalization(layer: keras.layers.Layer) -> None:
    """Makes every `keras.layers.Normalization` in a layer compute with weights it was assigned.

    Keras keeps what follows from them, and renews it only when it adapts, builds or loads a layer.
    """
    for inner in all_layers(layer):
        if isinstance(inner, keras.layers.Normalization):
            inner.finalize_state()


def call_each(layer: keras.layers.Layer, inputs: Iterable[Any], training: bool) -> tuple[Any, ...]:
    """Calls a layer on several inputs, and adds up its losses (`add_loss`, activity regularizers).

    Keras forgets those of all calls but the last one, unless they are part of another call.
    """
    outputs: list[Any] = []
    forgotten: list[Any] = []
    kept: list[Any] = []
    for x in inputs:
        outputs.append(layer(x, training=training))
        before, kept = kept, [loss for inner in all_layers(layer) for loss in own_losses(inner)]
        forgotten += [loss for loss in before if not any(loss is other for other in kept)]
    for loss in forgotten:
        layer.add_loss(loss)
    return tuple(outputs)


def own_losses(layer: keras.layers.Layer) -> list[Any]:
    """Returns the losses from `add_loss` and activity regularizers of this layer's last call."""
    # `Layer.losses` also has those of inner layers and the regularizers of weights.
    return layer._get_own_losses()


def clear_losses(layer: keras.layers.Layer) -> None:
    """Clears the losses that a layer and those inside it added in their last call."""
    # Keras does this at the beginning of an outermost call, and has no public function for it.
    layer._clear_losses()


def own_state(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Returns this layer's own variables that no gradient changes, such as moving averages."""
    # `Layer.non_trainable_variables` also has those of inner layers, and frozen weights.
    return layer._non_trainable_variables


def own_seed_generators(layer: keras.layers.Layer) -> list[keras.random.SeedGenerator]:
    """Returns this layer's own seed generators."""
    # Keras tracks them, but its public names give only the variables of their states.
    return layer._seed_generators


def replace_layer(model: keras.Model, name: str, layer: keras.layers.Layer) -> None:
    """Sets `model.name` to `layer`, in the place of the layer that the attribute held.

    A plain assignment would append it. The order of the layers is the order of the weights.
    """
    # Keras tracks layers in the order of their assignment, and offers no way to choose the place.
    place = model._layers.index(getattr(model, name))
    setattr(model, name, layer)
    model._layers.remove(layer)
    model._layers[place] = layer


def replace_moments(
    layer: keras.layers.BatchNormalization, moments: Callable[[Any, Any], tuple[Any, Any]]
) -> None:
    """Makes batch normalization use `moments(x, mask)`, which returns the mean and variance."""
    # Users choose the layers of their encoder, so a subclass of ours cannot replace them.
    layer._moments = moments


def has_own_moments(layer: keras.layers.BatchNormalization) -> bool:
    """Whether `replace_moments`, or a subclass, has changed how a layer takes moments."""
    stock = keras.layers.BatchNormalization._moments
    return "_moments" in vars(layer) or type(layer)._moments is not stock


@contextlib.contextmanager
def called_as(layer: keras.layers.Layer, call: Callable[..., Any]) -> Iterator[None]:
    """Opens a scope in which `call` takes the place of a layer's own."""
    # Not by `setattr`, which Keras and TensorFlow override to track what is set.
    vars(layer)["call"] = call
    try:
        yield
    finally:
        vars(layer).pop("call", None)  # Replicas' threads open such scopes in turns.


# --- Models --------------------------------------------------------------------------------------


def compiled_metrics(model: keras.Model) -> keras.metrics.Metric | None:
    """Returns the metrics given to `compile` as one metric, or `None` if there are none."""
    # `Model.metrics` mixes them with all others, and our override of it needs them.
    return model._compile_metrics


def metrics_as_given(model: keras.Model) -> Any:
    """Returns the `metrics` given to `compile`, as they were given."""
    # `get_compile_config` serializes them, which not every metric supports.
    metrics = compiled_metrics(model)
    return None if metrics is None else metrics._user_metrics


def automatic_jit(model: keras.Model) -> bool:
    """What `compile(jit_compile="auto")` means for a model here; Keras keeps only the result."""
    return bool(model._resolve_auto_jit_compile())


def own_strategy(model: keras.Model) -> Any:
    """Returns the `tf.distribute` strategy that the model was created in, or `None`."""
    # If there is none, `Model.distribute_strategy` gives the current one.
    return getattr(model, "_distribute_strategy", None)  # Only on TensorFlow.


def forget_initial_epoch(model: keras.Model) -> None:
    """Makes the next fit begin at its own `initial_epoch`, after one that was restored."""
    # Keras keeps the epoch that `BackupAndRestore` restored, and would begin all later fits there.
    model._initial_epoch = None


def build_for(model: keras.Model, data_batch: Any) -> None:
    """Builds what `compile` was given, such as metrics, for a batch or its specification."""
    # Keras does this when `fit` begins, on a batch that it draws and averages over replicas.
    model._symbolic_build(data_batch=data_batch)


def is_within_fit(arguments: Mapping[str, Any]) -> bool:
    """Whether `fit` called `evaluate` with these arguments, at the end of an epoch."""
    # Only this argument tells the call of `fit` from a user's.
    return bool(arguments.get("_use_cached_eval_dataset"))


# --- Optimizers ----------------------------------------------------------------------------------


def unscaled(optimizer: Any) -> Any:
    """Returns the optimizer inside a `LossScaleOptimizer`; any other is returned as it is."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def schedule_of(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Returns the schedule of the learning rate, or `None` if it is a number or a function."""
    # `Optimizer.learning_rate` gives only the schedule's current value.
    rate = getattr(unscaled(optimizer), "_learning_rate", None)
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None


@contextlib.contextmanager
def schedule_read_once(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """A scope of one step, on one replica, in which the optimizer's schedule is computed once."""
    # Keras computes it again for every variable that decays: seventy times a step for ResNet-8.
    optimizer = unscaled(optimizer)
    schedule = schedule_of(optimizer)
    if schedule is None:
        yield
        return
    optimizer._learning_rate = optimizer.learning_rate
    try:
        yield
    finally:
        optimizer._learning_rate = schedule


def clipped(optimizer: keras.optimizers.Optimizer, gradients: Sequence[Any]) -> list[Any]:
    """Returns the gradients, clipped as the optimizer's arguments say."""
    # `apply_gradients` clips only the gradients of one replica.
    return optimizer._clip_gradients(gradients)


def variable_index(optimizer: keras.optimizers.Optimizer, variable: Any) -> int:
    """Returns the index of a variable among those that the optimizer was built with."""
    # All of Keras' own optimizers get it this way; `update_step` receives only the variable.
    return optimizer._get_variable_index(variable)


def moments_of(optimizer: keras.optimizers.Adam, variable: Any) -> tuple[Any, Any]:
    """Returns Adam's two moving averages of a variable's gradient, as TensorFlow's variables."""
    # `Optimizer.variables` has them among all others, in an order that Keras does not document.
    index = variable_index(optimizer, variable)
    return optimizer._momentums[index].value, optimizer._velocities[index].value


def decays(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Whether an optimizer makes a variable decay, apart from its gradient."""
    return optimizer.weight_decay is not None and may_decay(optimizer, variable)


def may_decay(optimizer: keras.optimizers.Optimizer, variable: Any) -> bool:
    """Whether `exclude_from_weight_decay` leaves a variable in."""
    # There is no public counterpart that tells what was excluded.
    return optimizer._use_weight_decay(variable)


def has_own_decay(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether the class of an optimizer decays weights in a way of its own, as Muon does."""
    own = type(optimizer)._apply_weight_decay
    return own is not keras.optimizers.Optimizer._apply_weight_decay


def replace_update(
    optimizer: keras.optimizers.Optimizer, update_step: Callable[[Any, Any, Any], None]
) -> None:
    """Makes an optimizer call `update_step`, which also does the weight decay."""
    # Users choose the optimizer, so a subclass of ours cannot replace its methods. Keras decays all
    # variables with one learning rate, before it updates them. Not by `setattr`, which Keras and
    # TensorFlow override to track what is set.
    own = vars(optimizer)
    own["update_step"], own["_apply_weight_decay"] = update_step, lambda variables: None
    if keras.backend.backend() == "torch":
        # There, Keras' own optimizers step on all variables at once, and call no `update_step`.
        own["_backend_update_step"] = functools.partial(_update_each, update_step)


def _update_each(
    update_step: Callable[[Any, Any, Any], None],
    gradients: Sequence[Any],
    variables: Sequence[Any],
    learning_rate: Any,
) -> None:
    for gradient, variable in zip(gradients, variables, strict=True):
        update_step(gradient, variable, learning_rate)


def has_own_update(optimizer: keras.optimizers.Optimizer) -> bool:
    """Whether `replace_update` has changed an optimizer."""
    return "update_step" in vars(optimizer)


@contextlib.contextmanager
def updated_by(
    optimizer: keras.optimizers.Optimizer, update_step: Callable[[Any, Any, Any], None]
) -> Iterator[None]:
    """Opens a scope of `replace_update`."""
    replace_update(optimizer, update_step)
    try:
        yield
    finally:
        for name in ("update_step", "_apply_weight_decay"):
            del vars(optimizer)[name]


def optimizer_config(config: Any) -> Any:
    """Returns a config with the public names of optimizers, in it or in what it holds."""
    # On PyTorch, Keras writes those of private modules, which exist on no other backend.
    if not isinstance(config, dict):
        return config
    config = {name: optimizer_config(value) for name, value in config.items()}
    if str(config.get("module", "")).startswith("keras.src.backend.torch.optimizers"):
        config["module"], config["registered_name"] = "keras.optimizers", None
    return config


# --- TensorFlow ----------------------------------------------------------------------------------


@functools.cache
def functions_of_tensorflow() -> Any:
    """Returns `keras.ops`, or on other backends the same functions for tensors of TensorFlow."""
    # The graphs of tf.data are TensorFlow's on any backend, and `keras.ops` is the backend's. The
    # preprocessing layers of Keras switch in this way.
    if keras.backend.backend() == "tensorflow":
        return keras.ops
    module = importlib.import_module("keras.src.backend.tensorflow")
    return types.SimpleNamespace(**{**vars(module), **vars(module.nn), **vars(module.numpy)})


def not_translated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a function for `tf.autograph` as one that it calls as it is, without TensorFlow."""
    # `do_not_convert`, by its `autograph_artifact`, does this where TensorFlow is loaded.
    function.autograph_info__ = {}  # type: ignore[attr-defined]
    return function


def inputs_of(dataset: Any) -> Sequence[Any]:
    """Returns the data sets that a `tf.data.Dataset` was made from; none for anything else."""
    # There is no public name. Without this one, epochs would still differ from each other, as in
    # any other model.
    return getattr(dataset, "_inputs", tuple)()


def gather_apart(strategy: Any, x: Any) -> Any:
    """Returns the rows of `x` of all replicas, inside a `merge_call`, without a gradient."""
    import tensorflow as tf

    # `all_gather` does this and adds a gradient. For that gradient TensorFlow walks back through
    # the graphs of all replicas at every call.
    options = tf.distribute.experimental.CommunicationOptions()
    return strategy.extended._batch_gather_to([(x, x)], 0, options)[0]


def replicas_have_own_collectives() -> bool:
    """Whether replicas communicate from within their own graphs, as GPUs under XLA do."""
    import tensorflow as tf

    # TensorFlow exports this only to Keras, whose `LossScaleOptimizer` uses it in the same way.
    return tf.__internal__.distribute.strategy_supports_no_merge_call()


def cross_device_ops(strategy: Any) -> Any:
    """Returns what reduces over the devices of a `MirroredStrategy`; `None` for the default."""
    # It is an argument of the strategy, which has no public attribute for it.
    return getattr(strategy.extended, "_cross_device_ops", None)


def spec_of_one_replica(spec: Any) -> Any:
    """Returns the first replica's part of a specification, or the whole if it has no parts."""
    # The `element_spec` of a distributed data set is public, but its content is not.
    return getattr(spec, "_value_specs", [spec])[0]


@contextlib.contextmanager
def forgotten_gradients() -> Iterator[None]:
    """A scope at whose end TensorFlow forgets the custom gradients that were defined in it.

    Every graph that calls a function with a custom gradient registers it in a table that TensorFlow
    keeps as long as the process lives, and the gradient keeps the graph. A process that trains many
    models loses some 10 MiB for each. Gradients that were taken inside the scope keep working, but
    a graph that was traced inside it cannot be differentiated again outside it.
    """
    if not is_loaded():
        yield
        return
    from tensorflow.python.framework import ops as tf_ops

    # There is no public way to reach the table, and without it only memory is lost.
    table = getattr(getattr(tf_ops, "gradient_registry", None), "_registry", {})
    before = set(table)
    try:
        yield
    finally:
        for name in set(table) - before:
            if name.startswith("CustomGradient"):
                del table[name]


# --- keras-tuner, which the caller has imported --------------------------------------------------


def trial_folder(oracle: Any, trial_id: str) -> str:
    """Returns the folder of a trial, and creates it if it is missing."""
    # A `Tuner` has public names for both folders. An oracle, which saves the trials, has none.
    return oracle._get_trial_dir(trial_id)


def project_folder(oracle: Any) -> str:
    """Returns the folder of all trials, and creates it if it is missing."""
    return oracle._project_dir


def retry_queue(oracle: Any) -> list[str]:
    """Returns the list, not a copy, of the trials that will run again; the next one is last."""
    # `max_retries_per_trial` fills it. No public name can add a trial that was interrupted.
    return oracle._retry_queue


def record_values(oracle: Any, trial: Any) -> None:
    """Tells a search not to draw the values of a trial again."""
    # The oracle does this for trials that it created; ours come from the trials' files.
    oracle._record_values(trial)
