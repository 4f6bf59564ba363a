"""Describes a model's embeddings of a fixed sample of images, in the duality paper's terms."""

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_ssl import duality, replicas
from keras_ssl._keras import all_layers
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_count, check_seed
from keras_ssl.data import ImageSet, Views
from keras_ssl.data.image_set import captions, spread_places
from keras_ssl.evaluation import alignment, alpha_req, rankme, uniformity
from keras_ssl.training.trainer import differentiated, embedder

# Each takes some 60 ms for 256 images.
_MOST_PAIRS = 10

# A dimension of unit embeddings is dead if its standard deviation is below this / sqrt(M).
_DEAD = 0.01

# Up to this many dimensions, their matrix is computed beside that of the samples.
_LARGEST_MATRIX = 1024


class Sample:
    """Images and their views, which are drawn once so that figures can be compared over time.

    `Sample.of(views, labels)` is a sample of your own views, which need not be images.

    Args:
        images: At least 2 images; the sample is evenly spaced over them.
        policy: The policy that makes the views.
        count: Number of images, at least 2.
        seed: Seed of the draws.

    Attributes:
        images: float32 (N, height, width, channels) in [0, 1], or `None` in a sample of your own
            views.
        unaugmented: The images in the size of the first view, or `None`.
        labels: int64 (N,), or `None` if there are none.
        class_names: Names of the classes, or `None`.
        captions: A text for each image: its file, else its class, else its place.
        views: Tuple of views, each float32 (N, height, width, channels), or your own views.

    Raises:
        ValueError: for fewer than 2 images, or a seed below 0.
        TypeError: for images or a policy of another type.

    Example:
        >>> from keras_ssl import data
        >>> images = data.load("digits").train
        >>> samples = [Sample(images, data.tiny_gray(), count=4, seed=seed) for seed in (0, 0, 1)]
        >>> [view.shape for view in samples[0].views]
        [(4, 8, 8, 1), (4, 8, 8, 1)]
        >>> [bool(np.all(sample.views[0] == samples[0].views[0])) for sample in samples]
        [True, True, False]
    """

    images: np.ndarray | None
    unaugmented: np.ndarray | None

    def __init__(self, images: ImageSet, policy: Views, count: int = 256, seed: int = 0) -> None:
        if not isinstance(images, ImageSet):
            raise TypeError(
                "`images` must be a keras_ssl.data.ImageSet, see keras_ssl.data.from_arrays. "
                f"Received: {type(images).__name__}"
            )
        if not isinstance(policy, Views):
            raise TypeError(
                "`policy` must be a keras_ssl.data.Views, such as keras_ssl.data.weak(). "
                f"Received: {type(policy).__name__}"
            )
        if check_count("count", count) < 2:
            raise ValueError(f"`count` must be at least 2. Received: count={count}")
        if images.example_count < 2:
            unit = "images" if images.groups is None else "groups"
            raise ValueError(
                f"`images` must hold at least 2 {unit}. Received: {images.example_count}"
            )
        seed = check_seed("seed", seed)
        batches, labels, texts = images.sample(int(count), seed)
        pixels = batches[0]
        # No step of a data set has these draws: `make_views` counts steps from 0.
        views = policy.of(batches, (seed, -1))
        labels = labels if images.has_labels else None
        self._take(views, labels, images.class_names, texts, pixels)
        self.unaugmented = ops.convert_to_numpy(policy.leave(self.images)[0])

    @classmethod
    def of(
        cls, views: tuple[Any, ...], labels: Tensor = None, class_names: Sequence[str] | None = None
    ) -> "Sample":
        """Makes a sample of your own views.

        Args:
            views: Tuple of two or more views, as in a batch of training, with at least 2 rows.
            labels: Integers (N,), for pictures, or `None` if there are none.
            class_names: Names of the classes.

        Raises:
            TypeError: if `views` is not a tuple of views.
            ValueError: if there are fewer than 2 rows, or not the same number in all views and
                labels.
        """
        if not isinstance(views, tuple) or len(views) < 2:
            raise TypeError(
                "`views` must be a tuple of two or more views. "
                f"Received: views of type {type(views).__name__}"
            )
        labels = None if labels is None else np.asarray(labels, np.int64)
        rows = {len(array) for array in keras.tree.flatten((views, labels)) if array is not None}
        if len(rows) != 1 or min(rows) < 2:
            raise ValueError(
                "`views` and `labels` must have the same number of rows, at least 2. "
                f"Received: rows {sorted(rows)}"
            )
        sample = cls.__new__(cls)
        names = None if class_names is None else list(class_names)
        texts = captions(range(min(rows)), None, names, labels)
        sample._take(views, labels, names, texts)
        return sample

    def _take(
        self,
        views: tuple[Any, ...],
        labels: Tensor,
        class_names: Any,
        texts: list[str],
        images: Tensor = None,
    ) -> None:
        self.views = keras.tree.map_structure(np.asarray, tuple(views))
        self.captions = texts
        self.labels, self.class_names = labels, class_names
        self.images = self.unaugmented = images
        self._traced: Any = None

    def __len__(self) -> int:
        return len(keras.tree.flatten(self.views)[0])

    def inspect(self, model: Any, batch_size: int = 128) -> "Inspection":
        """Passes the views through `model`, a `JointEmbeddingModel`, as in training.

        Batch normalization uses the batch statistics of the sample, in batches of about
        `batch_size`, so that the embeddings are like those that the criterion sees. In inference
        mode, the moving averages of an untrained network are 0 and 1, and its embeddings could be
        arbitrarily large or small. Nothing is updated.
        """
        if not model.built:
            model.build(keras.tree.map_structure(lambda x: (None, *x.shape[1:]), self.views))
        # Traced once per model, and again if other layers are trainable: a graph keeps that.
        traced = (model, model.criterion, *(layer.trainable for layer in all_layers(model)))
        if self._traced != traced:
            self._traced, self._embed = traced, embedder(model, self.views)
            self._differentiate = differentiated(model, functools.partial(_terms, model))
        rows = np.array_split(np.arange(len(self)), -(-len(self) // batch_size))
        outputs = [
            self._embed(
                keras.tree.map_structure(lambda x, i=i: ops.convert_to_tensor(x[i]), self.views)
            )
            for i in rows
        ]
        whole = keras.tree.map_structure(
            lambda *x: np.concatenate([keras.ops.convert_to_numpy(part) for part in x]), *outputs
        )
        representations, embeddings = (
            tuple(np.asarray(x, np.float64) for x in several) for several in whole
        )
        with keras.StatelessScope():  # receives assignments, and is dropped
            pairs = tuple(
                tuple(ops.convert_to_numpy(z) for z in pair) for pair in model.pairs(embeddings)
            )
        terms, norms = self._terms_and_norms(model.criterion, embeddings)
        return Inspection(self.views, representations, embeddings, pairs, terms, norms)

    def _terms_and_norms(
        self, criterion: Any, embeddings: tuple[np.ndarray, ...]
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Computes the unweighted terms, and the gradient norms of the weighted ones."""
        z = tuple(
            ops.convert_to_tensor(whole_groups(one, criterion.group_size), criterion.dtype)
            for one in embeddings
        )
        terms, slopes = self._differentiate(z)
        norms = {}
        for name, weight in criterion.weights.items():
            squares = [np.sum(np.square(ops.convert_to_numpy(slope))) for slope in slopes[name]]
            norms[name] = abs(weight) * float(np.sqrt(sum(squares)))
        return {name: float(term) for name, term in terms.items()}, norms

    @property
    def embed_graph(self) -> Any:
        """TensorFlow's graph from images to embeddings, once `inspect` has run; else `None`."""
        return getattr(self._embed, "graph", None)


def _terms(model: Any, embeddings: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """Computes the criterion's unweighted terms: means over the pairs that it compares."""
    # A callback has the whole batch, not a replica's part of it.
    with replicas.alone():
        measured = [model.criterion.measure(*pair) for pair in model.pairs(embeddings)]
    return {name: sum(one[name] for one in measured) / len(measured) for name in measured[0]}


def whole_groups(z: np.ndarray, size: int) -> np.ndarray:
    """Returns z, (N, M), with its first rows repeated until `size` divides the number of rows."""
    rows = -(-len(z) // size) * size
    return z if rows == len(z) else np.resize(z, (rows, z.shape[1]))


def _singular_values(z: np.ndarray) -> np.ndarray:
    return np.linalg.svd(z - z.mean(axis=0), compute_uv=False)


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The representations, embeddings and terms of a sample in a model at one moment.

    Args:
        views: Tuple of views, each float32 (N, height, width, channels) or another structure.
        representations: Tuple of float64, each (N, D).
        embeddings: Tuple of float64, each (N, M), of the same N images; the method decides how
            many there are.
        pairs: The embeddings that the criterion compares; see `JointEmbeddingModel.pairs`.
        terms: The criterion's unweighted terms on the sample.
        gradient_norms: By term, the norm of the gradient of its weighted value at the embeddings.

    Example:
        `Sample.inspect` returns it. The cosine of two equal views is 1.

        >>> from keras_ssl import models
        >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> model, view = models.VICReg(encoder, projector="4"), np.eye(8, dtype="float32")
        >>> inspection = Sample.of((view, view)).inspect(model)
        >>> inspection.embeddings[0].shape, round(inspection.figures["pairs/positive_mean"], 3)
        ((8, 4), 1.0)
    """

    views: tuple[np.ndarray, ...]
    representations: tuple[np.ndarray, ...]
    embeddings: tuple[np.ndarray, ...]
    pairs: tuple[tuple[np.ndarray, ...], ...]
    terms: dict[str, float]
    gradient_norms: dict[str, float]

    @property
    def is_finite(self) -> bool:
        """Whether all representations and embeddings are finite."""
        return all(np.isfinite(x).all() for x in (*self.representations, *self.embeddings))

    @functools.cached_property
    def unit(self) -> tuple[np.ndarray, ...]:
        """The embeddings scaled to norm 1."""
        from sklearn.preprocessing import normalize

        return tuple(normalize(z) for z in self.embeddings)

    @functools.cached_property
    def positive_cosines(self) -> np.ndarray:
        """Cosine of each image's compared embeddings, (N,): the mean over its pairs."""
        cosines = [np.sum(a * b, axis=1) for a, b in self._unit_pairs]
        return np.mean(cosines, axis=0)

    @functools.cached_property
    def _unit_pairs(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """The pairs, scaled to norm 1; more than two embeddings in one give all their pairs.

        Of many pairs, as 20 views have, ten are taken, evenly spaced.
        """
        from sklearn.preprocessing import normalize

        pairs = [pair for views in self.pairs for pair in itertools.combinations(views, 2)]
        chosen = spread_places(len(pairs), min(len(pairs), _MOST_PAIRS))
        return [(normalize(pairs[i][0]), normalize(pairs[i][1])) for i in chosen]

    @functools.cached_property
    def cosines(self) -> np.ndarray:
        """Cosines of the first embeddings, the Gram matrix of the images, (N, N)."""
        return self.unit[0] @ self.unit[0].T

    @functools.cached_property
    def negative_cosines(self) -> np.ndarray:
        """Cosines of the first embeddings of different images, (N (N - 1) / 2,)."""
        return self.cosines[np.triu_indices(len(self.cosines), 1)]

    @property
    def norms(self) -> np.ndarray:
        """Norms of the first embeddings, (N,)."""
        return np.linalg.norm(self.embeddings[0], axis=1)

    @property
    def deviations(self) -> np.ndarray:
        """Standard deviation of each dimension of the embeddings, (M,)."""
        return self.embeddings[0].std(axis=0)

    @functools.cached_property
    def singular_values(self) -> np.ndarray:
        """Singular values of the centered first embeddings, in falling order, (min(N, M),)."""
        return _singular_values(self.embeddings[0])

    @functools.cached_property
    def singular_values_of_unit(self) -> np.ndarray:
        """The same of the first embeddings scaled to norm 1."""
        return _singular_values(self.unit[0])

    @property
    def gradient_shares(self) -> dict[str, float]:
        """The gradient norm of each weighted term, as a fraction of the sum of all of them."""
        total = sum(self.gradient_norms.values())
        return {name: norm / total if total else 0.0 for name, norm in self.gradient_norms.items()}

    @functools.cached_property
    def figures(self) -> dict[str, float]:
        """All scalars, by "section/name": the sections of the dashboard.

        - `sample_terms`: the criterion's terms on the sample, unweighted; `gradient_share`: the
          fraction of each weighted term in the gradient norms at the embeddings
        - `duality`: L_c, L_nc, both sides of Theorem 3.3 and their relative difference; above 1,024
          dimensions, L_nc is computed by the theorem, and there is no difference
        - `bounds`: Corollary 3.4.1. `..._over_lower`: the sum of the fourth powers of the norms of
          dimensions (of embeddings of norm 1), and of samples (of dimensions of norm 1), divided by
          its lower bound, as in Table S4, where trained networks are at 1.0 to 1.7;
          `..._position`: the position of the same sum between its bounds on a log scale, where 0 is
          the lower bound and 1 the upper one
        - `pairs`: mean and variance of the cosines of negatives, which are 0 and
          `negative_variance_uniform` (1 / M) by Proposition 3.1; mean of the cosines of positives,
          which are the pairs that the criterion compares; the chance that a positive pair has a
          greater cosine than two views of different images
        - `hypersphere`: alignment and uniformity of the embeddings
        - `spread`: standard deviation of embeddings of norm 1, beside 1 / sqrt(M); number of
          dimensions below a hundredth of 1 / sqrt(M); root mean square of the embeddings
        - `rank`: RankMe and alpha-ReQ of representations and embeddings, and the highest possible
          RankMe of the embeddings
        """
        from sklearn.metrics import roc_auc_score
        from sklearn.preprocessing import normalize

        z, unit = self.embeddings[0], self.unit[0]
        n, m = z.shape
        of_samples = float(duality.sample_norm_profile(z))
        whole = float(duality.sample_contrastive_energy(z)) + of_samples  # || K K^T ||^2
        of_dimensions = float(duality.dimension_norm_profile(z))
        energies = {
            "duality/l_c": whole - of_samples,
            "duality/l_nc": whole - of_dimensions,
            "duality/theorem_3_3_samples": whole,
        }
        if m <= _LARGEST_MATRIX:
            # Computed from its own matrix, (M, M), which would take seconds for 8192 dimensions.
            side = float(duality.theorem_3_3(z).dimensions)
            energies["duality/l_nc"] = side - of_dimensions
            energies["duality/theorem_3_3_dimensions"] = side
            energies["duality/theorem_3_3_residual"] = abs(side - whole) / max(side, 1e-300)
        norms = {
            "dimension_norms": (unit, n, m),
            # Dimensions of norm 1: the same computation on the transpose.
            "sample_norms": (normalize(z.T), m, n),
        }
        bounds = {}
        for name, (k, rows, columns) in norms.items():
            limits = duality.dimension_norm_profile_bounds(rows, columns)
            over = float(duality.dimension_norm_profile(k)) / limits.lower
            bounds[f"bounds/{name}_over_lower"] = over
            bounds[f"bounds/{name}_position"] = float(
                np.log(max(over, 1e-12)) / np.log(limits.upper / limits.lower)
            )
        spread = unit.std(axis=0)
        # Negatives have one embedding from each side, too: sides may differ in more than the image.
        above = [
            roc_auc_score(np.eye(n, dtype=bool).ravel(), (a @ b.T).ravel())
            for a, b in self._unit_pairs
        ]
        distances = [alignment(a, b) for a, b in self._unit_pairs]
        return {
            **{f"sample_terms/{name}": value for name, value in self.terms.items()},
            **{f"gradient_share/{name}": share for name, share in self.gradient_shares.items()},
            **energies,
            **bounds,
            "pairs/negative_mean": float(self.negative_cosines.mean()),
            "pairs/negative_variance": float(self.negative_cosines.var()),
            "pairs/negative_variance_uniform": 1 / m,
            "pairs/positive_mean": float(self.positive_cosines.mean()),
            "pairs/positive_above_negative": float(np.mean(above)),
            "hypersphere/alignment": float(np.mean(distances)),
            "hypersphere/uniformity": uniformity(z),
            "spread/std_of_unit_embeddings": float(spread.mean()),
            "spread/std_uniform": m**-0.5,
            "spread/dead_dimensions": float(np.sum(spread < _DEAD * m**-0.5)),
            "spread/rms_of_embeddings": float(np.sqrt(np.mean(np.square(z)))),
            "rank/representations": rankme(self.representations[0]),
            "rank/embeddings": rankme(z),
            "rank/embeddings_highest": float(min(n, m)),
            "rank/alpha_req_representations": alpha_req(self.representations[0]),
            "rank/alpha_req_embeddings": alpha_req(z),
        }

    @property
    def distributions(self) -> dict[str, np.ndarray]:
        """The values that are shown as histograms, by "section/name"."""
        return {
            "pairs/positive_cosines": self.positive_cosines,
            "pairs/negative_cosines": self.negative_cosines,
            "spread/norms_of_embeddings": self.norms,
            "spread/std_by_dimension": self.deviations,
            "rank/singular_values": self.singular_values,
        }
