"""Batches as `fit` gets them: checked, and with views in the place of images."""

from typing import Any

import keras
from keras import ops

from keras_ssl._keras import metrics_as_given
from keras_ssl._tensors import Tensor
from keras_ssl.data import Views
from keras_ssl.training import fitting


def check(model: Any, batch: Any, made: bool = False) -> tuple[Any, Any]:
    """Returns the views and labels of a batch, after checking that a method can train on them.

    Args:
        model: A `keras_ssl.models.JointEmbeddingModel`.
        batch: A batch, or its specification.
        made: Whether a batch of a model that makes its views has views already. If not, its images
            are returned in their place.

    Raises:
        ValueError: for another structure, weights of samples, missing labels, or a model that was
            compiled with a loss or with metrics of labels.
    """
    x, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    makes_views = model.views is not None and not made
    if makes_views:
        x = _images_and_draws(x)[0]
    elif not isinstance(x, (tuple, list)) or len(x) < 2:
        raise ValueError(
            "A batch must be ((view_1, view_2, ...), labels) or ((view_1, view_2, ...),), with "
            "two views or more; make it with keras_ssl.data.make_views. "
            f"Received: {keras.tree.map_structure(_shape, batch)}"
        )
    fitting.check_weights(sample_weight)
    if model.loss is not None:
        raise ValueError(
            "`compile` takes no loss. The criterion is the loss: pass it to the model as "
            f"`criterion`. Received: loss={model.loss!r}"
        )
    metrics = metrics_as_given(model)
    if any(map(_is_of_labels, keras.tree.flatten(metrics))):
        raise ValueError(
            "`metrics` see the embeddings of the views, not labels: for an accuracy, pass "
            f"`probe` to the model. Received: metrics={metrics!r}"
        )
    if model.probe is not None and labels is not None:
        model.probe.check_labels(labels[-1] if isinstance(labels, (tuple, list)) else labels)
    if model.probe is not None and labels is None:
        raise ValueError(
            "The online probe needs labels: batches ((view_1, view_2), labels) or "
            "((view_1, view_2), (images, labels)). Received: "
            f"{keras.tree.map_structure(_shape, batch)}"
        )
    return x if makes_views else tuple(x), labels


def is_with_draws(x: Any) -> bool:
    """Whether this is (images, draws) of `keras_ssl.data.make_batches`, and not two views."""
    if not isinstance(x, (tuple, list)) or len(x) != 2:  # PyTorch's loaders make lists.
        return False
    images, draws = x
    if len(getattr(images, "shape", ())) != 4 or len(getattr(draws, "shape", ())) != 2:
        return False
    return keras.backend.is_int_dtype(keras.backend.standardize_dtype(draws.dtype))


def made_views(policy: Views, x: Any) -> tuple[Tensor, ...]:
    """Returns the views that a policy makes of images, or of (images, draws)."""
    images, draws = _images_and_draws(x)
    if draws is None:
        return policy(images, training=True)
    # They are the same in all rows. A replica may have none, and then nothing to draw.
    nothing = ops.zeros((1, 3), draws.dtype)
    seed = ops.max(ops.concatenate([nothing, draws[:, :3]]), axis=0)
    return policy(images, training=True, seed=[seed[i] for i in range(3)], places=draws[:, 3])


def with_symbolic_views(policy: Views | None, batch: Any) -> Any:
    """Returns a batch with symbolic views in the place of images, if a policy makes the views."""
    x, labels, _ = keras.utils.unpack_x_y_sample_weight(batch)
    if policy is None:  # A list would be one view.
        x = tuple(x) if isinstance(x, list) else x
        return (x,) if labels is None else (x, labels)
    images, _ = _images_and_draws(x)
    shapes = policy.compute_output_shape((None, *images.shape[1:]))
    made = tuple(keras.KerasTensor(shape, dtype="float32") for shape in shapes)
    return (made,) if labels is None else (made, labels)


def _images_and_draws(x: Any) -> tuple[Tensor, Tensor]:
    """Returns the images of a batch, and what their draws follow from, or `None`."""
    images, draws = x if isinstance(x, (tuple, list)) and len(x) == 2 else (x, None)
    if len(getattr(images, "shape", ())) != 4:
        raise ValueError(
            "A batch of a method with `views` must be (images, labels) or ((images, draws), "
            "labels), with images (N, height, width, channels); make it with "
            f"keras_ssl.data.make_batches. Received: {keras.tree.map_structure(_shape, x)}"
        )
    return images, draws


def _is_of_labels(metric: Any) -> bool:
    """Whether a metric, its class or its name is one of Keras' that compare with labels."""
    if isinstance(metric, str):
        name, is_of_keras = metric, ">" not in metric  # "package>name" is the user's own.
    else:
        named = metric if hasattr(metric, "__name__") else type(metric)
        name, is_of_keras = named.__name__, (named.__module__ or "").startswith("keras.")
    word = name.replace("_", "").lower()
    return is_of_keras and (word in ("acc", "ce") or word.endswith(("accuracy", "crossentropy")))


def _shape(x: Tensor) -> Any:
    return tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
