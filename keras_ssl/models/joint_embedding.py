"""`JointEmbeddingModel`: an encoder, a projector and a criterion, and the only `train_step`."""

import itertools
import types
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from keras_ssl import replicas
from keras_ssl._keras import (
    all_layers,
    compiled_metrics,
    forget_initial_epoch,
    is_within_fit,
    metrics_as_given,
    own_losses,
    own_strategy,
    replace_layer,
)
from keras_ssl._require import readable_errors, require
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_optional_count
from keras_ssl.data.epochs import epochs_of
from keras_ssl.encoders import as_encoder, check_representations, pooled, trust
from keras_ssl.encoders.input_range import check_input_range
from keras_ssl.layers import MovingAverage, OnlineProbe, Projector
from keras_ssl.layers.projector import warn_if_heavy
from keras_ssl.losses import Criterion
from keras_ssl.losses.criterion import check_embeddings
from keras_ssl.models import views
from keras_ssl.optimizers.apply import apply_gradients
from keras_ssl.training import fitting
from keras_ssl.training.gradient_caching import cached_gradients, embed_in_parts
from keras_ssl.training.random_layers import seed_generators
from keras_ssl.training.replicated_model import ReplicatedModel


@keras.saving.register_keras_serializable(package="keras_ssl")
class JointEmbeddingModel(ReplicatedModel):
    """A method of the paper: two views -> encoder -> projector -> embeddings -> criterion.

    `fit` and `evaluate` take batches `((view_1, view_2), labels)` or `((view_1, view_2),)`: a tuple
    is always views, two or more, of one size or of several. A view is a batch of float images
    (N, height, width, channels) in [0, 1], or whatever else the encoder takes: any Keras structure
    but a tuple, whose arrays have the N rows of a batch. Labels go to the online probe alone: the
    criterion and the encoder never see them. Where the probe has labeled images of its own, a pair
    `(images, labels)` stands in the place of the labels. `predict` and the call itself give
    representations, what an encoder is trained for.

    Each view passes through the network by itself, so that batch normalization sees the statistics
    of one view, as in VICReg and Barlow Twins. The loss, and every term of the criterion
    unweighted, are logged by name.

    Metrics given to `compile` see every pair of embeddings that the criterion compares: `y_pred` is
    the first of a pair, `y_true` the second. `"cosine_similarity"` is the alignment of the
    positives, and `keras_ssl.duality` has the quantities of the paper.

    A saved model goes on exactly as if it had not been saved; the state of its random layers, which
    Keras forgets, is saved with it.

    A method is a subclass with two class attributes, `default_projector` and `default_criterion`;
    without them, both must be given. Three methods are there to be overridden, `embed`, `pairs` and
    `after_step`: docs/extending.md has an example of each.

    Args:
        encoder: Any Keras model from images to representations (N, D) or feature maps; see
            `keras_ssl.encoders.as_encoder`, which puts in front of it what brings images in [0, 1]
            to the range that it wants.
        projector: A layer from representations (N, D) to embeddings (N, M), or the widths of a
            `keras_ssl.layers.Projector`, such as "2048-2048-512". Default: the method's.
        criterion: A `keras_ssl.losses.Criterion`. Default: the method's, with published constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        micro_batch_size: Images that pass through the network at a time on one device, at least 1,
            for batches larger than memory: the gradient is that of the whole batch, for the price
            of one more forward pass (`keras_ssl.training.gradient_caching`). Batch normalization
            then sees a micro-batch. Must divide the images that one device gets of a batch.
            Default: all at once.
        input_range: The range of the images that a trained encoder wants, where its own layers do
            not tell: see `keras_ssl.encoders.as_encoder`.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Call arguments:
        images: A view, such as float images in [0, 1], (N, height, width, channels); or a tuple of
            views.
        training: Whether batch normalization uses the batch's statistics.

    Returns:
        Representations, float (N, D), or a tuple of them.

    Raises:
        TypeError: for an encoder, projector, criterion or probe of another type.
        ValueError: for images that do not fit the encoder, or an encoder that does not give one
            representation per image.
    """

    default_projector: str | None = None
    default_criterion: Callable[[], Criterion] | None = None

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | str | Sequence[int] | None = None,
        criterion: Criterion | None = None,
        probe: OnlineProbe | int | None = None,
        micro_batch_size: int | None = None,
        input_range: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.micro_batch_size = check_optional_count("micro_batch_size", micro_batch_size)
        self.encoder = as_encoder(encoder, input_range)
        # Kept for encoders that do not know the shape of their images before `build`; others have
        # been put right, and take [0, 1].
        is_complete = bool(getattr(self.encoder, "inputs", None))
        self.input_range = None if is_complete else check_input_range(input_range)
        is_default = projector is None
        if is_default:
            projector = self.default_projector
        make_criterion = type(self).default_criterion
        if criterion is None and make_criterion is not None:
            criterion = make_criterion()
        if projector is None or criterion is None:
            raise ValueError(
                f"`projector` and `criterion` must be given: {type(self).__name__} has no default. "
                f"Received: projector={projector!r}, criterion={criterion!r}"
            )
        self.projector = (
            projector if isinstance(projector, keras.layers.Layer) else Projector(projector)
        )
        if not isinstance(criterion, Criterion):
            raise TypeError(
                "`criterion` must be a keras_ssl.losses.Criterion. "
                f"Received: criterion={criterion!r} of type {type(criterion).__name__}"
            )
        self.criterion = criterion
        # Any whole number, NumPy's too.
        self.probe = OnlineProbe(int(probe)) if isinstance(probe, SupportsIndex) else probe
        if self.probe is not None and not isinstance(self.probe, OnlineProbe):
            raise TypeError(
                "`probe` must be a keras_ssl.layers.OnlineProbe, a number of classes, or None. "
                f"Received: probe={probe!r} of type {type(probe).__name__}"
            )
        if is_default:
            warn_if_heavy(self.projector)
        self._view_shapes: list[Any] | None = None
        # Learned from the first batch, for those who count images; None where batches vary.
        self.images_per_step: int | None = None
        self._trackers = [
            keras.metrics.Mean(name=term) for term in ("loss", *self.criterion.weights)
        ]

    def build(self, input_shape: Any) -> None:
        """Creates all variables for a view, or a tuple of views, of `input_shape`."""
        shapes = list(input_shape) if views.is_tuple_of_shapes(input_shape) else [input_shape] * 2
        self._view_shapes = [views.as_lists(shape) for shape in shapes]
        for shape in shapes:
            views.check_fits(self.encoder, shape)
        if views.is_of_images(shapes[0]):
            self._complete_encoder(tuple(shapes[0])[1:])
        # A call on symbolic tensors builds any model, one that knows nothing but `call` too.
        symbolic = tuple(views.symbolic(shape, self.compute_dtype) for shape in shapes)
        for i, view in enumerate(symbolic):
            if shapes[i] in shapes[:i]:
                continue
            representations = pooled(self.encoder(view)).shape
            check_representations(self.encoder, representations)
        for head in (self.projector, self.probe):
            if head is not None and not head.built:
                head.build(representations)
        # What the criterion will refuse is known now, not only when training begins.
        embeddings = keras.KerasTensor(self.projector.compute_output_shape(representations))
        if type(self).embed is not JointEmbeddingModel.embed:
            self.built = True  # `embed` calls the model itself.
            embeddings = self.embed(symbolic)[1][0]  # builds what a subclass has more
        check_embeddings(embeddings, embeddings)

    def get_build_config(self) -> dict[str, Any] | None:
        """Keras' hook: the shapes of the views, in lists, which JSON does not take for tuples."""
        return {"view_shapes": self._view_shapes} if self._view_shapes is not None else None

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Keras' hook: older files hold an `input_shape`, of a view or of two."""
        shapes = config["view_shapes"] if "view_shapes" in config else config["input_shape"]
        self.build(shapes if views.is_shape(shapes) else tuple(shapes))

    def _complete_encoder(self, image_shape: tuple[int | None, ...]) -> None:
        """Puts the encoder right, now that the shape of its images is known."""
        with tf.init_scope():  # Not in the graph of a step: it looks at values.
            encoder = as_encoder(self.encoder, self.input_range, image_shape)
        self.input_range = None
        if encoder is self.encoder:
            return
        for layer in all_layers(self):
            if isinstance(layer, MovingAverage):
                layer.replace(self.encoder, encoder)
        # In the place of the other one: the order of the weights is that of the layers.
        replace_layer(self, "encoder", encoder)

    def call(self, images: Tensor, training: bool = False) -> Tensor:  # noqa: D102
        if isinstance(images, tuple):
            return tuple(self._represent(view, training) for view in images)
        return self._represent(images, training)

    def _represent(self, view: Tensor, training: bool) -> Tensor:
        views.check_is_float(view)
        views.check_fits(self.encoder, keras.tree.map_structure(lambda x: tuple(x.shape), view))
        return pooled(self.encoder(view, training=training))

    # --- The seam ------------------------------------------------------------------------------

    def embed(
        self, views: tuple[Any, ...], training: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """From views to representations and to the embeddings that `pairs` chooses from.

        To be overridden for a predictor, a teacher, or a branch of any other kind. Row i of every
        representation and of every embedding belongs to image i of the batch: views are never put
        one behind the other in one array.

        Args:
            views: Tuple of views, two or more.
            training: Whether batch normalization uses the batch's statistics.

        Returns:
            Tuple of representations, each (N, D), the first of which the online probe learns from;
            and tuple of embeddings, each (N, M), as many as the method has.
        """
        representations = self(views, training=training)
        embeddings = tuple(self.projector(r, training=training) for r in representations)
        return representations, embeddings

    def pairs(self, embeddings: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """What the criterion compares; the loss is the mean over the pairs.

        By default every two embeddings, in order; all at once for a criterion that
        `takes_all_views`. To be overridden where some are not to be compared.

        Args:
            embeddings: What `embed` returned, tensors or arrays, each (N, M).

        Returns:
            List of tuples of embeddings, the arguments of the criterion.
        """
        if self.criterion.takes_all_views:
            return [tuple(embeddings)]
        return list(itertools.combinations(embeddings, 2))

    def after_step(self) -> None:
        """Called after every step of the optimizer: where a teacher follows. Does nothing here."""

    # --- What a step does ----------------------------------------------------------------------

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The criterion on the embeddings `y_pred`, mean over `pairs`, plus the layers' own losses.

        Returns:
            Scalar: this replica's share of the loss of the global batch.
        """
        pairs = self._check_pairs(x, y_pred)
        measured = [self.criterion.measure(*pair) for pair in pairs]
        loss = _mean([self.criterion.combine(terms) for terms in measured])
        terms = {name: _mean([terms[name] for terms in measured]) for name in measured[0]}
        if replicas.replica_count() > 1:
            self._refuse_layer_losses()
        if self.losses:
            loss = loss + ops.cast(replicas.share(self.layer_loss()), loss.dtype)
        self._update_compiled_metrics(pairs)
        values = {**terms, "loss": loss * replicas.replica_count()}
        for tracker in self._trackers:
            tracker.update_state(values[tracker.name])
        return loss

    def _check_pairs(self, x: Tensor, embeddings: Tensor) -> list[tuple[Tensor, ...]]:
        """The pairs of the embeddings of views `x`, whose rows are counted."""
        count = views.batch_size(x)
        for i, z in enumerate(embeddings):
            if None not in (count, z.shape[0]) and z.shape[0] != count:
                raise ValueError(
                    "`embed` must return embeddings whose row i is image i of the batch. Received: "
                    f"embedding {i} with {z.shape[0]} rows, of views with {count}"
                )
        pairs = list(self.pairs(tuple(embeddings)))
        if not pairs:
            raise ValueError(
                "`pairs` must return at least one pair of embeddings. Received: none of "
                f"{len(embeddings)} embeddings"
            )
        return pairs

    def _update_compiled_metrics(self, pairs: Sequence[tuple[Tensor, ...]]) -> None:
        metrics = compiled_metrics(self)
        if metrics is None:
            return
        for pair in pairs:
            for z_1, z_2 in itertools.combinations(map(ops.stop_gradient, pair), 2):
                metrics.update_state(z_2, z_1)

    def _refuse_layer_losses(self) -> None:
        # Keras keeps them in one list for all replicas, whose graphs are traced in turns: each
        # replica would find the losses of the last.
        found = [layer.name for layer in all_layers(self) if own_losses(layer)]
        if found:
            raise ValueError(
                "Activity regularizers and `add_loss` are not exact on several replicas, but with "
                f"`micro_batch_size`; regularizers of weights are. Received: layers {found}"
            )

    def layer_loss(self) -> Tensor:
        """The sum of the layers' own losses (regularizers), whose dtypes may differ; scalar."""
        floatx = keras.config.floatx()
        return sum((ops.cast(loss, floatx) for loss in self.losses), ops.zeros((), floatx))

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Any = None
    ) -> dict[str, Tensor]:
        """What Keras asks for to build metrics under a strategy, on views `x`; no step calls it."""
        self._update_compiled_metrics(self.pairs(self.embed(x)[1]))
        return self.get_metrics_result()

    def fit(
        self, *args: Any, initial_step: int = 0, check_range: bool = True, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains on batches of views: `keras.Model.fit`, with two arguments more.

        Batches of `keras_ssl.data.make_views` are all it needs, `fit(views, epochs=20)`: every
        epoch gets its own order and draws, the first of a fit that goes on (`initial_epoch`,
        `keras.callbacks.BackupAndRestore`) included; see `keras_ssl.data.epochs`.

        Args:
            *args: See `keras.Model.fit`.
            initial_step: Batches of the first epoch that have been trained on already, from 0, for
                a model that was saved within an epoch. The figures of the epoch go on from those
                that were saved with the model (those of compiled metrics begin again).
            check_range: Whether the first batch is looked at, and refused if its views look like
                bytes as floats: images from 0 to more than 2. `False`: the values are meant.
            **kwargs: See `keras.Model.fit`. There is no use for `class_weight`.

        Returns:
            The figures by epoch, in `history`.

        Raises:
            TypeError: for data that are no batches of views.
            ValueError: for batches that do not fit the model, floats that look like bytes,
                more steps than an epoch has, an `initial_step` outside the epoch.
            keras_ssl.distribution.WorkerLostError: if another machine was lost.
        """
        call = fitting.named_arguments(keras.Model.fit, *args, **kwargs)
        x, epoch = call.get("x"), call.get("initial_epoch", 0)
        fitting.check_source(x)
        fitting.check_numbers(call, initial_step)
        if self.optimizer is None and self.compiled:
            raise ValueError("`optimizer` must be given to `compile`. Received: optimizer=None")
        if call.get("class_weight") is not None:
            raise ValueError(
                "`class_weight` has no meaning here: no criterion sees a label. "
                f"Received: class_weight={call['class_weight']!r}"
            )
        sources = epochs_of(x)
        fitting.settle_steps(call, sources, initial_step)
        if sources or isinstance(x, (tf.data.Dataset, types.GeneratorType)):
            call.setdefault("shuffle", False)  # Keras would warn that it cannot.
        with fitting.held(sources, epoch), readable_errors():
            batch = fitting.look_at(call)
            if batch is not None:
                self._prepare(batch, check_range)
            if call.get("validation_data") is not None:
                self._check_validation(call["validation_data"], check_range)
            if self.optimizer is not None:
                fitting.warn_if_nothing_will_be_learned(self.optimizer, fitting.count_steps(call))
            call["callbacks"] = [
                fitting.HoldEpochs(sources),
                *keras.tree.flatten(call.get("callbacks") or []),
            ]
            if initial_step:
                return fitting.fit_from_step(super().fit, self, call, initial_step)
            try:
                return super().fit(**call)
            finally:
                # Keras would begin the next fit where this one was restored, too.
                forget_initial_epoch(self)

    def evaluate(self, *args: Any, check_range: bool = True, **kwargs: Any) -> Any:
        """The loss, its terms and the probe's figures: `keras.Model.evaluate`.

        Args:
            *args: See `keras.Model.evaluate`.
            check_range: See `fit`.
            **kwargs: See `keras.Model.evaluate`.
        """
        call = fitting.named_arguments(keras.Model.evaluate, *args, **kwargs)
        fitting.check_source(call.get("x"))
        with fitting.held(epochs_of(call.get("x")), 0), readable_errors():
            # Within a fit, Keras asks for the same data after every epoch.
            if not is_within_fit(call):
                batch = fitting.look_at(call)
                if batch is not None:
                    self._prepare(batch, check_range)
            return super().evaluate(**call)

    def _check_validation(self, validation_data: Any, check_range: bool) -> None:
        """Checks the first batch of the data that a fit evaluates on."""
        x, y, _ = keras.utils.unpack_x_y_sample_weight(validation_data)
        fitting.check_source(x, "validation_data")
        with fitting.held(epochs_of(x), 0):
            if isinstance(x, types.GeneratorType):
                return  # It gives its first batch only once.
            batch = fitting.look_at({"x": x, "y": y})
            if batch is not None:
                self._prepare(batch, check_range)

    def _prepare(self, batch: Any, check_range: bool) -> None:
        """Checks a batch before anything is trained, and builds the model for it."""
        x, _, _ = self._check_batch(batch)
        if check_range:
            fitting.check_range(x)
        # Under a strategy, `ReplicatedModel` builds it.
        if not self.built and own_strategy(self) is None:
            self.build(keras.tree.map_structure(lambda array: (None, *array.shape[1:]), x))

    def train_step(self, data: Any) -> dict[str, Tensor]:
        """One step on `((view_1, view_2), labels)`."""
        x, labels = self._unpack(data)
        count = views.batch_size(x)
        if count is not None:
            self.images_per_step = count * replicas.replica_count()
        if self.micro_batch_size is None:
            representations, gradients = self._gradients(x)
        else:
            representations, gradients = cached_gradients(
                self, x, lambda embeddings: self._scaled_loss(x, embeddings)
            )
        apply_gradients(self.optimizer, gradients, self.trainable_weights)
        self.after_step()
        if self.probe is not None:
            self.probe.train_step(*self._probe_data(representations, labels))
        return self.get_metrics_result()

    def test_step(self, data: Any) -> dict[str, Tensor]:
        """The loss, its terms and the probe on `((view_1, view_2), labels)`."""
        x, labels = self._unpack(data)
        if self.micro_batch_size is None:
            representations, embeddings = self.embed(x, training=False)
        else:
            representations, embeddings = embed_in_parts(self, x, training=False)
        self.compute_loss(x=x, y_pred=embeddings, training=False)
        if self.probe is not None:
            self.probe.evaluate_step(*self._probe_data(representations, labels))
        return self.get_metrics_result()

    def _gradients(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Representations, and this replica's part of the gradients, all images at once."""
        with tf.GradientTape() as tape:
            representations, embeddings = self.embed(x, training=True)
            loss = self._scaled_loss(x, embeddings)
        return representations, tape.gradient(loss, self.trainable_weights)

    def _scaled_loss(self, x: Tensor, embeddings: Tensor) -> Tensor:
        """The loss, times the scale that keeps gradients of half precision from vanishing."""
        return self.optimizer.scale_loss(self.compute_loss(x=x, y_pred=embeddings))

    def _check_batch(self, data: Any) -> tuple[Any, Any, Any]:
        """Views, labels and weights of a batch, whose structure is checked."""
        x, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if not isinstance(x, (tuple, list)) or len(x) < 2:
            raise ValueError(
                "A batch must be ((view_1, view_2, ...), labels) or ((view_1, view_2, ...),), of "
                "two views or more; make it with keras_ssl.data.make_views. "
                f"Received: {keras.tree.map_structure(_shape, data)}"
            )
        if sample_weight is not None:
            raise ValueError("`sample_weight` has no meaning for criteria of whole batches.")
        if self.loss is not None:
            raise ValueError(
                "`compile` takes no loss: the criterion is the loss, to be passed to the model as "
                f"`criterion`. Received: loss={self.loss!r}"
            )
        of_labels = ("acc", "accuracy", "ce", "crossentropy")
        if any(metric in of_labels for metric in keras.tree.flatten(metrics_as_given(self))):
            raise ValueError(
                "`metrics` see the embeddings of the views, not labels: for an accuracy, pass "
                f"`probe` to the model. Received: metrics={metrics_as_given(self)!r}"
            )
        if self.probe is not None and labels is None:
            raise ValueError(
                "The online probe needs labels: batches of ((view_1, view_2), labels) or of "
                "((view_1, view_2), (images, labels)). Received: "
                f"{keras.tree.map_structure(_shape, data)}"
            )
        return tuple(x), labels, sample_weight

    def _unpack(self, data: Any) -> tuple[Any, Any]:
        """Views and labels of a batch, checked while the step is traced."""
        x, labels, _ = self._check_batch(data)
        # Where the size of the batch is not known until it comes, the criterion cannot check it; a
        # single image would turn every weight into NaN. (XLA, which knows all sizes, skips this.)
        count = replicas.batch_size(keras.tree.flatten(x)[0])
        message = "A batch must hold at least 2 images; drop the remainder. Received: "
        return require(x, count > 1, message, count), labels

    def _probe_data(self, representations: Tensor, labels: Tensor) -> tuple[Any, Any]:
        """Representations and labels for the probe: of the first views, or of its own images."""
        if isinstance(labels, (tuple, list)):
            images, labels = labels
            return self(images, training=False), labels
        return representations[0], labels

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The loss, its terms, the probe's figures, compiled metrics: what a step returns."""
        probe = self.probe.metrics if self.probe is not None else []
        compiled = compiled_metrics(self)
        return [*self._trackers, *probe, *([] if compiled is None else [compiled])]

    def save_own_variables(self, store: Any) -> None:
        """Keras' hook: saves what Keras forgets, and training needs to go on exactly."""
        super().save_own_variables(store)
        for name, variable in self._forgotten().items():
            store[name] = np.asarray(variable)

    def load_own_variables(self, store: Any) -> None:
        """Keras' hook: files that lack this, or have it of another probe, load as well."""
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 (no Mapping)
        found = {name: saved.pop(name) for name in list(saved) if not name.isdigit()}
        super().load_own_variables(saved)
        forgotten = self._forgotten()
        if set(found) == set(forgotten):
            for name, variable in forgotten.items():
                variable.assign(found[name])

    def _forgotten(self) -> dict[str, Any]:
        """The figures of the epoch so far, as they are summed up; the state of random layers."""
        metrics = [*self._trackers, *(self.probe.metrics if self.probe is not None else [])]
        figures = [variable for metric in metrics for variable in metric.variables]
        states = [generator.state for generator in seed_generators(self)]
        return {
            **{f"figure_{i:03d}": variable for i, variable in enumerate(figures)},
            **{f"random_{i:03d}": variable for i, variable in enumerate(states)},
        }

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        parts = {
            "encoder": self.encoder,
            "projector": self.projector,
            "criterion": self.criterion,
            "probe": self.probe,
        }
        serialize = keras.saving.serialize_keras_object
        return {
            "name": self.name,
            "micro_batch_size": self.micro_batch_size,
            "input_range": self.input_range,
            "dtype": serialize(self.dtype_policy),
            **{name: serialize(part) for name, part in parts.items()},
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "JointEmbeddingModel":  # noqa: D102
        deserialize = keras.saving.deserialize_keras_object
        parts = {
            key: deserialize(value) if isinstance(value, dict) else value
            for key, value in config.items()
        }
        trust(parts["encoder"])
        return cls(**parts)


def _mean(values: Sequence[Any]) -> Tensor:
    """The mean of scalars; that of one is itself, bit for bit."""
    return values[0] if len(values) == 1 else sum(values) / len(values)


def _shape(x: Tensor) -> Any:
    return tuple(x.shape) if hasattr(x, "shape") else type(x).__name__
