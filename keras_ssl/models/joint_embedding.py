"""`JointEmbeddingModel`, the base of all methods, which says what a step computes."""

import itertools
import types
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import keras
import numpy as np
from keras import ops

from keras_ssl import replicas
from keras_ssl._backend import is_dataset, outside_graph
from keras_ssl._config import with_own_arguments
from keras_ssl._keras import (
    all_layers,
    automatic_jit,
    build_for,
    call_each,
    compiled_metrics,
    forget_initial_epoch,
    inner_layers,
    is_within_fit,
    optimizer_config,
    own_losses,
    own_strategy,
    replace_layer,
)
from keras_ssl._require import readable_errors, require
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_optional_count
from keras_ssl.data import Views, to_unit_floats
from keras_ssl.data.epochs import epochs_of
from keras_ssl.data.views import check_policy
from keras_ssl.encoders import (
    as_encoder,
    check_representations,
    describe_training,
    layer_factors,
    pooled,
    restore_training,
    trust,
)
from keras_ssl.encoders.input_range import check_input_range
from keras_ssl.encoders.training_part import keep_lora_apart
from keras_ssl.layers import MovingAverage, OnlineProbe, Projector
from keras_ssl.layers.projector import warn_if_heavy
from keras_ssl.losses import Criterion
from keras_ssl.losses.criterion import check_embeddings
from keras_ssl.models import batches, views
from keras_ssl.optimizers import scale_learning_rates
from keras_ssl.optimizers.apply import apply_gradients
from keras_ssl.training import fitting
from keras_ssl.training.random_layers import seed_generators
from keras_ssl.training.trainer import Trainer


@keras.saving.register_keras_serializable(package="keras_ssl")
class JointEmbeddingModel(Trainer):
    """A method: two or more views -> encoder -> projector -> embeddings -> criterion.

    `fit` and `evaluate` take batches `((view_1, view_2), labels)` or `((view_1, view_2),)`. A tuple
    always holds views: two or more, of the same size or of different sizes. A view is a batch of
    float images (N, height, width, channels) in [0, 1], or anything else that the encoder takes:
    any Keras structure except a tuple, whose arrays have the N rows of the batch (a dictionary, if
    it has several: Keras' `predict` makes a tuple of a list). Only the online
    probe sees the labels; the criterion and the encoder never do. If the probe has its own labeled
    images, a pair `(images, labels)` takes the place of the labels. `predict` and a call of the
    model return representations, because the encoder is trained for these.

    Each view passes through the network separately, so that batch normalization sees the statistics
    of one view, as in VICReg and Barlow Twins. The logs have the loss and every unweighted term of
    the criterion, by name.

    Metrics given to `compile` see every pair of embeddings that the criterion compares: `y_pred` is
    the first of a pair, `y_true` the second. `"cosine_similarity"` measures the alignment of the
    positives, and `keras_ssl.duality` has the quantities of the paper, which see the first pair
    alone (`is_of_first_embeddings`), because each image counts once in them.

    A model that is saved and loaded continues exactly as if it had not been saved. Its file also
    holds the state of random layers, which Keras does not save.

    A method is a subclass with two class attributes, `default_projector` and `default_criterion`;
    without them, users must pass both. A subclass may override three methods, `embed`, `pairs` and
    `after_step`: docs/extending.md has an example of each.

    Args:
        encoder: Any Keras model from images to representations (N, D) or feature maps.
            `keras_ssl.encoders.as_encoder` puts a layer in front of it that brings images in [0, 1]
            to the range that the encoder expects.
        projector: A layer from representations (N, D) to embeddings (N, M), or the widths of a
            `keras_ssl.layers.Projector`, such as "2048-2048-512". Default: the method's.
        criterion: A `keras_ssl.losses.Criterion`. Default: the method's, with its published
            constants.
        probe: Optional `keras_ssl.layers.OnlineProbe`, or a number of classes.
        micro_batch_size: Images that pass through the network at a time on each device, at least 1,
            for batches larger than memory. The gradient is still that of the whole batch, and costs
            one more forward pass (`keras_ssl.training.gradient_caching`). Batch normalization then
            sees a micro-batch. It must divide the number of images that each device gets from a
            batch. Default: all at once.
        input_range: The range of images that a trained encoder expects, if its own layers do not
            tell it: see `keras_ssl.encoders.as_encoder`.
        views: Optional `keras_ssl.data.Views`, a policy that makes the views within the step, on
            the device. Batches are then images, `(images, labels)`, bytes or floats in [0, 1], from
            `keras_ssl.data.make_batches` for example.
        layer_decay: Factor on the learning rate from each block of the encoder to the one before
            it, positive and at most 1: see `keras_ssl.encoders.layer_factors`. Default: one
            learning rate for all.
        name: Name of the model.
        **kwargs: See `keras.Model`.

    Call arguments:
        images: A view, such as float images in [0, 1], (N, height, width, channels); or a tuple of
            views.
        training: Whether batch normalization uses the batch's statistics.

    Returns:
        Representations, float (N, D), or a tuple of them.

    Raises:
        TypeError: if the encoder, projector, criterion or probe has another type.
        ValueError: if the images do not fit the encoder, or the encoder does not return one
            representation for each image.

    Example:
        >>> import numpy as np
        >>> from keras_ssl import losses
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> model = JointEmbeddingModel(encoder, projector="16-8", criterion=losses.VICRegLoss())
        >>> model.compile("adamw", run_eagerly=True)
        >>> view_1, view_2 = np.random.RandomState(0).rand(2, 4, 8, 8, 1).astype("float32")
        >>> sorted(model.train_on_batch((view_1, view_2), return_dict=True))
        ['covariance', 'invariance', 'loss', 'variance']
        >>> model.predict_on_batch(view_1).shape  # representations, not embeddings
        (4, 64)
    """

    default_projector: str | None = None
    # Whether batch normalization ends a projector that is given by its widths.
    normalized_projector = False
    default_criterion: Callable[[], Criterion] | None = None
    # What the docstring of a method of the library says of arguments that only it has.
    argument_docs = ""

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | str | Sequence[int] | None = None,
        criterion: Criterion | None = None,
        probe: OnlineProbe | int | None = None,
        micro_batch_size: int | None = None,
        input_range: Any = None,
        layer_decay: float | None = None,
        views: Views | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(name=name, **kwargs)
        self.views = None if views is None else check_policy("views", views)
        self.layer_decay = layer_decay
        self.micro_batch_size = check_optional_count("micro_batch_size", micro_batch_size)
        self.encoder = as_encoder(encoder, input_range)
        keep_lora_apart(self.encoder)
        if layer_decay is not None:
            layer_factors(self.encoder, layer_decay)  # Raises for a bad one.
        # It is kept only for encoders that do not know the shape of their images before `build`.
        # Others already take images in [0, 1].
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
            projector
            if isinstance(projector, keras.layers.Layer)
            else Projector(projector, normalized=self.normalized_projector)
        )
        if not isinstance(criterion, Criterion):
            raise TypeError(
                "`criterion` must be a keras_ssl.losses.Criterion. "
                f"Received: criterion={criterion!r} of type {type(criterion).__name__}"
            )
        self.criterion = criterion
        # Any whole number, also one of NumPy.
        self.probe = OnlineProbe(int(probe)) if isinstance(probe, SupportsIndex) else probe
        if self.probe is not None and not isinstance(self.probe, OnlineProbe):
            raise TypeError(
                "`probe` must be a keras_ssl.layers.OnlineProbe, a number of classes, or None. "
                f"Received: probe={probe!r} of type {type(probe).__name__}"
            )
        if is_default:
            warn_if_heavy(self.projector)
        self._view_shapes: list[Any] | None = None
        # The images of a whole batch of the latest `fit`, for callbacks that count images; None if
        # they are unknown.
        self.images_per_step: int | None = None
        # The sums behind the metrics of an epoch that a file was saved in, until training begins.
        self._figures_of_file: dict[str, np.ndarray] = {}
        self._trackers = [
            keras.metrics.Mean(name=term) for term in ("loss", *self.criterion.weights)
        ]

    def build(self, input_shape: Any) -> None:
        """Creates all variables for a view, or a tuple of views, of shape `input_shape`."""
        shapes = list(input_shape) if views.is_tuple_of_shapes(input_shape) else [input_shape] * 2
        self._view_shapes = [views.as_lists(shape) for shape in shapes]
        for shape in shapes:
            views.check_fits(self.encoder, shape)
        if views.is_of_images(shapes[0]):
            self._complete_encoder(tuple(shapes[0])[1:])
        # A call on symbolic tensors builds any model, even one that only has a `call`.
        symbolic = tuple(views.symbolic(shape, self.compute_dtype) for shape in shapes)
        for i, view in enumerate(symbolic):
            if shapes[i] in shapes[:i]:
                continue
            representations = pooled(self.encoder(view)).shape
            check_representations(self.encoder, representations)
        for head in (self.projector, self.probe):
            if head is not None and not head.built:
                head.build(representations)
        # Check the embeddings now, so that a misfit is known before training begins.
        embeddings = keras.KerasTensor(self.projector.compute_output_shape(representations))
        if type(self).embed is not JointEmbeddingModel.embed:
            self.built = True  # `embed` calls the model itself.
            embeddings = self.embed(symbolic)[1][0]  # Builds what a subclass adds.
        check_embeddings(embeddings, embeddings)
        keep_lora_apart(self.encoder)  # Some layers make theirs when they are built.

    def get_build_config(self) -> dict[str, Any] | None:
        """Keras' hook: returns the shapes of the views, as lists, because JSON has no tuples.

        And which parts are frozen that a subclass makes itself, such as a predictor.
        """
        if self._view_shapes is None:
            return None
        frozen = [i for i, part in enumerate(self._own_parts()) if not part.trainable]
        return {"view_shapes": self._view_shapes, **({"frozen": frozen} if frozen else {})}

    def build_from_config(self, config: dict[str, Any]) -> None:
        """Keras' hook: builds from a file, which may be an older one with an `input_shape`."""
        shapes = config["view_shapes"] if "view_shapes" in config else config["input_shape"]
        self.build(shapes if views.is_shape(shapes) else tuple(shapes))
        for i, part in enumerate(self._own_parts()):
            if i in config.get("frozen", ()):
                part.trainable = False

    def _own_parts(self) -> list[keras.layers.Layer]:
        """Returns the layers that are not arguments; a teacher is never trained."""
        given = (self.encoder, self.projector, self.probe)
        return [
            part
            for part in inner_layers(self)
            if not (isinstance(part, MovingAverage) or any(part is one for one in given))
        ]

    def _complete_encoder(self, image_shape: tuple[int | None, ...]) -> None:
        """Completes the encoder, now that the shape of its images is known."""
        with outside_graph():  # Not in the graph of a step, because it looks at values.
            encoder = as_encoder(self.encoder, self.input_range, image_shape)
        self.input_range = None
        if encoder is self.encoder:
            return
        for layer in all_layers(self):
            if isinstance(layer, MovingAverage):
                layer.replace(self.encoder, encoder)
        # In place of the old one, because the order of the layers is the order of the weights.
        replace_layer(self, "encoder", encoder)

    def call(self, images: Tensor, training: bool = False) -> Tensor:  # noqa: D102
        if self.views is not None and batches.is_with_draws(images):
            return self._represent(to_unit_floats(images[0]), training)
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
        """Returns the representations of views, and the embeddings that `pairs` chooses from.

        Override it for a predictor, a teacher, or a branch of any other kind. Row i of every
        representation and of every embedding belongs to image i of the batch: views are never
        concatenated in one array.

        Args:
            views: Tuple of views, two or more.
            training: Whether batch normalization uses the batch's statistics.

        Returns:
            Tuple of representations, each (N, D), and tuple of embeddings, each (N, M), as many as
            the method has. The online probe learns from the first representation.
        """
        representations = self(views, training=training)
        return representations, call_each(self.projector, representations, training)

    def pairs(self, embeddings: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """Returns the pairs that the criterion compares. The loss is the mean over them.

        By default they are all pairs of embeddings, in order. A criterion that `takes_all_views`
        gets all embeddings at once. Override it if some pairs should not be compared.

        Args:
            embeddings: What `embed` returned, tensors or arrays, each (N, M).

        Returns:
            List of tuples of embeddings, the arguments of the criterion.
        """
        if self.criterion.takes_all_views:
            return [tuple(embeddings)]
        return list(itertools.combinations(embeddings, 2))

    def after_step(self) -> None:
        """Runs after every step of the optimizer, for example to update a teacher.

        It does nothing unless a subclass overrides it.
        """

    # --- What a step does ----------------------------------------------------------------------

    def compute_loss(
        self,
        x: Tensor = None,
        y: Tensor = None,
        y_pred: Tensor = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Returns the criterion's mean over the `pairs` of `y_pred`, plus the layers' own losses.

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
        """Returns the pairs of the embeddings of views `x`, after checking the number of rows."""
        count = views.batch_size(x)
        for i, z in enumerate(embeddings):
            if None not in (count, z.shape[0]) and z.shape[0] != count:
                raise ValueError(
                    "`embed` must return embeddings whose row i is image i of the batch. Received: "
                    f"embedding {i} with {z.shape[0]} rows, for views with {count}"
                )
        pairs = list(self.pairs(tuple(embeddings)))
        if not pairs:
            raise ValueError(
                "`pairs` must return at least one pair of embeddings. Received: no pair of "
                f"{len(embeddings)} embeddings"
            )
        return pairs

    def _update_compiled_metrics(self, pairs: Sequence[tuple[Tensor, ...]]) -> None:
        metrics = compiled_metrics(self)
        if metrics is None:
            return
        (z_1, z_2), *others = [
            two for pair in pairs for two in itertools.combinations(map(ops.stop_gradient, pair), 2)
        ]
        metrics.update_state(z_2, z_1)
        for metric in metrics.metrics:
            # Of a set of samples, each may be counted once.
            if not getattr(metric, "is_of_first_embeddings", False):
                for z_1, z_2 in others:
                    metric.update_state(z_2, z_1)

    def _refuse_layer_losses(self) -> None:
        # Keras keeps them in one list for all replicas, whose graphs are traced in turns, so each
        # replica would find the losses of the last one.
        found = [layer.name for layer in all_layers(self) if own_losses(layer)]
        if found:
            raise ValueError(
                "Activity regularizers and `add_loss` are exact on several replicas only with "
                f"`micro_batch_size`; regularizers of weights always are. Received: layers {found}"
            )

    def layer_loss(self) -> Tensor:
        """Returns the sum of the layers' own losses (regularizers), whose dtypes may differ."""
        floatx = keras.config.floatx()
        return sum((ops.cast(loss, floatx) for loss in self.losses), ops.zeros((), floatx))

    def compute_metrics(
        self, x: Tensor, y: Tensor, y_pred: Tensor, sample_weight: Any = None
    ) -> dict[str, Tensor]:
        """Keras' hook: builds metrics under a strategy, from views `x`. No step calls it."""
        self._update_compiled_metrics(self.pairs(self.embed(tuple(x))[1]))
        return self.get_metrics_result()

    def fit(
        self, *args: Any, initial_step: int = 0, check_range: bool = True, **kwargs: Any
    ) -> keras.callbacks.History:
        """Trains on batches of views: `keras.Model.fit` with two more arguments.

        It needs only the batches of `keras_ssl.data.make_views`: `fit(views, epochs=20)`. Every
        epoch gets its own order and its own random views, also if a fit is continued
        (`initial_epoch`, `keras.callbacks.BackupAndRestore`); see `keras_ssl.data.epochs`.

        Args:
            *args: See `keras.Model.fit`.
            initial_step: The number of batches of the first epoch that the model was already
                trained on, for a model that was saved within an epoch. The epoch's metrics continue
                from the values in the saved model (those of metrics that are compiled, or that a
                subclass or a layer holds, begin again).
            check_range: Whether to check the first batch, and to refuse views that look like bytes
                as floats: images from 0 to more than 2. Pass `False` if the values are intended.
            **kwargs: See `keras.Model.fit`. `class_weight` must be None.

        Returns:
            A `keras.callbacks.History`, whose `history` has the metrics of every epoch.

        Raises:
            TypeError: if the data are not batches of views.
            ValueError: if the batches do not fit the model, floats look like bytes, an epoch has
                fewer steps than asked for, or `initial_step` is outside the epoch.
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
        if sources or is_dataset(x) or isinstance(x, types.GeneratorType):
            call.setdefault("shuffle", False)  # Keras would warn that it cannot shuffle.
        fitting.give_own_batches(call)
        with fitting.held(sources, epoch), readable_errors():
            batch, self.images_per_step = fitting.look_at(call, self.built), None
            if batch is not None:
                self._prepare(batch, check_range)
                self.images_per_step = fitting.rows_of_batches(call, batch)
            if self.built and not self.trainable_weights and self.probe is None:
                raise ValueError(
                    "A method must have something to train: thaw a part of its encoder or "
                    "projector, or give it a probe. Received: a model that is frozen as a whole"
                )
            if call.get("validation_data") is not None:
                self._check_validation(call["validation_data"], check_range)
            if self.optimizer is not None:
                fitting.warn_if_nothing_will_be_learned(self.optimizer, fitting.count_steps(call))
            call["callbacks"] = [
                fitting.HoldEpochs(sources),
                *keras.tree.flatten(call.get("callbacks") or []),
            ]
            try:
                if initial_step:
                    return fitting.fit_from_step(super().fit, self, call, initial_step)
                return super().fit(**call)
            finally:
                # Otherwise Keras would begin the next fit where this one was restored.
                forget_initial_epoch(self)
                self._figures_of_file = {}

    def evaluate(self, *args: Any, check_range: bool = True, **kwargs: Any) -> Any:
        """Computes the loss, its terms and the probe's metrics: `keras.Model.evaluate`.

        Args:
            *args: See `keras.Model.evaluate`.
            check_range: See `fit`.
            **kwargs: See `keras.Model.evaluate`.
        """
        call = fitting.named_arguments(keras.Model.evaluate, *args, **kwargs)
        fitting.check_source(call.get("x"))
        fitting.give_own_batches(call)
        with fitting.held(epochs_of(call.get("x")), 0), readable_errors():
            # Within a fit, Keras evaluates the same data after every epoch.
            if not is_within_fit(call):
                batch = fitting.look_at(call, self.built)
                if batch is not None:
                    self._prepare(batch, check_range, training=False)
            return super().evaluate(**call)

    def _check_validation(self, validation_data: Any, check_range: bool) -> None:
        """Checks the first batch of the data that a fit evaluates on."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(validation_data)
        fitting.check_source(x, "validation_data")
        fitting.check_weights(sample_weight)
        with fitting.held(epochs_of(x), 0):
            if isinstance(x, types.GeneratorType):
                return  # It yields its first batch only once.
            batch = fitting.look_at({"x": x, "y": y}, self.built)
            if batch is not None:
                self._prepare(batch, check_range)

    def _prepare(self, batch: Any, check_range: bool, training: bool = True) -> None:
        """Checks a batch before anything is trained or evaluated, and builds the model for it."""
        x, _ = batches.check(self, batch)
        terms = [tracker.name for tracker in self._trackers[1:]]
        if terms != list(self.criterion.weights):
            raise ValueError(
                "`criterion` was replaced by one with other terms: make a new method, with the "
                f"same encoder and projector. Received: terms {list(self.criterion.weights)} "
                f"instead of {terms}"
            )
        fitting.check_no_strategy()
        if check_range:
            fitting.check_range(x)
        # Under a strategy, `ReplicatedModel` builds the model.
        if not self.built and own_strategy(self) is None:
            self.build_for_batch(batch)
        self.start_teachers(training)
        self._build_metrics(batch)

    def _build_metrics(self, batch: Any) -> None:
        """Builds compiled metrics where Keras would call the model on a batch to do so.

        It would call it on images, as if these were views, or on a list of views, as if it were
        one.
        """
        if self.built and (self.views is not None or keras.backend.backend() != "tensorflow"):
            build_for(self, self.with_symbolic_views(batch))

    def start_teachers(self, training: bool = True) -> None:
        """Gives teachers the flags of their students, and those built in a graph their weights.

        Args:
            training: Whether training begins, after which teachers do not start again.
        """
        for layer in all_layers(self):
            if isinstance(layer, MovingAverage) and layer.built:
                layer.follow_flags()
        for layer in inner_layers(self):
            if isinstance(layer, MovingAverage):
                layer.start(training)

    def train_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Trains on one batch: `keras.Model.train_on_batch`."""
        batch = (x,) if y is None else (x, y)
        if not self.built and own_strategy(self) is None:
            self.build_for_batch(batch)
        self.start_teachers()
        if keras.backend.backend() != "tensorflow":
            self._build_metrics(batch)
        return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluates on one batch: `keras.Model.test_on_batch`."""
        if keras.backend.backend() != "tensorflow":
            self._build_metrics((x,) if y is None else (x, y))
        return super().test_on_batch(x, y, *args, **kwargs)

    def build_for_batch(self, batch: Any) -> None:
        """Builds the model for batches such as this one, or as its specification."""
        x, _ = batches.check(self, self.with_symbolic_views(batch), made=True)
        self.build(keras.tree.map_structure(lambda array: (None, *array.shape[1:]), x))

    def with_symbolic_views(self, batch: Any) -> Any:
        """Returns a batch with symbolic views in the place of images, if the model makes views."""
        return batches.with_symbolic_views(self.views, batch)

    def make_train_function(self, force: bool = False) -> Any:
        """Keras' hook: makes the function that trains.

        Raises:
            ValueError: if an option of the optimizer would change what is trained.
        """
        fitting.check_optimizer(self.optimizer)
        return super().make_train_function(force)

    def finish_step(
        self, gradients: Sequence[Tensor], representations: tuple[Tensor, ...], labels: Any
    ) -> None:
        """Does what a training step does after the gradients: optimizer, teacher and probe."""
        rows = views.batch_size(representations)
        if self.images_per_step is None and rows is not None:
            self.images_per_step = rows * replicas.replica_count()
        if self.layer_decay is not None:
            factors = layer_factors(self.encoder, self.layer_decay)
            scale_learning_rates(self.optimizer, factors)
        with self.optimizer_scope(self.optimizer):
            apply_gradients(self.optimizer, gradients, self.trainable_weights)
        self.after_step()
        if self.probe is not None:
            with self.optimizer_scope(self.probe.optimizer):
                self.probe.train_step(*self._probe_data(representations, labels))

    def finish_evaluation(
        self,
        x: Tensor,
        embeddings: tuple[Tensor, ...],
        representations: tuple[Tensor, ...],
        labels: Any,
    ) -> None:
        """Updates the metrics of an evaluation: those of the loss, its terms and the probe."""
        self.compute_loss(x=x, y_pred=embeddings, training=False)
        if self.probe is not None:
            self.probe.evaluate_step(*self._probe_data(representations, labels))

    def scaled_loss(self, x: Tensor, embeddings: tuple[Tensor, ...]) -> Tensor:
        """Returns the loss times the scale that keeps half-precision gradients from vanishing."""
        return self.optimizer.scale_loss(self.compute_loss(x=x, y_pred=embeddings))

    def unpacked(self, data: Any) -> tuple[Any, Any]:
        """Returns the views and labels of a batch, and checks them while a step is traced."""
        x, labels = batches.check(self, data)
        if self.views is not None:
            x = batches.made_views(self.views, keras.utils.unpack_x_y_sample_weight(data)[0])
        # If the batch size is unknown until the batch comes, the criterion cannot check it, and a
        # single image would turn every weight into NaN. (XLA, which knows all sizes, skips this.)
        count = replicas.batch_size(keras.tree.flatten(x)[0])
        message = "A batch must hold at least 2 images; drop the remainder. Received: "
        return require(x, count > 1, message, count), labels

    def _probe_data(self, representations: Tensor, labels: Tensor) -> tuple[Any, Any]:
        """Returns representations and labels for the probe, from the first views or its images."""
        if isinstance(labels, (tuple, list)):
            images, labels = labels
            return self(images, training=False), labels
        return representations[0], labels

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        """The metrics of a step: of the loss, its terms, the probe, `compile`, and of layers."""
        probe = self.probe.metrics if self.probe is not None else []
        compiled = compiled_metrics(self)
        ours = [*self._trackers, *probe, *([] if compiled is None else [compiled])]
        # Those of a subclass and of layers, which Keras lists once for each layer around them; but
        # not those of a teacher's copies, nor Keras' own of a compiled model, which nobody updates.
        teachers = (layer for layer in all_layers(self) if isinstance(layer, MovingAverage))
        known = {id(m) for m in (*ours, *(m for teacher in teachers for m in teacher.metrics))}
        others = {
            id(metric): metric
            for metric in super().metrics
            if id(metric) not in known and metric.name not in ("loss", "compile_metrics")
        }
        return [*ours, *others.values()]

    def save_own_variables(self, store: Any) -> None:
        """Keras' hook: saves the state that Keras does not save but exact continuation needs."""
        super().save_own_variables(store)
        for name, variable in self._forgotten().items():
            store[name] = ops.convert_to_numpy(variable)

    def load_own_variables(self, store: Any) -> None:
        """Keras' hook: also loads files that lack this state, or have that of another probe."""
        saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 (not a Mapping)
        found = {name: saved.pop(name) for name in list(saved) if not name.isdigit()}
        super().load_own_variables(saved)
        forgotten = self._forgotten()
        if set(found) == set(forgotten):
            for name, variable in forgotten.items():
                variable.assign(found[name])
            self._figures_of_file = {
                name: np.asarray(found[name]) for name in forgotten if name.startswith("figure_")
            }

    def figures_so_far(self) -> list[tuple[keras.Variable, np.ndarray]]:
        """Returns the sums behind the metrics, also where an `evaluate` has reset those of a file.

        A model that was saved within an epoch goes on with them.
        """
        names = {id(variable): name for name, variable in self._forgotten().items()}
        return [
            (v, self._figures_of_file.get(names.get(id(v), ""), ops.convert_to_numpy(v)))
            for metric in self.metrics
            for v in metric.variables
        ]

    def _forgotten(self) -> dict[str, Any]:
        """Returns the sums behind the epoch's metrics so far, and the state of random layers."""
        metrics = [*self._trackers, *(self.probe.metrics if self.probe is not None else [])]
        figures = [variable for metric in metrics for variable in metric.variables]
        states = [generator.state for generator in seed_generators(self)]
        return {
            **{f"figure_{i:03d}": variable for i, variable in enumerate(figures)},
            **{f"random_{i:03d}": variable for i, variable in enumerate(states)},
        }

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        parts = {
            **({} if self.views is None else {"views": self.views}),
            "encoder": self.encoder,
            "projector": self.projector,
            "criterion": self.criterion,
            "probe": self.probe,
        }
        serialize = keras.saving.serialize_keras_object
        # Only where there is one: a subclass may have a constructor of its own.
        decay = {} if self.layer_decay is None else {"layer_decay": self.layer_decay}
        training = describe_training(self.encoder)
        config = {
            **decay,
            **({"training": training} if training else {}),
            "name": self.name,
            "micro_batch_size": self.micro_batch_size,
            "input_range": self.input_range,
            "dtype": serialize(self.dtype_policy),
            **{name: serialize(part) for name, part in parts.items()},
        }
        return with_own_arguments(self, config)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Keras' hook: returns what `compile` was given, in names that every backend knows."""
        config = optimizer_config(super().get_compile_config())
        # What is the default here is no choice for another backend or device: without XLA, which is
        # TensorFlow's default on a CPU, JAX would compute every operation by itself.
        if config:
            default = not config.get("run_eagerly") and automatic_jit(self)
            if config.get("jit_compile") == default:
                config["jit_compile"] = "auto"
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "JointEmbeddingModel":  # noqa: D102
        deserialize = keras.saving.deserialize_keras_object
        config = dict(config)
        training = config.pop("training", {})
        parts = {
            key: deserialize(value) if isinstance(value, dict) else value
            for key, value in config.items()
        }
        trust(parts["encoder"])
        restore_training(parts["encoder"], training)
        return cls(**parts)


def _mean(values: Sequence[Any]) -> Tensor:
    """Returns the mean of scalars. The mean of one scalar is that scalar, bit for bit."""
    return values[0] if len(values) == 1 else sum(values) / len(values)
