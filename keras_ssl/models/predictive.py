"""Methods with a predictor: one side predicts the other side's embeddings, which do not learn.

No term of BYOL's and SimSiam's criterion holds different images apart. What does is the asymmetry:
a gradient reaches the predictions and never the targets. The duality paper (supplement B) argues
informally that their training dynamics act on the covariance of the dimensions, and so count with
the dimension-contrastive methods; MoCo's criterion is sample-contrastive.
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keras_ssl._backend import outside_graph
from keras_ssl._keras import call_each, clear_losses, replace_layer
from keras_ssl._tensors import Tensor
from keras_ssl.encoders import as_encoder, pooled
from keras_ssl.layers import MovingAverage, Predictor
from keras_ssl.losses import AlignmentLoss, MoCoLoss
from keras_ssl.models.joint_embedding import JointEmbeddingModel
from keras_ssl.models.methods import method


class PredictiveModel(JointEmbeddingModel):
    """Base of the methods with a predictor, and with a teacher if there is a `momentum`.

    `embed` returns a prediction for each view, and then a target for each. The criterion compares
    every prediction with the targets of the other views, in the order (prediction, target).

    Args:
        encoder: See `JointEmbeddingModel`.
        projector: See `JointEmbeddingModel`.
        criterion: See `JointEmbeddingModel`.
        probe: See `JointEmbeddingModel`.
        hidden: Widths of the hidden layers of the predictor, such as "4096". Default: the method's.
        momentum: Of the teacher that makes the targets, in [0, 1], or a schedule of it. Default:
            the method's. If that is None, there is no teacher, and the targets are the method's own
            embeddings.
        **kwargs: See `JointEmbeddingModel`.
    """

    default_hidden = "4096"
    default_momentum: float | None = None
    argument_docs = """\
    hidden: Widths of the hidden layers of the predictor. Default: "{cls.default_hidden}".
    momentum: Of the teacher that makes the targets, in [0, 1], or a schedule of it. Default:
        {cls.default_momentum}. A method without a default has no teacher unless this is given: the
        method's own embeddings are the targets.
"""

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | str | Sequence[int] | None = None,
        criterion: Any = None,
        probe: Any = None,
        hidden: str | Sequence[int] | None = None,
        momentum: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(encoder, projector, criterion, probe, **kwargs)
        self.hidden = self.default_hidden if hidden is None else hidden
        self.momentum = self.default_momentum if momentum is None else momentum
        self.predictor = Predictor(self.hidden, name="predictor")
        self.teacher = None
        if self.momentum is not None:
            self.teacher = MovingAverage([self.encoder, self.projector], self.momentum)

    def embed(
        self, views: tuple[Any, ...], training: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the representations, and the predictions and targets of all views."""
        representations, embeddings = super().embed(views, training)
        predictions = call_each(self.predictor, embeddings, training)
        if self.teacher is None:
            targets = [ops.stop_gradient(z) for z in embeddings]
        else:
            targets = [self.teacher(view, training=training) for view in views]
        return representations, (*predictions, *targets)

    def pairs(self, embeddings: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """Returns each prediction with the target of each other view."""
        views = len(embeddings) // 2
        predictions, targets = embeddings[:views], embeddings[views:]
        return [(predictions[i], targets[j]) for i in range(views) for j in range(views) if i != j]

    def after_step(self) -> None:
        """Moves the teacher toward the method's own weights."""
        if self.teacher is not None:
            self.teacher.update()


@method
class BYOL(PredictiveModel):
    """BYOL: a predictor finds what a slowly moving teacher says of another view.

    Its published momentum rises from 0.996 to 1 along a cosine. Here it is 0.996 throughout, unless
    you give `momentum=keras_ssl.optimizers.cosine_momentum(0.996, steps)`. The loss is the mean
    negative cosine over both directions; `2 - 2 cos`, added up over both, is 4 times that, plus 4.
    As informally argued in supplement B of the duality paper, its dynamics are those of a
    dimension-contrastive method.

    References:
        - Grill et al.: Bootstrap your own latent, NeurIPS 2020, sections 3.1 and 3.2, appendix J.
    """

    default_projector = "4096-256"
    default_criterion = AlignmentLoss
    default_momentum = 0.996


@method
class SimSiam(PredictiveModel):
    """SimSiam: a predictor finds what the method itself says of another view, without a gradient.

    Batch normalization without scale and offset ends the projector, as in the published code; a
    layer of your own is taken as it is. The published learning rate of the predictor does not
    decay, and ours does. As informally argued in supplement B of the duality paper, its dynamics
    are those of a dimension-contrastive method.

    References:
        - Chen and He: Exploring simple siamese representation learning, CVPR 2021, and its
          published code.
    """

    default_projector = "2048-2048-2048"
    normalized_projector = True
    default_criterion = AlignmentLoss
    default_hidden = "512"


@method
class MoCoV3(PredictiveModel):
    """MoCo v3, a sample-contrastive method: a prediction finds its target among those of a batch.

    The projector is that for a ResNet; for a vision transformer it has one more hidden layer.
    Batch normalization without scale and offset ends it, as in the published code; a layer of your
    own is taken as it is. For a transformer it also ends the published predictor, and not ours. The
    published momentum rises from 0.99 to 1 along a cosine; see `BYOL`.

    References:
        - Chen, Xie and He: An empirical study of training self-supervised vision transformers, ICCV
          2021, and its published code.
    """

    default_projector = "4096-256"
    normalized_projector = True
    default_criterion = MoCoLoss
    default_momentum = 0.99


@keras.saving.register_keras_serializable(package="keras_ssl")
class Distillation(JointEmbeddingModel):
    """A small encoder learns the representations of a frozen teacher, without labels.

    The projector maps the encoder's representation of a view to one of the teacher's size, which
    the criterion compares with the teacher's representation of the same view. Nothing can collapse:
    the targets are given. With `criterion=keras_ssl.losses.MoCoLoss()`, each image must be told
    from the others as well.

    Args:
        encoder: The student; see `JointEmbeddingModel`.
        projector: See `JointEmbeddingModel`. Default: two layers, "2048-D" with D the size of the
            teacher's representations.
        criterion: Compares a projection and a target, both float (N, D). Default:
            `keras_ssl.losses.AlignmentLoss()`, the negative cosine.
        probe: See `JointEmbeddingModel`.
        teacher: Any Keras model from images to representations, such as a pretrained backbone of
            `keras_ssl.encoders.load_encoder`. It is not trained (its `trainable` becomes False),
            runs in inference mode, and its weights are in the method's file.
        teacher_range: The range of images that the teacher was trained on; see `input_range`.
        **kwargs: See `JointEmbeddingModel`.

    Raises:
        ValueError: if the size of the teacher's representations is not known and no projector is
            given, or if student and teacher share weights; and as `JointEmbeddingModel` does.

    Example:
        >>> from keras_ssl import encoders
        >>> teacher = encoders.resnet18((32, 32, 3))
        >>> model = Distillation(encoders.resnet8((32, 32, 3)), teacher=teacher)
        >>> model.compile("adamw")
    """

    default_criterion = AlignmentLoss

    def __init__(
        self,
        encoder: keras.layers.Layer,
        projector: keras.layers.Layer | str | Sequence[int] | None = None,
        criterion: Any = None,
        probe: Any = None,
        *,
        teacher: keras.layers.Layer,
        teacher_range: Any = None,
        **kwargs: Any,
    ) -> None:
        teacher = as_encoder(teacher, teacher_range)
        if projector is None:
            shape = getattr(teacher, "output_shape", None)
            if not shape or not isinstance(shape[-1], int):
                raise ValueError(
                    "`projector` must be given, because the size of the teacher's representations "
                    f"is not known before it is built. Received: teacher={teacher!r}"
                )
            projector = f"2048-{shape[-1]}"
        super().__init__(encoder, projector, criterion, probe, **kwargs)
        shared = {id(w) for w in teacher.weights} & {id(w) for w in self.encoder.weights}
        if shared or teacher is self.encoder:
            raise ValueError(
                "`teacher` must not share weights with the encoder, which it would freeze: load or "
                f"copy one of them. Received: teacher={teacher.name!r}"
            )
        self.teacher = teacher
        # A teacher that knows the shape of its images takes them in [0, 1] from now on.
        self.teacher_range = None if getattr(teacher, "inputs", None) else teacher_range
        teacher.trainable = False

    def _complete_encoder(self, image_shape: tuple[int | None, ...]) -> None:
        super()._complete_encoder(image_shape)
        with outside_graph():  # As for the encoder.
            teacher = as_encoder(self.teacher, self.teacher_range, image_shape)
        self.teacher_range = None
        if teacher is not self.teacher:
            teacher.trainable = False
            replace_layer(self, "teacher", teacher)

    def start_teachers(self, training: bool = True) -> None:
        """Freezes the teacher again, which `model.trainable = True` would have thawed."""
        super().start_teachers(training)
        if self.teacher.trainable:
            self.teacher.trainable = False

    def embed(
        self, views: tuple[Any, ...], training: bool = False
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Returns the representations, and the projections and targets of all views."""
        representations, projections = super().embed(views, training)
        targets = [ops.stop_gradient(pooled(self.teacher(view, training=False))) for view in views]
        clear_losses(self.teacher)  # They are of nothing that is trained.
        own, wanted = projections[0].shape[-1], targets[0].shape[-1]
        # A subclass may go on with the projections.
        if own != wanted and wanted is not None and type(self).embed is Distillation.embed:
            raise ValueError(
                f"`projector` must end in the size of the teacher's representations, {wanted}. "
                f"Received: a projector of {own} dimensions"
            )
        return representations, (*projections, *targets)

    def pairs(self, embeddings: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
        """Returns each projection with the target of the same view."""
        views = len(embeddings) // 2
        return list(zip(embeddings[:views], embeddings[views:], strict=True))
