"""Recipes by name: published settings, and small ones that work without an accelerator.

A recipe is a frozen dataclass: read it, change it with `dataclasses.replace`, build from it.

>>> recipe = PUBLISHED["vicreg-d8192"]
>>> recipe.base_learning_rate, dict(recipe.criterion)["covariance_weight"]
(0.3, 0.5)

The papers do not print everything. The duality paper gives neither LARS's trust coefficient, nor
the variables that LARS excludes, nor the last learning rate. Here they are those of its authors'
VICReg code: 0.001, one-dimensional variables, and 0.001 of the peak. The paper does not give the
grids of its sweeps either.

All recipes differ from the published codes in these points. The last layer of the projector is bare
(SimCLR, SCL and lightly's DCL normalize it, and TCR's has a bias). The learning rate warms up and
decays step by step, and the cosine begins where the warm-up ends (TCR and lightly change the rate
once an epoch, and TCR's cosine includes the warm-up). Images are in [0, 1], not standardized.
Initial weights are Keras'.
"""

import dataclasses
import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keras_ssl import _renames, data, losses, models
from keras_ssl._validation import (
    check_choice,
    check_count,
    check_fraction,
    check_non_negative,
    check_positive,
)
from keras_ssl.layers.projector import parse_widths
from keras_ssl.optimizers import LARS, warmup_cosine
from keras_ssl.registry import look_up, name_of

__all__ = [
    "OPTIMIZERS",
    "PUBLISHED",
    "Recipe",
    "SMALL",
    "adamw",
    "lars",
    "lars_barlow_twins",
    "lars_simclr",
    "lars_solo",
    "lars_tcr",
    "methods",
    "sgd",
    "small",
]

_MOMENTUM = 0.9


def adamw(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes AdamW with Keras' constants."""
    return keras.optimizers.AdamW(learning_rate, weight_decay=weight_decay)


def sgd(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes SGD with momentum 0.9.

    The published codes add the decay to the gradient, where momentum multiplies it by
    1 / (1 - 0.9). Keras decays weights separately from the gradient, and therefore this function
    multiplies the decay by the factor. The two are equal except for a lag of some ten steps.
    """
    return keras.optimizers.SGD(
        learning_rate, momentum=_MOMENTUM, weight_decay=weight_decay / (1 - _MOMENTUM)
    )


def lars(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in VICReg's published code: one learning rate for all variables."""
    return LARS(learning_rate, _MOMENTUM, weight_decay)


def lars_simclr(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in SimCLR's published code: the learning rate is inside the momentum."""
    return LARS(learning_rate, _MOMENTUM, weight_decay, learning_rate_in_momentum=True)


def lars_tcr(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in TCR's published code: a trust coefficient of 0.02, and clipped steps."""
    return LARS(
        learning_rate, _MOMENTUM, weight_decay, trust_coefficient=0.02, clip_trust_ratio=True
    )


def lars_solo(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in solo-learn's settings without clipping: a trust coefficient of 0.02."""
    return LARS(learning_rate, _MOMENTUM, weight_decay, trust_coefficient=0.02)


def lars_barlow_twins(learning_rate: Any, weight_decay: float) -> keras.optimizers.Optimizer:
    """Makes LARS as in Barlow Twins' published code: one-dimensional variables have another rate.

    The rate is 0.0048 for biases and batch normalization, and 0.2 for weights.
    """
    return LARS(learning_rate, _MOMENTUM, weight_decay, one_dimensional_factor=0.0048 / 0.2)


# By the short names that configs have.
_OPTIMIZERS = {
    f.__name__: f for f in (adamw, sgd, lars, lars_simclr, lars_tcr, lars_solo, lars_barlow_twins)
}
_METHODS = {name: getattr(models, name) for name in models.__all__}
_CRITERIA = {
    name: part
    for name in losses.__all__
    if isinstance(part := getattr(losses, name), type) and issubclass(part, losses.Criterion)
}

OPTIMIZERS: dict[str, Callable[[Any, float], keras.optimizers.Optimizer]] = {
    "adamw": adamw,
    "sgd": sgd,
    "lars": lars,
}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """All that a pretraining run needs besides images and an encoder.

    Your own methods, criteria, optimizers and policies work as ours do. To give them a name in
    files (`get_config`, studies, `--config`), register them with Keras; see `keras_ssl.registry`.

    Raises:
        TypeError: for a model, a criterion, an optimizer or a criterion's settings of another type.
        ValueError: for a number out of its range, a projector that is not a list of widths, or a
            setting that the criterion does not have.

    Attributes:
        model: The method.
        projector: Widths of the projector.
        batch_size: Images per step, over all replicas.
        base_learning_rate: Learning rate at a batch of 256.
        weight_decay: Weight decay of the optimizer.
        epochs: Epochs in all.
        policy: Name of an augmentation policy in `keras_ssl.data.POLICIES`, or the name by which a
            function that returns a policy is registered with Keras. The function is called with
            `strength` if it has this argument.
        source: Where the settings come from.
        criterion: Arguments of the criterion; the others keep their defaults.
        warmup_epochs: Epochs of linear warm-up, at most a tenth of `epochs`.
        final_fraction: Last learning rate, divided by the peak.
        optimizer: A function from a learning rate and a weight decay to an optimizer, or a class
            that is called with (learning rate, weight_decay=...).
        strength: Strength of the augmentations, see `keras_ssl.data.policy`.
        criterion_class: The criterion, if it is not the method's own.
        arguments: Arguments of the method, such as `{"momentum": 0.99}` of BYOL: numbers, words, or
            lists of them. The others keep their defaults.
    """

    model: type[models.JointEmbeddingModel]
    projector: str
    batch_size: int
    base_learning_rate: float
    weight_decay: float
    epochs: int
    policy: str
    source: str
    criterion: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    warmup_epochs: float = 10
    final_fraction: float = 0.0
    optimizer: Callable[[Any, float], keras.optimizers.Optimizer] = lars
    strength: float = 1.0
    criterion_class: type[losses.Criterion] | None = None
    arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        # A wrong recipe raises when it is made, before a run has begun.
        is_model = isinstance(self.model, type)
        if not is_model or not issubclass(self.model, models.JointEmbeddingModel):
            raise TypeError(
                "`model` must be a method, a subclass of keras_ssl.models.JointEmbeddingModel. "
                f"Received: model={self.model!r}"
            )
        if not callable(self.optimizer):
            raise TypeError(
                "`optimizer` must be a function of a learning rate and a weight decay, such as "
                f"keras_ssl.recipes.adamw. Received: optimizer={self.optimizer!r}"
            )
        criterion = self.criterion_class
        is_criterion = isinstance(criterion, type) and issubclass(criterion, losses.Criterion)
        if criterion is not None and not is_criterion:
            raise TypeError(
                "`criterion_class` must be a subclass of keras_ssl.losses.Criterion, or None for "
                f"the method's own. Received: criterion_class={criterion!r}"
            )
        if not isinstance(self.criterion, Mapping):
            raise TypeError(
                "`criterion` must be a dictionary of settings. Received: "
                f"criterion={self.criterion!r}"
            )
        self._check_settings()
        self._check_arguments()
        check_count("batch_size", self.batch_size)
        check_count("epochs", self.epochs)
        check_positive("base_learning_rate", self.base_learning_rate)
        for name in ("weight_decay", "warmup_epochs", "strength"):
            check_non_negative(name, getattr(self, name))
        check_fraction("final_fraction", self.final_fraction)
        parse_widths(self.projector)

    def _check_settings(self) -> None:
        """Raises a `ValueError` for a setting that the criterion does not have."""
        make = self.criterion_class or self.model.default_criterion
        if make is None:
            return  # `make_criterion` says so when it is needed.
        known = inspect.signature(make).parameters
        if any(one.kind is one.VAR_KEYWORD for one in known.values()):
            return
        wrong = [name for name in self.criterion if name not in known]
        if wrong:
            raise ValueError(
                f"`criterion` must be settings of {getattr(make, '__name__', make)}, which are "
                f"{list(known)}. Received: {', '.join(map(repr, wrong))}"
            )

    def _check_arguments(self) -> None:
        """Raises for an argument that the method does not have, or that JSON cannot hold."""
        if not isinstance(self.arguments, Mapping):
            raise TypeError(
                "`arguments` must be a dictionary of arguments of the method. Received: "
                f"arguments={self.arguments!r}"
            )
        own = ("self", "encoder", "projector", "criterion", "probe", "name", "kwargs")
        known = [
            name
            for part in self.model.__mro__
            if issubclass(part, models.JointEmbeddingModel)
            for name in inspect.signature(part.__init__).parameters
            if name not in own
        ]
        for name, value in self.arguments.items():
            if name not in known:
                raise ValueError(
                    f"`arguments` must be arguments of {self.model.__name__}, which are "
                    f"{list(dict.fromkeys(known))}. Received: {name!r}"
                )
            try:
                json.dumps(_plain(value))
            except TypeError as error:
                raise ValueError(
                    "`arguments` must be numbers, words, or lists of them. Received: "
                    f"{name}={value!r}"
                ) from error

    @property
    def make_criterion(self) -> Callable[..., losses.Criterion]:
        """The class that makes the criterion: `criterion_class`, or the method's own."""
        make = self.criterion_class or self.model.default_criterion
        if make is None:
            raise ValueError(
                "`model` must have a criterion of its own, or `criterion_class` must be given. "
                f"Received: model={self.model.__name__}"
            )
        return make

    @property
    def has_strength(self) -> bool:
        """Whether the policy takes a strength; ours do."""
        return "strength" in inspect.signature(self._make_policy).parameters

    @property
    def _make_policy(self) -> Callable[..., data.TwoViews]:
        name = _renames.renamed(self.policy, _renames.POLICIES)
        return look_up("`policy`", name, data.POLICIES)

    def build_policy(self) -> data.TwoViews:
        """Builds the policy, which makes the views of an image.

        Raises:
            ValueError: for an unknown policy, or a strength if the policy takes none.
        """
        if self.has_strength:
            return self._make_policy(strength=self.strength)
        if self.strength != 1:
            raise ValueError(
                f"`strength` must be 1 for the policy {self.policy!r}, which takes none. Received: "
                f"strength={self.strength}"
            )
        return self._make_policy()

    def build_model(
        self, encoder: keras.layers.Layer, probe: Any = None, **kwargs: Any
    ) -> models.JointEmbeddingModel:
        """Builds the model, which is not compiled.

        Args:
            encoder: Any Keras model from images to representations.
            probe: Online probe, or number of classes; see `JointEmbeddingModel`.
            **kwargs: More arguments of the method; these come before `arguments`.
        """
        criterion = self.make_criterion(**self.criterion)
        arguments = {**self.arguments, **kwargs}
        return self.model(encoder, self.projector, criterion=criterion, probe=probe, **arguments)

    def build_optimizer(self, steps_per_epoch: int) -> keras.optimizers.Optimizer:
        """Builds the optimizer and its schedule: linear warm-up, cosine, the rule lr * batch / 256.

        Args:
            steps_per_epoch: Steps per epoch.

        Raises:
            TypeError: if `optimizer` does not make an optimizer.
        """
        schedule = warmup_cosine(
            self.base_learning_rate,
            self.batch_size,
            steps_per_epoch,
            self.epochs,
            min(self.warmup_epochs, self.epochs / 10),
            self.final_fraction,
        )
        if isinstance(self.optimizer, type):  # A class may have another second argument.
            made = self.optimizer(schedule, weight_decay=self.weight_decay)
        else:
            made = self.optimizer(schedule, self.weight_decay)
        if not isinstance(made, keras.optimizers.Optimizer):
            raise TypeError(
                "`optimizer` must make a keras.optimizers.Optimizer. Received: "
                f"optimizer={self.optimizer!r}, which made {made!r}"
            )
        return made

    def get_config(self) -> dict[str, Any]:
        """Returns the recipe as JSON can hold it: classes and functions by name.

        Ours have short names; yours have the names by which they are registered with Keras.

        Raises:
            ValueError: for a method, a criterion or an optimizer of your own that is not registered
                with Keras.
        """
        config = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        arguments = {name: _plain(value) for name, value in config.pop("arguments").items()}
        return {
            **{name: _plain(value) for name, value in config.items()},
            # Only where there are some: recipes of earlier versions have none.
            **({"arguments": arguments} if arguments else {}),
            "criterion": {name: _plain(value) for name, value in self.criterion.items()},
            "model": name_of("`model`", self.model, _METHODS),
            "optimizer": name_of("`optimizer`", self.optimizer, _OPTIMIZERS),
            "criterion_class": self.criterion_class
            and name_of("`criterion_class`", self.criterion_class, _CRITERIA),
        }

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Recipe":
        """Makes the recipe that `get_config` described, in this version or an earlier one.

        It imports nothing that the configuration names.

        Raises:
            ValueError: for a setting that recipes do not have, or a missing setting; for a method,
                a criterion or an optimizer that is neither part of this library nor registered with
                Keras.
        """
        config = _renames.recipe(config)
        fields = dataclasses.fields(cls)
        for name in config:
            check_choice("recipe", name, [field.name for field in fields])
        parts = {
            "model": look_up("`model`", config.get("model"), _METHODS),
            "optimizer": look_up("`optimizer`", config.get("optimizer", "lars"), _OPTIMIZERS),
        }
        criterion = getattr(parts["model"], "default_criterion", None)
        if config.get("criterion_class") is not None:
            criterion = look_up("`criterion_class`", config["criterion_class"], _CRITERIA)
            parts["criterion_class"] = criterion
        config = _renames.recipe(config, criterion)
        try:
            return cls(**{**config, **parts})
        except TypeError as error:
            raise ValueError(
                f"`config` must have every setting of a recipe. Received: {dict(config)}; {error}"
            ) from error


def _plain(value: Any) -> Any:
    """Converts a NumPy number to Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _table_s6(
    model: type[models.JointEmbeddingModel],
    dimensions: int,
    base_learning_rate: float,
    criterion: Mapping[str, Any],
    batch_size: int = 1024,
) -> Recipe:
    return Recipe(
        model,
        projector=f"8192-8192-{dimensions}",
        batch_size=batch_size,
        base_learning_rate=base_learning_rate,
        weight_decay=1e-6,
        epochs=100,
        policy="byol",
        source="Garrido et al., ICLR 2023: Table S6, supplement D (ImageNet, ResNet-50)",
        criterion=criterion,
        final_fraction=0.001,
    )


def _vicreg(covariance_weight: float) -> dict[str, float]:
    return {
        "invariance_weight": 25.0,
        "variance_weight": 25.0,
        "covariance_weight": covariance_weight,
    }


PUBLISHED: dict[str, Recipe] = {
    "vicreg-d256": _table_s6(models.VICReg, 256, 0.3, _vicreg(4.0)),
    "vicreg-d512": _table_s6(models.VICReg, 512, 0.3, _vicreg(2.0)),
    "vicreg-d1024": _table_s6(models.VICReg, 1024, 0.3, _vicreg(2.0)),
    "vicreg-d2048": _table_s6(models.VICReg, 2048, 0.3, _vicreg(2.0)),
    "vicreg-d8192": _table_s6(models.VICReg, 8192, 0.3, _vicreg(0.5)),
    "vicreg-exp-d2048": _table_s6(models.VICRegExp, 2048, 0.5, {"temperature": 0.1}),
    "vicreg-exp-d8192": _table_s6(models.VICRegExp, 8192, 0.8, {"temperature": 0.1}),
    "vicreg-ctr-d512": _table_s6(models.VICRegCtr, 512, 0.6, {"temperature": 0.15}),
    "simclr-tuned-d512": _table_s6(models.SimCLR, 512, 0.5, {"temperature": 0.15}, 2048),
    "simclr-imagenet": Recipe(
        models.SimCLR,
        projector="2048-128",
        batch_size=4096,
        base_learning_rate=0.3,
        weight_decay=1e-6,
        epochs=100,
        policy="simclr",
        source=(
            "Chen et al., ICML 2020 (ImageNet, ResNet-50); its code now has a weight decay of 1e-4 "
            "and a head of three layers"
        ),
        criterion={"temperature": 0.1},
        optimizer=lars_simclr,
    ),
    "simclr-cifar10": Recipe(
        models.SimCLR,
        projector="512-512-128",
        batch_size=512,
        base_learning_rate=1.0,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr_cifar",
        source="google-research/simclr, README, and its code's defaults (CIFAR-10, ResNet-18)",
        criterion={"temperature": 0.5},
        optimizer=lars_simclr,
    ),
    "dcl-cifar10": Recipe(
        models.DCL,
        projector="512-128",
        batch_size=512,
        base_learning_rate=0.12,
        weight_decay=5e-4,
        epochs=200,
        policy="simclr_cifar",
        source="lightly's benchmark (CIFAR-10, ResNet-18): SGD 0.06 * batch / 128, no warm-up",
        criterion={"temperature": 0.1},
        warmup_epochs=0,
        optimizer=sgd,
    ),
    "scl-imagenet": Recipe(
        models.SpectralContrastive,
        projector="8192-8192-8192",
        batch_size=384,
        base_learning_rate=0.05,
        weight_decay=1e-4,
        epochs=101,
        policy="simsiam",
        source=(
            "HaoChen et al., NeurIPS 2021, and its code (ImageNet, ResNet-50): 101 epochs in the "
            "file that is named for 100, no warm-up"
        ),
        criterion={"squared_radius": 10.0},
        warmup_epochs=0,
        optimizer=sgd,
    ),
    "vicreg-imagenet": Recipe(
        models.VICReg,
        projector="8192-8192-8192",
        batch_size=2048,
        base_learning_rate=0.2,
        weight_decay=1e-6,
        epochs=1000,
        policy="byol",
        source="Bardes et al., ICLR 2022, and its code (ImageNet, ResNet-50)",
        criterion=_vicreg(1.0),
        final_fraction=0.001,
    ),
    "barlow-twins-imagenet": Recipe(
        models.BarlowTwins,
        projector="8192-8192-8192",
        batch_size=2048,
        base_learning_rate=0.2,
        weight_decay=1e-6,
        epochs=1000,
        policy="byol",
        source="Zbontar et al., ICML 2021, and its code (ImageNet, ResNet-50)",
        final_fraction=0.001,
        optimizer=lars_barlow_twins,
    ),
    "tcr-cifar10": Recipe(
        models.TCR,
        projector="4096-128",
        batch_size=1024,
        base_learning_rate=0.3 * 256 / 1024,  # Its code has 0.3 for any batch.
        weight_decay=1e-4,
        epochs=600,
        policy="simclr_cifar",
        source="Li et al., 2022, and its code (CIFAR-10, ResNet-18): 0.3, not scaled by the batch",
        optimizer=lars_tcr,
    ),
    "byol-imagenet": Recipe(
        models.BYOL,
        projector="4096-256",
        batch_size=4096,
        base_learning_rate=0.2,
        weight_decay=1.5e-6,
        epochs=1000,
        policy="byol",
        source=(
            "Grill et al., NeurIPS 2020 (ImageNet, ResNet-50): the momentum rises from 0.996 to 1 "
            "there"
        ),
        arguments={"hidden": "4096", "momentum": 0.996},
    ),
    "simsiam-imagenet": Recipe(
        models.SimSiam,
        projector="2048-2048-2048",
        batch_size=512,
        base_learning_rate=0.05,
        weight_decay=1e-4,
        epochs=100,
        policy="simsiam",
        source=(
            "Chen and He, CVPR 2021, and its code (ImageNet, ResNet-50): no warm-up; the learning "
            "rate of the predictor does not decay there"
        ),
        warmup_epochs=0,
        optimizer=sgd,
        arguments={"hidden": "512"},
    ),
    "moco-v3-imagenet": Recipe(
        models.MoCoV3,
        projector="4096-256",
        batch_size=4096,
        base_learning_rate=0.3,
        weight_decay=1e-6,
        epochs=300,
        policy="byol",
        source=(
            "facebookresearch/moco-v3, CONFIG.md, and its code's defaults (ImageNet, ResNet-50): "
            "crops of at least 20 % there, and a momentum that rises from 0.99 to 1"
        ),
        criterion={"temperature": 1.0},
        arguments={"hidden": "4096", "momentum": 0.99},
    ),
    "vibcreg-cifar10": Recipe(
        models.VIbCReg,
        projector="2048-2048-2048",
        batch_size=256,
        base_learning_rate=0.3,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr_cifar",
        source=(
            "solo-learn's settings (CIFAR-10, ResNet-18): crops of at least 20 %, less jitter, and "
            "solarization with probability 0.1 there, and GELU in the projector"
        ),
        optimizer=lars_solo,
    ),
    "w-mse-cifar10": Recipe(
        models.WMSE,
        projector="1024-64",
        batch_size=512,
        base_learning_rate=3e-3 * 256 / 512,  # Its code has 0.003 for any batch.
        weight_decay=1e-6,
        epochs=1000,
        policy="simclr_cifar",
        source=(
            "htdt/self-supervised, README, and its code's defaults (CIFAR-10, ResNet-18): Adam, "
            "0.003, not scaled by the batch, divided by 5 after epochs 950 and 975; crops of at "
            "least 20 %, and gray with probability 0.1 there"
        ),
        criterion={"whitening_size": 128},
        warmup_epochs=1,
        optimizer=adamw,
    ),
    "frossl-cifar10": Recipe(
        models.FroSSL,
        projector="2048-2048-1024",
        batch_size=256,
        base_learning_rate=0.3,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr",
        source="OFSkean/FroSSL, its settings (CIFAR-10, ResNet-18); its file turns crops off",
        optimizer=lars_tcr,
    ),
    "i-vne-cifar10": Recipe(
        models.IVNE,
        projector="2048-2048-1024",
        batch_size=256,
        base_learning_rate=0.3,
        weight_decay=1e-4,
        epochs=1000,
        policy="simclr",
        source="OFSkean/FroSSL, its settings for I-VNE+ (CIFAR-10, ResNet-18); without crops there",
        optimizer=lars_tcr,
    ),
    "mmcr-cifar10": Recipe(
        models.MMCR,
        projector="512-128",
        batch_size=32,
        base_learning_rate=1e-3 * 256 / 32,  # Its code has 0.001 for any batch.
        weight_decay=1e-6,
        epochs=500,
        policy="simclr_cifar",
        source="ThomasYerxa/mmcr, its code's defaults (CIFAR-10, ResNet-50): Adam, 40 views there",
        warmup_epochs=0,
        optimizer=adamw,
    ),
    "uniformity-stl10": Recipe(
        models.AlignmentUniformity,
        projector="128",
        batch_size=768,
        base_learning_rate=0.12,
        weight_decay=1e-4,
        epochs=200,
        policy="simclr_cifar",
        source=(
            "ssnl/align_uniform, its code's defaults (STL-10 at 64 pixels, a small AlexNet): the "
            "learning rate is divided by 10 after epochs 155, 170 and 185, and there is more jitter "
            "of the hue"
        ),
        warmup_epochs=0,
        optimizer=sgd,
    ),
    "lejepa-imagenette": Recipe(
        models.LeJEPA,
        projector="2048-2048-16",
        batch_size=256,
        base_learning_rate=2e-3,
        weight_decay=0.05,
        epochs=800,
        policy="simclr",
        source=(
            "rbalestr-lab/lejepa, MINIMAL.md (Imagenette at 128 pixels, ViT-S/8): 4 views, and "
            "solarization with probability 0.2 there"
        ),
        criterion={"sigreg_weight": 0.02},
        warmup_epochs=1,
        final_fraction=0.5,
        optimizer=adamw,
    ),
}


def small(model: type[models.JointEmbeddingModel], **criterion: Any) -> Recipe:
    """Makes small settings for any method, for tiny images and minutes of CPU.

    Args:
        model: The method, such as your own.
        **criterion: Arguments of its criterion; the others keep their defaults.

    Raises:
        ValueError: for an argument that its criterion does not have.
    """
    return Recipe(
        model,
        projector="256-256-256",
        batch_size=128,
        base_learning_rate=6e-3,
        weight_decay=1e-4,
        epochs=40,
        policy="tiny_gray",
        source="ours: benchmarks/methods.py",
        criterion=criterion,
        warmup_epochs=2,
        optimizer=adamw,
    )


# One per method, for tiny images and minutes of CPU: AdamW, and the criteria's published constants
# except for VICReg-exp. With Table S6's weights (1 / 1 / 2), its log-sum-exp crushes the variance
# at this size; 4 / 4 / 2 keep it up, and are better. Both are in the README's table of results.
SMALL: dict[str, Recipe] = {
    "simclr": small(models.SimCLR),
    "simclr-sq": small(models.SimCLR, similarity="squared"),
    "simclr-abs": small(models.SimCLR, similarity="absolute"),
    "dcl": small(models.DCL),
    "dcl-sq": small(models.DCL, similarity="squared"),
    "dcl-abs": small(models.DCL, similarity="absolute"),
    "spectral": small(models.SpectralContrastive),
    "vicreg-ctr": small(models.VICRegCtr),
    "vicreg": small(models.VICReg),
    "vicreg-exp": small(models.VICRegExp, invariance_weight=4.0, variance_weight=4.0),
    "vicreg-exp-table-s6": small(models.VICRegExp),
    "barlow-twins": small(models.BarlowTwins),
    "tcr": small(models.TCR),
    "uniformity": small(models.AlignmentUniformity),
    "vibcreg": small(models.VIbCReg),
    # Whitening needs more images in a batch than dimensions.
    "w-mse": dataclasses.replace(small(models.WMSE), projector="256-256-32"),
    "frossl": small(models.FroSSL),
    "i-vne": small(models.IVNE),
    "mmcr": small(models.MMCR),
    "lejepa": dataclasses.replace(small(models.LeJEPA), projector="256-256-64"),
    "byol": dataclasses.replace(small(models.BYOL), arguments={"hidden": "256", "momentum": 0.99}),
    "simsiam": dataclasses.replace(small(models.SimSiam), arguments={"hidden": "64"}),
    "moco-v3": dataclasses.replace(
        small(models.MoCoV3), arguments={"hidden": "256", "momentum": 0.99}
    ),
}


def methods() -> dict[str, Recipe]:
    """Returns a small recipe per method: `SMALL`, and your own methods by their names in Keras.

    Your own methods are the subclasses of `keras_ssl.models.JointEmbeddingModel` that have a
    default criterion and are registered with Keras. To give one other settings or a shorter name,
    add a row to `SMALL` where the method is defined.
    """
    own = {
        name: small(part)
        for name, part in keras.saving.get_custom_objects().items()
        if isinstance(part, type)
        and issubclass(part, models.JointEmbeddingModel)
        and part.default_criterion is not None
        and part not in _METHODS.values()
    }
    return {**SMALL, **own}
