"""The steps of a method on JAX: functions of all state, which return the state after the step.

Keras keeps the values of all variables in four lists while it trains: those of trainable variables,
of others, of the optimizer and of metrics. In a `keras.StatelessScope` on them, the same code as on
other backends reads and assigns these values instead of the variables.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import keras
from jax import numpy as jnp

from keras_ssl._tensors import Tensor
from keras_ssl.training.one_program import OneProgramModel, check_micro_batches

# The values of `_variables`, in the same order.
State = Sequence[list[Tensor]]


class Trainer(OneProgramModel):
    """See `keras_ssl.training.trainer`."""

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.fit`. A batch that is refused leaves the model as it was."""
        if self.built and self.optimizer is not None and not self.optimizer.built:
            self.optimizer.build(self.trainable_variables)
        with _kept(self):
            return super().fit(*args, **kwargs)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.evaluate`, and `fit`."""
        with _kept(self):
            return super().evaluate(*args, **kwargs)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """See `keras.Model.predict`, and `fit`."""
        with _kept(self):
            return super().predict(*args, **kwargs)

    def train_step(self, state: State, data: Any) -> tuple[dict[str, Tensor], State]:
        """Does one training step on `((view_1, view_2), labels)`."""
        with scope(self, state) as values:
            x, labels = self.unpacked(data)
            state = values()
        if self.micro_batch_size is None:
            representations, gradients, state = self._gradients(state, x)
        else:
            representations, gradients, state = _cached_gradients(self, state, x)
        with scope(self, state) as values:
            self.finish_step(gradients, representations, labels)
            logs = self.get_metrics_result()
        return logs, values()

    def test_step(self, state: State, data: Any) -> tuple[dict[str, Tensor], State]:
        """Evaluates the loss, its terms and the probe on `((view_1, view_2), labels)`."""
        weights, others, metrics = state
        with scope(self, (weights, others, [], metrics)) as values:
            x, labels = self.unpacked(data)
            if self.micro_batch_size is None:
                representations, embeddings = self.embed(x, training=False)
            else:
                (representations, embeddings), after = _embed_in_parts(self, values(), x)
                for variable, value in zip(self.metrics_variables, after, strict=True):
                    variable.assign(value)
            self.finish_evaluation(x, embeddings, representations, labels)
            logs = self.get_metrics_result()
        weights, others, _, metrics = values()
        return logs, (weights, others, metrics)

    def _gradients(self, state: State, x: Tensor) -> tuple[Tensor, list[Tensor], State]:
        """Returns representations, gradients and the state afterwards, all images at once."""
        weights, *rest = state

        def loss(weights: list[Tensor]) -> tuple[Tensor, Any]:
            with scope(self, (weights, *rest)) as values:
                representations, embeddings = self.embed(x, training=True)
                return self.scaled_loss(x, embeddings), (representations, values()[1:])

        gradients, (representations, rest) = jax.grad(loss, has_aux=True)(weights)
        return representations, gradients, (weights, *rest)

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' hook: makes the function that trains."""
        if jax.process_count() > 1:
            raise ValueError(
                "On JAX, one process must have all devices: several have not been tried. "
                f"Received: {jax.process_count()} processes"
            )
        return super().make_train_function(force)

    @property
    def non_trainable_variables(self) -> list[keras.Variable]:
        """Keras' list, and the variables of the probe's optimizer: Keras keeps no other state."""
        probe = getattr(self, "probe", None)
        return [*super().non_trainable_variables, *(probe.optimizer.variables if probe else ())]


@contextlib.contextmanager
def _kept(model: Any) -> Iterator[None]:
    """Opens a scope whose errors leave the values of a model's variables, and read well.

    Keras takes the values out of the variables before it traces a step. What interrupts `evaluate`
    or `predict` within a step that runs still takes them along: JAX has given their memory away.
    """
    variables = list(itertools.chain(*_variables(model, model.optimizer is not None)))
    before = [variable.value for variable in variables]
    try:
        yield
    except BaseException as error:  # Ctrl-C, too: a first step may compile for half a minute.
        if any(value.is_deleted() for value in before):
            # Of a step that ran, the values before it are gone. Only `fit` puts back the others.
            model.jax_state_sync()
        for variable, value in zip(variables, before, strict=True):
            if not value.is_deleted() and not _has_value(variable):
                variable.assign(value)
        if type(error).__name__ != "IndivisibleError":
            raise
        devices = keras.distribution.distribution().device_mesh.shape[0]
        raise ValueError(
            f"Every batch must be a multiple of the {devices} devices that share it, also the last "
            f"one. Received: {str(error)[:300]}"
        ) from error


def _variables(model: Any, with_optimizer: bool) -> tuple[list[keras.Variable], ...]:
    """Returns the four lists of variables whose values are a state."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables if with_optimizer else [],
        model.metrics_variables,
    )


def _has_value(variable: keras.Variable) -> bool:
    try:
        return not variable.value.is_deleted()
    except TypeError:  # Keras looks for an initializer, which a variable has only once.
        return False


@contextlib.contextmanager
def scope(model: Trainer, state: State) -> Any:
    """Opens a scope in which a model's variables have the values of a state.

    Yields:
        A function that returns the state at the time of its call.
    """
    variables = _variables(model, bool(state[2]))
    mapping = [
        pair
        for some, values in zip(variables, state, strict=True)
        for pair in zip(some, values, strict=True)
    ]
    with keras.StatelessScope(state_mapping=mapping, collect_losses=True) as stateless:
        yield lambda: tuple([stateless.get_current_value(v) for v in some] for some in variables)


def embedder(model: Any, views: tuple[Any, ...]) -> Callable[[Any], Any]:
    """See `keras_ssl.training.trainer`."""

    @jax.jit
    def embed(values: list[Tensor], views: Tensor) -> Tensor:
        pairs = list(zip(model.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return model.embed(views, training=True)

    return lambda views: embed([v.value for v in model.variables], views)


def differentiated(
    model: Any, function: Callable[[Any], dict[str, Tensor]]
) -> Callable[[tuple[Tensor, ...]], tuple[dict[str, Tensor], dict[str, Any]]]:
    """See `keras_ssl.training.trainer`."""

    def twice(tensors: tuple[Tensor, ...], values: list[Tensor]) -> tuple[Any, Any]:
        with keras.StatelessScope(zip(model.variables, values, strict=True)):
            scalars = function(tensors)
        return scalars, scalars

    # Without it, JAX would compile each loop of a criterion again at every look.
    slopes_and_values = jax.jit(jax.jacrev(twice, has_aux=True))

    def values_and_slopes(tensors: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        slopes, values = slopes_and_values(tensors, [v.value for v in model.variables])
        return values, slopes

    return values_and_slopes


# --- Gradient caching: see keras_ssl.training.gradient_caching ------------------------------------


def _cached_gradients(model: Any, state: State, x: Tensor) -> tuple[Tensor, list[Tensor], State]:
    """Does what `_gradients` does, with `model.micro_batch_size` images at a time."""
    weights, before, optimizer, metrics = state
    parts = _split(x, model.micro_batch_size)
    count = len(jax.tree.leaves(parts)[0])

    def renewed(after: list[Tensor]) -> list[Tensor]:
        # Moving averages begin anew with each micro-batch; others, such as seeds, go on.
        return [b if _is_averaged(b) else a for a, b in zip(after, before, strict=True)]

    def embed(others: list[Tensor], part: Tensor) -> tuple[list[Tensor], Any]:
        with scope(model, (weights, others, optimizer, metrics)) as values:
            outputs = model.embed(part, training=True)
            return renewed(values()[1]), outputs

    _, outputs = jax.lax.scan(embed, before, parts)
    representations, embeddings = _joined(outputs)

    def loss(embeddings: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor]]:
        with scope(model, state) as values:
            return model.scaled_loss(x, embeddings), values()[3]

    slopes, metrics_after = jax.grad(loss, has_aux=True)(embeddings)

    def pull(carry: Any, part_and_slopes: Any) -> tuple[Any, None]:
        others, figures, gradients, sums = carry
        part, slopes = part_and_slopes

        def outputs(weights: list[Tensor]) -> tuple[Any, tuple[list[Tensor], list[Tensor]]]:
            with scope(model, (weights, others, optimizer, figures)) as values:
                _, z = model.embed(part, training=True)
                # In total, regularizers of weights count once, and those of activations are
                # averaged.
                rest = model.optimizer.scale_loss(model.layer_loss() / count)
                return (z, rest), (values()[1], values()[3])

        (_, rest), pullback, (after, figures) = jax.vjp(outputs, weights, has_aux=True)
        (added,) = pullback((slopes, jnp.ones_like(rest)))
        gradients = [g + a for g, a in zip(gradients, added, strict=True)]
        sums = [s + (a - b) for s, a, b in zip(sums, after, before, strict=True)]
        return (renewed(after), figures, gradients, sums), None

    nothing = [jnp.zeros_like(w) for w in weights], [jnp.zeros_like(b) for b in before]
    # Metrics that layers hold see each image once: in this pass, and not in the first one.
    (others, metrics_after, gradients, sums), _ = jax.lax.scan(
        pull, (before, metrics_after, *nothing), (parts, _split(slopes, model.micro_batch_size))
    )
    others = [
        b + s / count if _is_averaged(b) else o
        for b, s, o in zip(before, sums, others, strict=True)
    ]
    return representations, gradients, (weights, others, optimizer, metrics_after)


def _embed_in_parts(model: Any, state: State, x: Tensor) -> tuple[Any, list[Tensor]]:
    """Does `model.embed(x)` in inference mode, `model.micro_batch_size` images at a time.

    Returns:
        What `embed` returns, and the values of the metrics, which layers may hold.
    """
    weights, others, optimizer, metrics = state

    def embed(metrics: list[Tensor], part: Tensor) -> tuple[list[Tensor], Any]:
        # Losses that layers add here are left out, as on TensorFlow.
        with scope(model, (weights, others, optimizer, metrics)) as values:
            outputs = model.embed(part, training=False)
            return values()[3], outputs

    metrics, outputs = jax.lax.scan(embed, metrics, _split(x, model.micro_batch_size))
    return _joined(outputs), metrics


def _is_averaged(state: Tensor) -> bool:
    return jnp.issubdtype(state.dtype, jnp.floating)


def _split(x: Tensor, size: int) -> Tensor:
    """Returns each array (N, ...) of a structure as (N / size, size, ...)."""
    rows = len(jax.tree.leaves(x)[0])
    check_micro_batches(rows, size)
    return jax.tree.map(lambda a: a.reshape(-1, size, *a.shape[1:]), x)


def _joined(x: Tensor) -> Tensor:
    """Does the inverse of `_split`."""
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), x)
