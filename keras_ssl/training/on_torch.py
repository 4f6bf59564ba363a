"""The steps of a method on PyTorch."""

from collections.abc import Callable
from typing import Any

import keras
import torch

from keras_ssl._keras import clear_losses, layer_metrics
from keras_ssl._tensors import Tensor
from keras_ssl.training.one_program import OneProgramModel, check_micro_batches


class Trainer(OneProgramModel):
    """See `keras_ssl.training.trainer`."""

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """Does one training step on `((view_1, view_2), labels)`."""
        x, labels = self.unpacked(data)
        if self.micro_batch_size is None:
            representations, gradients = self._gradients(x)
        else:
            representations, gradients = _cached_gradients(self, x)
        with torch.no_grad():
            self.finish_step(gradients, representations, labels)
            return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """Evaluates the loss, its terms and the probe on `((view_1, view_2), labels)`."""
        x, labels = self.unpacked(data)
        parts = _split(x, self.micro_batch_size)
        with torch.no_grad():
            outputs = [self.embed(part, training=False) for part in parts]
            representations, embeddings = _joined(outputs)
            if len(parts) > 1:
                clear_losses(self)  # As on TensorFlow, not those of the last part alone.
            self.finish_evaluation(x, embeddings, representations, labels)
            return self.get_metrics_result()

    def _gradients(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Returns representations and gradients, all images at once."""
        representations, embeddings = self.embed(x, training=True)
        loss = self.scaled_loss(x, embeddings)
        return representations, _gradient(loss, self.trainable_weights)


def embedder(model: Any, views: tuple[Any, ...]) -> Callable[[Any], Any]:
    """See `keras_ssl.training.trainer`."""

    def embed(views: Tensor) -> Tensor:
        generators = _generators()
        # The scope receives assignments, and is dropped.
        with torch.no_grad(), keras.StatelessScope():
            outputs = model.embed(views, training=True)
        _set(generators)  # Training must not see that somebody looked.
        return outputs

    return embed


def differentiated(
    model: Any, function: Callable[[Any], dict[str, Tensor]]
) -> Callable[[tuple[Tensor, ...]], tuple[dict[str, Tensor], dict[str, Any]]]:
    """See `keras_ssl.training.trainer`."""

    def values_and_slopes(tensors: tuple[Tensor, ...]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors = tuple(x.detach().requires_grad_() for x in tensors)
        with keras.StatelessScope():
            values = function(tensors)
        slopes = {
            name: torch.autograd.grad(
                value, tensors, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for name, value in values.items()
        }
        return {name: value.detach() for name, value in values.items()}, slopes

    return values_and_slopes


def _gradient(y: Any, weights: list[keras.Variable], slopes: Any = None) -> list[Tensor]:
    """Returns the gradient of y at each weight; `None` where y does not depend on it."""
    if not weights:
        return []
    return list(torch.autograd.grad(y, [w.value for w in weights], slopes, allow_unused=True))


# --- Gradient caching: see keras_ssl.training.gradient_caching ------------------------------------


def _cached_gradients(model: Any, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Does what `_gradients` does, with `model.micro_batch_size` images at a time."""
    parts = _split(x, model.micro_batch_size)
    # Metrics that layers hold are among them: they see each image once, in the second pass.
    states = [v.value for v in (*model.non_trainable_variables, *layer_metrics(model))]
    before = [state.clone() for state in states]
    generators = _generators()
    count = len(model.non_trainable_variables)
    averaged = [i for i, state in enumerate(states[:count]) if state.is_floating_point()]
    outputs = []
    with torch.no_grad():
        for part in parts:
            outputs.append(model.embed(part, training=True))
            # As in the second pass: what a part changes, such as a center, no other one sees.
            for i in averaged:
                states[i].copy_(before[i])
        for state, value in zip(states, before, strict=True):
            state.copy_(value)
    representations, embeddings = _joined(outputs)
    # So that random layers draw the same again: those without a seed draw from PyTorch's own.
    _set(generators)

    clear_losses(model)
    for z in embeddings:
        z.requires_grad_()
    loss = model.scaled_loss(x, embeddings)
    slopes = torch.autograd.grad(loss, embeddings, allow_unused=True, materialize_grads=True)

    weights = model.trainable_weights
    gradients: list[Any] = [None] * len(weights)
    sums = [torch.zeros_like(before[i]) for i in averaged]
    for part, part_slopes in zip(parts, _split(slopes, model.micro_batch_size), strict=True):
        clear_losses(model)
        _, z = model.embed(part, training=True)
        # In total, regularizers of weights count once, and those of activations are averaged.
        rest = model.optimizer.scale_loss(model.layer_loss() / len(parts))
        pulled = [(y, slope) for y, slope in zip(z, part_slopes, strict=True) if y.requires_grad]
        pulled += [(rest, torch.ones_like(rest))] if rest.requires_grad else []
        ys, slopes_of_ys = zip(*pulled, strict=True) if pulled else ((), ())
        added = _gradient(ys, weights, slopes_of_ys)
        gradients = [
            a if g is None else g if a is None else g + a
            for g, a in zip(gradients, added, strict=True)
        ]
        with torch.no_grad():
            for total, i in zip(sums, averaged, strict=True):
                total += states[i] - before[i]
                states[i].copy_(before[i])
    clear_losses(model)
    with torch.no_grad():
        for total, i in zip(sums, averaged, strict=True):
            states[i].copy_(before[i] + total / len(parts))
    return representations, gradients


def _generators() -> list[tuple[Callable[[Any], None], Any]]:
    """Returns PyTorch's random states, each with the function that sets it."""
    found: list[tuple[Callable[[Any], None], Any]] = [(torch.set_rng_state, torch.get_rng_state())]
    if torch.cuda.is_available():
        found.append((torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all()))
    return found


def _set(generators: list[tuple[Callable[[Any], None], Any]]) -> None:
    """Sets PyTorch's random states."""
    for set_state, value in generators:
        set_state(value)


def _split(x: Tensor, size: int | None) -> list[Tensor]:
    """Returns the micro-batches of a structure of tensors."""
    rows = len(keras.tree.flatten(x)[0])
    size = rows if size is None else size
    check_micro_batches(rows, size)
    starts = range(0, rows, size)
    return [keras.tree.map_structure(lambda a, k=k: a[k : k + size], x) for k in starts]


def _joined(parts: list[Tensor]) -> Tensor:
    """Does the inverse of `_split`."""
    return keras.tree.map_structure(lambda *some: torch.cat(some), *parts)
