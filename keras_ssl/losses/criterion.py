"""The base class of all criteria, which leaves each one a single hook that reads like its paper."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras

from keras_ssl import _renames, replicas
from keras_ssl._config import NamesGiven, arguments_of, takes_others
from keras_ssl._tensors import Tensor, real_tensor
from keras_ssl.losses.gram import Side


def on_shards(terms: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Marks a `Criterion.terms` that divides its work among the replicas of `tf.distribute`.

    The mark only changes the speed. Without it, `terms` sees the samples of all replicas, and every
    replica computes everything. With it, `terms` sees only this replica's samples, but must return
    the terms of the global batch: it takes means over the batch with `distribution.batch_mean`, the
    size of the batch from `distribution.batch_size`, and comparisons of samples or dimensions from
    `losses.gram` and `losses.normalization`, which work across replicas. The mark belongs to the
    method: if a subclass overrides `terms`, it sees all samples again unless it has its own mark.

    Example:
        >>> from keras_ssl.distribution import batch_mean
        >>> class Distance(Criterion):
        ...     weights = {"distance": 1.0}
        ...     @on_shards
        ...     def terms(self, z_1, z_2):
        ...         return {"distance": batch_mean(keras.ops.square(z_1 - z_2))}
        >>> float(Distance()(keras.ops.zeros((4, 3)), keras.ops.ones((4, 3))))
        1.0
    """
    terms.is_on_shards = True  # type: ignore[attr-defined]
    return terms


class Terms(dict[str, Any]):
    """The terms of a criterion, together with their weighted sum.

    Use it for terms that nearly cancel, where a sum of the rounded terms would lose the digits that
    are left. The total is valid only for exactly these terms and weights: if a subclass changes
    either, the terms are added up as usual.

    Args:
        terms: The unweighted terms by name.
        weights: The weights that the total was computed with, by name.
        total: The weighted sum, scalar.
    """

    # TensorFlow creates an empty one, and fills it with what a graph returns.
    def __init__(
        self, terms: Any = (), weights: dict[str, float] | None = None, total: Tensor = None
    ) -> None:
        super().__init__(terms)
        self._known = dict(self), weights, total

    def total(self, weights: dict[str, float]) -> Tensor:
        """Returns the given weighted sum, or `None` if terms or weights have changed since."""
        terms, known_weights, total = self._known
        is_known = weights == known_weights and all(self[name] is terms[name] for name in weights)
        return total if is_known else None


class Criterion(NamesGiven, keras.losses.Loss):
    """Base class of all criteria: a weighted sum of named terms on the embeddings of two views.

    `loss(z_1, z_2) = sum over terms of weights[name] * terms(z_1, z_2)[name]`

    A criterion that is defined on all views at once sets `takes_all_views = True`. Its `terms` then
    takes the embeddings of every view: `loss(z_1, z_2, z_3, ...)`.

    A subclass defines `weights`, a dictionary in the order of the terms, and overrides `terms`. The
    base class checks the shapes, casts to `dtype` (float32 under any mixed-precision policy),
    gathers the global batch under `tf.distribute`, and returns each replica's share. A criterion
    that is written for one batch on one device is therefore right on any number of devices.

    Args:
        name: Name of the loss.
        dtype: Precision of the computation. Defaults to `keras.config.floatx()`, float32.

    Call arguments:
        z_1: Embeddings of the first views, float (N, M): N >= 2 samples, M >= 2 dimensions.
        z_2: Embeddings of the second views, same shape; row i is the same image as in `z_1`.
        *others: Embeddings of further views, if the criterion takes all views.

    Returns:
        Scalar of `dtype`: the loss of the batch. Inside a replica of `tf.distribute` it is the
        replica's share; the shares add up to the loss of the global batch.

    Raises:
        ValueError: if the embeddings are not matrices of the same shape, or N < 2, or M < 2.

    Example:
        >>> class Distance(Criterion):
        ...     weights = {"distance": 2.0}
        ...     def terms(self, z_1, z_2):
        ...         return {"distance": keras.ops.mean(keras.ops.square(z_1 - z_2))}
        >>> float(Distance()(keras.ops.zeros((4, 3)), keras.ops.ones((4, 3))))
        2.0
    """

    # Whether `terms` takes the embeddings of all views rather than of a pair.
    takes_all_views = False
    # The arguments that are worth searching, each with its range (low, high). `keras_ssl.spaces`
    # searches on a log scale, so both ends are positive. A subclass with other arguments defines
    # its own ranges.
    search_ranges: ClassVar[Mapping[str, tuple[float, float]]] = {}

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        # The value is a scalar: there is nothing left to reduce.
        super().__init__(name=name, reduction=None, dtype=dtype)

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each term in the loss, by the term's name."""
        raise NotImplementedError(
            f"{type(self).__name__} must define `weights`, such as {{'invariance': 1.0}}"
        )

    def terms(self, z_1: Tensor, z_2: Tensor, *others: Tensor) -> dict[str, Tensor]:
        """Returns the unweighted terms on the global batch. Every criterion overrides this method.

        On several replicas it receives the samples of all; `on_shards` offers a faster way. For
        terms that nearly cancel, it may return a `Terms` that holds their sum.

        Args:
            z_1: Embeddings of the first views, (N, M), in `dtype`.
            z_2: Embeddings of the second views, (N, M), in `dtype`.
            *others: Embeddings of further views, for a criterion that takes all views.

        Returns:
            Dictionary from the names of the terms to scalars.
        """
        raise NotImplementedError(f"{type(self).__name__} must override `terms`")

    # --- What a criterion says about itself -----------------------------------------------------
    # For code that explains a run, such as keras_ssl.inspection.diagnosis. A subclass overrides
    # these with properties or plain class attributes.

    @property
    def attractive(self) -> tuple[str, ...]:
        """The names of the terms that pull the two views of an image together.

        By default these are "invariance" and "alignment", if the criterion has them. If there are
        any, every other term counts as one that pushes embeddings apart.
        """
        return tuple(name for name in self.weights if name in ("invariance", "alignment"))

    @property
    def equal_views(self) -> dict[str, float]:
        """The values that terms have if, and only if, both views have equal embeddings, by name.

        It is empty, the default, if no term's value tells this.
        """
        return {}

    @property
    def group_size(self) -> int:
        """The number of samples that are treated together, which divides every batch. Default 1."""
        return 1

    @property
    def variance_terms(self) -> tuple[str, ...]:
        """The names of the terms that keep up the standard deviation of every dimension, if any."""
        return ()

    @property
    def settings_against_collapse(self) -> dict[str, str]:
        """The arguments of the constructor to "raise" or "lower" against a collapse.

        By default the argument `NAME_weight` of every attractive term is to "lower", and that of
        every other term is to "raise", if the constructor has it.
        """
        directions = {
            f"{name}_weight": "lower" if name in self.attractive else "raise"
            for name in self.weights
        }
        config = self.get_config()
        return {name: directions[name] for name in directions if name in config}

    def select_side(self, samples: int, dimensions: int) -> Side | None:
        """Returns the matrix that a batch is computed on, and why; `None` if there is no choice.

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
            return self._checked(self.terms(*embeddings))
        embeddings = [replicas.gather_batch(z) for z in embeddings]
        with replicas.alone():
            return self._checked(self.terms(*embeddings))

    def _checked(self, terms: Any) -> dict[str, Tensor]:
        """Returns what `terms` returned, or raises unless it has a scalar for every weight."""
        if isinstance(terms, dict):
            shapes = {name: getattr(term, "shape", ()) for name, term in terms.items()}
            if all(name in shapes and _may_be_scalar(shapes[name]) for name in self.weights):
                return terms
        received = shapes if isinstance(terms, dict) else type(terms).__name__
        raise ValueError(
            f"`terms` of {type(self).__name__} must return a dictionary with a scalar for each of "
            f"its weights, {list(self.weights)}. Received: {received}"
        )

    def _convert(self, *embeddings: Tensor) -> list[Tensor]:
        expected = "a matrix (samples N, dimensions M) of embeddings"
        return [
            real_tensor(f"z_{i}", z, expected, self.dtype, floats=True)
            for i, z in enumerate(embeddings, start=1)
        ]

    def __call__(
        self, z_1: Tensor, z_2: Tensor, *others: Tensor, sample_weight: Any = None
    ) -> Tensor:
        """See `call`. Keras' own takes two tensors, and converts anything to numbers."""
        if sample_weight is not None:
            raise ValueError("`sample_weight` has no meaning for criteria of whole batches.")
        # If a model is compiled with a criterion, Keras passes sample weights in third place.
        others = tuple(z for z in others if z is not None)
        with keras.name_scope(self.name):
            return self.call(*self._convert(z_1, z_2, *others))

    def combine(self, terms: dict[str, Tensor]) -> Tensor:
        """Returns this replica's share of the weighted sum of the terms."""
        total = terms.total(self.weights) if isinstance(terms, Terms) else None
        if total is None:
            total = sum(weight * terms[name] for name, weight in self.weights.items())
        return replicas.share(total)

    def call(self, z_1: Tensor, z_2: Tensor, *others: Tensor) -> Tensor:  # noqa: D102 (see the class)
        return self.combine(self.measure(z_1, z_2, *others))

    def get_config(self) -> dict[str, Any]:
        """Returns every argument of the constructor, from the attribute of the same name.

        If the constructor passes `**kwargs` on, those that were given are among them.
        """
        own = arguments_of(type(self).__init__)
        # What a constructor takes out of its `**kwargs` has no attribute.
        arguments = [*own, *(n for n in self._given if n not in own and hasattr(self, n))]
        config = {name: getattr(self, name) for name in arguments if name not in ("name", "dtype")}
        of_all = {"name": self.name}
        if self.dtype != keras.config.floatx():
            of_all["dtype"] = self.dtype
        # A constructor may leave these out, but for `**kwargs`.
        takes_any = takes_others(type(self).__init__)
        return {**config, **{k: v for k, v in of_all.items() if takes_any or k in own}}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Criterion":
        """Creates a criterion from what `get_config` of this or an earlier version returned."""
        return cls(**_renames.arguments(cls, config))


def _may_be_scalar(shape: Any) -> bool:
    """Whether a shape is that of a scalar; in a graph, its rank may be unknown."""
    return getattr(shape, "rank", 0) is None or len(shape) == 0


def check_embeddings(*embeddings: Any) -> None:
    """Raises unless all are matrices of the same shape, with at least two rows and columns."""
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
            f"{they} must have the same shape: row i of each is image i. Received: {received}"
        )
    samples, dimensions = (min(known, default=None) for known in sizes)
    if samples is not None and samples * replicas.replica_count() < 2:
        raise ValueError(
            f"{they} must hold at least 2 samples: these criteria compare the samples or the "
            f"dimensions of a batch. Received: {received}"
        )
    if dimensions is not None and dimensions < 2:
        raise ValueError(f"{they} must have at least 2 dimensions. Received: {received}")
