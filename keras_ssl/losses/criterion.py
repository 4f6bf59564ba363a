"""`Criterion`: what all criteria share, so that each is one hook that reads like its paper."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras

from keras_ssl import _renames, replicas
from keras_ssl._tensors import Tensor, real_tensor
from keras_ssl.losses.gram import Side


def on_shards(terms: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Marks a `Criterion.terms` that shares out its work among the replicas of `tf.distribute`.

    Only a matter of speed: without it, `terms` sees the samples of all replicas, and every replica
    computes all of it. With it, `terms` sees this replica's samples, and the terms it returns must
    be those of all: means over the batch are `distribution.batch_mean`, its size is
    `distribution.batch_size`, and what compares samples or dimensions comes from `losses.gram` and
    `losses.normalization`, which know. The mark is the method's: a subclass that overrides `terms`
    sees all samples again unless it is marked itself.
    """
    terms.is_on_shards = True  # type: ignore[attr-defined]
    return terms


class Terms(dict[str, Any]):
    """The terms of a criterion, with their weighted sum where adding them up would lose it.

    For terms that nearly cancel: the sum of rounded numbers has lost the digits that are left. The
    total stands for these very terms at these weights: where a subclass changes either, they are
    added up as ever.

    Args:
        terms: The unweighted terms by name.
        weights: The weights that the total is for, by name.
        total: The weighted sum, scalar.
    """

    # TensorFlow makes an empty one to put what a graph returns into.
    def __init__(
        self, terms: Any = (), weights: dict[str, float] | None = None, total: Tensor = None
    ) -> None:
        super().__init__(terms)
        self._known = dict(self), weights, total

    def total(self, weights: dict[str, float]) -> Tensor:
        """The weighted sum as it was given, or `None` if it is not of these terms and weights."""
        terms, known_weights, total = self._known
        is_known = weights == known_weights and all(self[name] is terms[name] for name in weights)
        return total if is_known else None


class Criterion(keras.losses.Loss):
    """Base of all criteria: a weighted sum of named terms on the embeddings of two views.

    `loss(z_1, z_2) = sum over terms of weights[name] * terms(z_1, z_2)[name]`

    A criterion that is defined on all views at once sets `takes_all_views = True`, and its `terms`
    takes as many embeddings as there are: `loss(z_1, z_2, z_3, ...)`.

    A subclass gives `weights`, a dictionary in the order of the terms, and overrides `terms`. The
    base checks the shapes, casts to `dtype` (float32 whatever the mixed-precision policy), gathers
    the global batch under `tf.distribute`, and returns each replica's share, so that a criterion
    written for one batch on one device is right on any number of them.

    Args:
        name: Name of the loss.
        dtype: Precision of the computation. Defaults to `keras.config.floatx()`, float32.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M), N >= 2 samples of M >= 2 dimensions.
        z_2: Embeddings of the second views, same shape; row i is the same image as in `z_1`.
        *others: Embeddings of further views, where the criterion takes all views.

    Returns:
        Scalar of `dtype`: the loss of the batch, or inside a replica of `tf.distribute` its share,
        shares adding up to the loss of the global batch.

    Raises:
        ValueError: if the embeddings are not two matrices of one shape, or N < 2, or M < 2.
    """

    # Whether `terms` takes the embeddings of all views, and not of a pair.
    takes_all_views = False
    # Arguments that are worth searching, with the range of each, (low, high), positive and searched
    # on a log scale: `keras_ssl.spaces`. A subclass with other arguments gives its own.
    search_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        # The value is a scalar: there is nothing left to reduce.
        super().__init__(name=name, reduction=None, dtype=dtype)

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each term in the loss, by the term's name."""
        raise NotImplementedError

    def terms(self, z_1: Tensor, z_2: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """The unweighted terms on the global batch, scalars by name: the hook of a criterion.

        On several replicas it is given the samples of all; see `on_shards` for the faster way.
        Terms that nearly cancel may come as `Terms`, with their sum.

        Args:
            z_1: Embeddings of the first views, (N, M), in `dtype`.
            z_2: Embeddings of the second views, (N, M), in `dtype`.
            *others: Those of further views, for a criterion that takes all views.
        """
        raise NotImplementedError

    # --- What a criterion says about itself -----------------------------------------------------
    # For those who explain a run, as keras_ssl.inspection.diagnosis does. A subclass overrides them
    # as properties or as plain class attributes.

    @property
    def attractive(self) -> tuple[str, ...]:
        """Names of the terms that pull the two views of an image together.

        By default "invariance" and "alignment", where the criterion has them. Where there are any,
        every other term counts as one that holds embeddings apart.
        """
        return tuple(name for name in self.weights if name in ("invariance", "alignment"))

    @property
    def equal_views(self) -> dict[str, float]:
        """Values that terms have if the views have equal embeddings, and only then, by name.

        Empty, the default, where no value tells.
        """
        return {}

    @property
    def variance_terms(self) -> tuple[str, ...]:
        """Names of the terms that hold up the standard deviation of every dimension, if any."""
        return ()

    @property
    def settings_against_collapse(self) -> dict[str, str]:
        """What to do with arguments of the constructor against a collapse: "raise" or "lower".

        By default, "lower" `NAME_weight` of every attractive term and "raise" that of every other
        term, where the constructor has it.
        """
        directions = {
            f"{name}_weight": "lower" if name in self.attractive else "raise"
            for name in self.weights
        }
        config = self.get_config()
        return {name: directions[name] for name in directions if name in config}

    def select_side(self, samples: int, dimensions: int) -> Side | None:
        """The matrix that a batch will be computed on, and why; `None` where there is no choice.

        Args:
            samples: N, over all replicas.
            dimensions: M.
        """
        return None

    def measure(self, z_1: Tensor, z_2: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """Checks the embeddings, gathers the global batch and returns its unweighted terms."""
        embeddings = self._convert(z_1, z_2, *others)
        check_embeddings(*embeddings)
        if others and not self.takes_all_views:
            raise ValueError(
                f"{type(self).__name__} compares two views at a time: `pairs` of the model says "
                f"which. Received: embeddings of {len(embeddings)} views"
            )
        if getattr(self.terms, "is_on_shards", False) and replicas.has_even_shards(embeddings[0]):
            return self.terms(*embeddings)
        embeddings = [replicas.gather_batch(z) for z in embeddings]
        with replicas.alone():
            return self.terms(*embeddings)

    def _convert(self, *embeddings: Tensor) -> list[Tensor]:
        expected = "a matrix (samples N, dimensions M) of embeddings"
        return [
            real_tensor(f"z_{i}", z, expected, self.dtype, floats=True)
            for i, z in enumerate(embeddings, start=1)
        ]

    def __call__(
        self, z_1: Tensor, z_2: Tensor, *others: Tensor, sample_weight: Any = None
    ) -> Tensor:
        """See `call`; Keras' own takes two tensors, and converts what is no matrix of numbers."""
        if sample_weight is not None:
            raise ValueError("`sample_weight` has no meaning for criteria of whole batches.")
        # Where a model is compiled with a criterion, Keras gives it its weights in third place.
        others = tuple(z for z in others if z is not None)
        with keras.name_scope(self.name):
            return self.call(*self._convert(z_1, z_2, *others))

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum of the terms: this replica's share of it."""
        total = terms.total(self.weights) if isinstance(terms, Terms) else None
        if total is None:
            total = sum(weight * terms[name] for name, weight in self.weights.items())
        return replicas.share(total)

    def call(self, z_1: Tensor, z_2: Tensor, *others: Tensor) -> Tensor:  # noqa: D102 (see the class)
        return self.combine(self.measure(z_1, z_2, *others))

    def get_config(self) -> dict[str, Any]:
        """Every argument of the constructor: a criterion keeps each under its own name."""
        arguments = [
            name
            for name, argument in inspect.signature(type(self).__init__).parameters.items()
            if name not in ("self", "dtype", "name")
            and argument.kind not in (argument.VAR_POSITIONAL, argument.VAR_KEYWORD)
        ]
        config = {**{name: getattr(self, name) for name in arguments}, "name": self.name}
        if self.dtype != keras.config.floatx():
            config["dtype"] = self.dtype
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Criterion":
        """The criterion that `get_config` described, in this version or an earlier one."""
        return cls(**_renames.arguments(cls, config))


def check_embeddings(*embeddings: Any) -> None:
    """Raises unless all are matrices of one shape with at least two rows and two columns."""
    names = [f"z_{i + 1}" for i in range(len(embeddings))]
    they = " and ".join(f"`{name}`" for name in names)
    received = ", ".join(
        f"{name}.shape={tuple(z.shape)}" for name, z in zip(names, embeddings, strict=True)
    )
    if any(len(z.shape) != 2 for z in embeddings):
        raise ValueError(
            f"{they} must be matrices (samples N, dimensions M) of embeddings. Received: {received}"
        )
    sizes = [{z.shape[axis] for z in embeddings} - {None} for axis in (0, 1)]
    if any(len(known) > 1 for known in sizes):
        raise ValueError(
            f"{they} must have one shape: row i of all is the same image. Received: {received}"
        )
    samples, dimensions = (min(known, default=None) for known in sizes)
    if samples is not None and samples * replicas.replica_count() < 2:
        raise ValueError(
            f"{they} must hold at least 2 samples: these criteria compare the samples or the "
            f"dimensions of a batch. Received: {received}"
        )
    if dimensions is not None and dimensions < 2:
        raise ValueError(f"{they} must have at least 2 dimensions. Received: {received}")
