"""What `fit` of a method does in addition to Keras' own: checks of its input, and epochs."""

import contextlib
import inspect
import math
import numbers
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

from keras_ssl._backend import is_dataset
from keras_ssl._keras import schedule_of, unscaled
from keras_ssl._tensorflow import is_loaded, tf
from keras_ssl.data import Epochs, ImageSet, Splits
from keras_ssl.data.without_tensorflow import Batches

# Points of a schedule to look at: enough to tell a warm-up from a schedule that has ended.
_LOOKS_AT_SCHEDULE = 32


def named_arguments(method: Callable[..., Any], *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Returns the arguments of a call of one of `keras.Model`'s methods, by name."""
    arguments = inspect.signature(method).bind(None, *args, **kwargs).arguments
    arguments.update(arguments.pop("kwargs", {}))
    arguments.pop("self")
    return arguments


# --- The data ------------------------------------------------------------------------------------


def check_no_strategy() -> None:
    """Raises a `ValueError` if a strategy of TensorFlow is open, which another backend ignores."""
    if keras.backend.backend() == "tensorflow":
        return
    if is_loaded() and tf.distribute.has_strategy():
        raise ValueError(
            "A strategy of `tf.distribute` does nothing on another backend of Keras than "
            "TensorFlow: use keras.distribution on JAX. Received: a strategy, on the backend "
            f"{keras.backend.backend()}"
        )


def check_numbers(call: Mapping[str, Any], initial_step: Any) -> None:
    """Raises a `ValueError` if epochs or steps are not whole numbers of at least 0."""
    counts = {
        "epochs": call.get("epochs", 1),
        "initial_epoch": call.get("initial_epoch", 0),
        "initial_step": initial_step,
    }
    for name, value in counts.items():
        if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 0:
            raise ValueError(
                f"`{name}` must be a whole number of at least 0. Received: {name}={value!r}"
            )
    check_weights(call.get("sample_weight"))


def check_weights(sample_weight: Any) -> None:
    """Raises a `ValueError` if there are weights of samples."""
    if sample_weight is not None:
        raise ValueError("`sample_weight` has no meaning for criteria of whole batches.")


def check_source(x: Any, name: str = "x") -> None:
    """Raises a `TypeError` if the data are not batches of views, but images for example."""
    if x is None:
        raise TypeError(f"`{name}` must be batches of views. Received: {name}=None")
    if isinstance(x, (ImageSet, Splits)):
        raise TypeError(
            f"`{name}` must be batches of views: make them with keras_ssl.data.make_views(images, "
            f"policy, batch_size). Received: {name} of type {type(x).__name__}"
        )


def look_at(call: dict[str, Any], is_built: bool = False) -> Any:
    """Returns the first batch of the data in `call`, or its shapes and dtypes if they are enough.

    A generator yields its first batch only once, so `call` gets a new one that yields it again. At
    a loader of another library it looks only for a model that is not built.

    Returns:
        A structure as in a training step, or `None` for another kind of data.
    """
    x: Any = call.get("x")
    if is_dataset(x):
        if isinstance(getattr(x, "epochs", None), Epochs):
            return x.element_spec  # From `make_views`: policies check their images themselves.
        return next(iter(x.take(1)), None)
    if isinstance(x, keras.utils.PyDataset):
        return x[0]
    if isinstance(x, types.GeneratorType):
        first = next(x, None)
        call["x"] = _put_back(first, x)
        return first
    leaves = keras.tree.flatten(x)
    if leaves and all(hasattr(leaf, "shape") for leaf in leaves):
        return (x,) if call.get("y") is None else (x, call["y"])
    return None if is_built else _first_of_loader(x)


def rows_of_batches(call: Mapping[str, Any], batch: Any) -> int | None:
    """Returns the rows of a whole batch of the data in `call`, or `None` if it is unknown.

    Args:
        call: Arguments of `fit`.
        batch: What `look_at` found.

    Raises:
        ValueError: if the last batch of arrays would hold a single image.
    """
    rows = keras.tree.flatten(batch)[0].shape[0]
    leaves = keras.tree.flatten(call.get("x"))
    if is_dataset(call.get("x")) or not all(hasattr(leaf, "shape") for leaf in leaves):
        return rows
    size = call.get("batch_size") or 32  # Keras' own default.
    split = call.get("validation_split") or 0.0
    rows = math.floor(rows * (1 - split))  # as Keras rounds it
    if rows > 1 and rows % size == 1 and call.get("steps_per_epoch") is None:
        raise ValueError(
            "Every batch must hold at least 2 images, and the last one would hold 1: leave out an "
            f"image, or choose another `batch_size`. Received: {rows} images, batch_size={size}"
        )
    return min(size, rows)


def _first_of_loader(x: Any) -> Any:
    """Returns the first batch of a loader of Grain or PyTorch, which begins anew each time."""
    packages = {kind.__module__.partition(".")[0] for kind in type(x).__mro__}
    if "grain" in packages:
        return next(iter(x), None)
    if "torch" not in packages or not hasattr(x, "dataset"):
        return None
    import torch

    if isinstance(x.dataset, torch.utils.data.IterableDataset):
        return None  # It may have its images only once.
    own = [x.generator] if getattr(x, "generator", None) is not None else []
    states = [generator.get_state() for generator in own]
    try:
        with torch.random.fork_rng(devices=[]):  # A look draws nothing that training would draw.
            return next(iter(x), None)
    finally:
        for generator, state in zip(own, states, strict=True):
            generator.set_state(state)


def _put_back(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    if first is not None:
        yield first
    # Not by `yield from`, which would close the user's generator when Keras drops this one.
    for batch in rest:  # noqa: UP028
        yield batch


def give_own_batches(call: dict[str, Any]) -> None:
    """Gives a call its own copy of `Batches`, which hold the epoch that they are in.

    Otherwise an `evaluate` on the same batches within an epoch of `fit` would change that epoch.
    """
    x = call.get("x")
    if not isinstance(x, Batches):
        return
    call["x"] = x.take(len(x))
    if call.get("shuffle"):
        warnings.warn(
            "`shuffle=True` is ignored: batches of make_views have a new order in every epoch.",
            stacklevel=3,
        )
        call["shuffle"] = False


def check_range(views: Any) -> None:
    """Raises a `ValueError` if floats look like bytes: images from 0 to more than 2.

    Args:
        views: Structure of arrays or tensors. Only images, (N, height, width, channels), are
            checked, and at most 256 of them.
    """
    for view in keras.tree.flatten(views):
        if not hasattr(view, "__array__") or len(view.shape) != 4:  # a specification
            continue
        pixels = keras.ops.convert_to_numpy(view[:256])
        if not np.issubdtype(pixels.dtype, np.floating) or not pixels.size:
            continue
        low, high = float(pixels.min()), float(pixels.max())
        if low >= 0 and high > 2:
            raise ValueError(
                "Views must be floats in [0, 1], or standardized: these look like bytes. Divide "
                "them by 255; or, if the values are intended, pass check_range=False. "
                f"Received: floats from {low:g} to {high:g}"
            )


# --- Epochs --------------------------------------------------------------------------------------


class HoldEpochs(keras.callbacks.Callback):
    """Tells the sources of the data which epoch begins. It must be the first callback."""

    def __init__(self, sources: list[Epochs]) -> None:
        super().__init__()
        self.sources = sources

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the sources to the epoch, which a callback may have restored."""
        for source in self.sources:
            source.held = epoch


@contextlib.contextmanager
def held(sources: list[Epochs], epoch: int) -> Iterator[None]:
    """A scope in which all sources are at a given epoch. Afterwards they are where they were."""
    with contextlib.ExitStack() as stack:
        for source in sources:
            stack.enter_context(source.at(epoch))
        yield


class OneTraining(keras.callbacks.CallbackList):
    """The callbacks of a fit that Keras does in two parts: the rest of an epoch, and other epochs.

    For the callbacks, training begins and ends once, and batches are numbered as in a whole epoch.
    The metrics of the first epoch continue from their values in the saved model, although Keras
    resets them at the beginning of every epoch.
    """

    def __init__(self, callbacks: Any, model: Any, initial_step: int, **params: Any) -> None:
        self.is_first = self.is_last = False
        self._initial_step = initial_step
        self._figures = model.figures_so_far()
        super().__init__(callbacks, model=model, initial_step=initial_step, **params)

    def on_train_begin(self, logs: Any = None) -> None:
        """Begins the training once."""
        if self.is_first:
            super().on_train_begin(logs)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Restores the metrics of the epoch so far."""
        for variable, value in self._figures if self.is_first else ():
            variable.assign(value)
        super().on_epoch_begin(epoch, logs)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Counts the batches of the epoch, including those before `initial_step`."""
        super().on_train_batch_begin(batch + self._offset, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the batches of the epoch in the same way."""
        super().on_train_batch_end(batch + self._offset, logs)

    @property
    def _offset(self) -> int:
        return self._initial_step if self.is_first else 0

    def on_train_end(self, logs: Any = None) -> None:
        """Ends the training once."""
        if self.is_last or self.model.stop_training:
            super().on_train_end(logs)


@contextlib.contextmanager
def keeps_weights(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """A scope in which the end of `fit` is not the end of training.

    With `use_ema`, Keras then puts moving averages in the place of the weights.
    """
    own = vars(optimizer)  # Not by `setattr`, which Keras overrides to track what is set.
    own["finalize_variable_values"] = lambda variables: None
    try:
        yield
    finally:
        del own["finalize_variable_values"]


def fit_from_step(
    fit: Callable[..., Any], model: keras.Model, call: dict[str, Any], initial_step: int
) -> Any:
    """Runs `fit(**call)`, with a first epoch that begins at batch `initial_step`."""
    x, epoch, epochs = call["x"], call.get("initial_epoch", 0), call.get("epochs", 1)
    rest = (x.starting_at if hasattr(x, "starting_at") else x.skip)(initial_step)
    verbose = call.get("verbose", "auto")
    callbacks = OneTraining(
        call.get("callbacks"),
        model,
        initial_step,
        add_history=True,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=batches_of_epoch(x),
    )
    call = {**call, "callbacks": callbacks}
    callbacks.is_first, callbacks.is_last = True, epoch + 1 == epochs
    with contextlib.nullcontext() if callbacks.is_last else keeps_weights(model.optimizer):
        history = fit(**{**call, "x": rest, "epochs": epoch + 1})
    if callbacks.is_last:
        return history
    if model.stop_training:  # This was the end after all.
        model.optimizer.finalize_variable_values(model.trainable_weights)
    else:
        callbacks.is_first, callbacks.is_last = False, True
        history = fit(**{**call, "initial_epoch": epoch + 1})
    return history


def settle_steps(call: dict[str, Any], sources: list[Epochs], initial_step: int) -> None:
    """Limits every epoch to its first `steps_per_epoch` batches, if that argument is given.

    Without this, Keras would continue within the same epoch after that many steps.

    Raises:
        ValueError: if a number of steps does not fit the epochs of the data.
    """
    x: Any = call.get("x")
    steps = batches_of_epoch(x)
    if sources and steps is not None and steps < 0:
        raise ValueError(
            "`x` must have epochs that end, of a known number of batches: leave out `.repeat()`, "
            "every epoch is different anyway; where TensorFlow cannot know the number, say it with "
            f"tf.data.experimental.assert_cardinality. Received: a cardinality of {steps}"
        )
    if sources and x is not None and steps is not None and "steps_per_epoch" in call:
        given: Any = call.pop("steps_per_epoch")
        given = steps if given is None else given
        is_whole = isinstance(given, numbers.Integral) and not isinstance(given, bool)
        if not is_whole or not 1 <= int(given) <= steps:
            raise ValueError(
                "`steps_per_epoch` must be None, as an epoch ends with the images, or a whole "
                "number up to its batches. Received: "
                f"steps_per_epoch={given}, for epochs of {steps} batches"
            )
        call["x"], steps = x if given == steps else x.take(given), given
    elif sources and call.get("steps_per_epoch") is not None:
        raise ValueError(
            "`steps_per_epoch` must be None for batches whose number cannot be changed: an epoch "
            f"ends with them. Received: steps_per_epoch={call['steps_per_epoch']}, for "
            f"{type(x).__name__}"
        )
    if initial_step == 0:
        return
    if not sources or steps is None or not 0 < initial_step < steps:
        raise ValueError(
            "`initial_step` must be the number of a batch in the first epoch, from 0, and needs "
            f"batches made by keras_ssl.data.make_views. Received: initial_step={initial_step}, "
            f"for epochs of {steps} batches"
        )
    if call.get("epochs", 1) <= call.get("initial_epoch", 0):
        raise ValueError(
            "`epochs` must be above initial_epoch, the epoch that initial_step belongs to. "
            f"Received: epochs={call.get('epochs', 1)}, "
            f"initial_epoch={call.get('initial_epoch', 0)}, initial_step={initial_step}"
        )


def batches_of_epoch(x: Any) -> int | None:
    """Returns the batches of an epoch of a source that can be cut; negative if there is no end."""
    if is_dataset(x):
        return int(x.cardinality())
    return len(x) if isinstance(x, Batches) else None


def count_steps(call: Mapping[str, Any]) -> int | None:
    """Returns the number of steps of a fit, or `None` if it is unknown before the end."""
    x: Any = call.get("x")
    steps = call.get("steps_per_epoch")
    if steps is None and is_dataset(x):
        steps = batches_of_epoch(x)
    elif steps is None and isinstance(x, keras.utils.PyDataset):
        steps = x.num_batches
    epochs = call.get("epochs", 1) - call.get("initial_epoch", 0)
    return steps * max(epochs, 0) if steps is not None and steps >= 0 else None


# --- The optimizer -------------------------------------------------------------------------------


def check_optimizer(optimizer: keras.optimizers.Optimizer | None) -> None:
    """Raises a `ValueError` if an option of the optimizer would change what is trained.

    Args:
        optimizer: The model's optimizer, or `None`, which Keras handles.
    """
    optimizer = unscaled(optimizer)
    # Those of a `keras.optimizers.MultiOptimizer`, or the optimizer itself.
    several = getattr(optimizer, "optimizers", None) or [optimizer]
    steps = max(getattr(one, "gradient_accumulation_steps", None) or 0 for one in several)
    if steps:
        raise ValueError(
            "`gradient_accumulation_steps` must be None: the criterion would only compare images "
            "within each small batch, which is a different loss. For batches larger than memory, "
            "see the model's `micro_batch_size`. "
            f"Received: gradient_accumulation_steps={steps}"
        )


def warn_if_nothing_will_be_learned(
    optimizer: keras.optimizers.Optimizer, steps: int | None
) -> None:
    """Warns if the learning rate is 0 in every step of a fit, for example after its schedule.

    Args:
        optimizer: The optimizer.
        steps: Steps of the fit, or `None` if unknown.
    """
    optimizer = unscaled(optimizer)
    schedule = schedule_of(optimizer)
    if steps == 0 or schedule is None:
        return  # There are no steps, or the rate is a number, which a callback may change.
    done = int(optimizer.iterations)
    # A fit of unknown length may be a short one.
    last = _LOOKS_AT_SCHEDULE if steps is None else steps
    looks = done + np.linspace(0, last - 1, _LOOKS_AT_SCHEDULE).astype(int)
    if not any(float(schedule(step)) for step in np.unique(looks)):
        warnings.warn(
            f"The learning rate is 0 in every step of this fit: the optimizer has done {done} "
            "steps, and its schedule is over. Nothing will be learned; compile the model with an "
            "optimizer that has a new schedule.",
            stacklevel=3,
        )
