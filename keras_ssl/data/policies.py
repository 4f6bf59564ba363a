"""Named policies: what makes two views of an image, with the probabilities of the papers."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_ssl import _renames
from keras_ssl._validation import check_choice, check_fraction, check_non_negative
from keras_ssl.data.augmentation import (
    Augmentation,
    Compose,
    RandomColorJitter,
    RandomFlip,
    RandomGaussianBlur,
    RandomGrayscale,
    RandomResizedCrop,
    RandomSolarize,
    check_augmentation,
)

Size = Sequence[int] | None


@keras.saving.register_keras_serializable(package="keras_ssl")
class TwoViews(Augmentation):
    """Two views of each image of a batch, from two augmentations.

    Args:
        view_1: `Augmentation` that makes the first view.
        view_2: The second view's; `None`: the same, with other draws.
        seed: Seed of the draws inside a model.
        **kwargs: `name` and the rest of `keras.layers.Layer`.

    Call arguments:
        images: (N, height, width, channels), integers in [0, 255] or floats in [0, 1].
        training: `False` gives the images themselves, resized, twice.
        seed: Whole numbers that decide all draws, see `Augmentation`; by default the layer's own
            next.

    Returns:
        Pair of float32 in [0, 1], each (N, height, width, channels).
    """

    gives_pair = True

    def __init__(
        self,
        view_1: Augmentation,
        view_2: Augmentation | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        if "probability" in kwargs:
            raise TypeError("`TwoViews` takes no `probability`: give it to what makes the views.")
        super().__init__(seed=seed, **kwargs)
        self.view_1 = check_augmentation("view_1", view_1)
        self.view_2 = view_1 if view_2 is None else check_augmentation("view_2", view_2)

    @property
    def draw_count(self) -> int:  # type: ignore[override]  # noqa: D102
        return 2 + self.view_1.draw_count + self.view_2.draw_count

    def draw(self, numbers: Any, size: Sequence[Any], xp: Any) -> dict[str, Any]:
        """What the views draw, as "view_1" and "view_2"."""
        count = 1 + self.view_1.draw_count
        return {
            "view_1": self.view_1.draw_all(numbers[:, :count], size, xp),
            "view_2": self.view_2.draw_all(numbers[:, count:], size, xp),
        }

    def leave(self, images: Any) -> Any:  # noqa: D102
        return self.view_1.leave(images), self.view_2.leave(images)

    def augment(self, images: Any, drawn: dict[str, Any]) -> Any:  # noqa: D102
        return (
            self.view_1.apply(images, drawn["view_1"]),
            self.view_2.apply(images, drawn["view_2"]),
        )

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        return tuple(v.compute_output_shape(input_shape) for v in (self.view_1, self.view_2))

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        serialize = keras.saving.serialize_keras_object
        views = {"view_1": serialize(self.view_1), "view_2": serialize(self.view_2)}
        config = {**super().get_config(), **views}
        del config["probability"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TwoViews":  # noqa: D102
        deserialize = keras.saving.deserialize_keras_object
        views = {view: deserialize(config[view]) for view in ("view_1", "view_2")}
        return cls(**{**config, **views})


def byol(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """The paper's policy (Table S1): BYOL's, asymmetric in blur and solarisation.

    Crop of 8 to 100 % of the area, flip 0.5, colour jitter 0.4 / 0.4 / 0.2 / 0.1 with 0.8, grey
    0.2; blur 1.0 and 0.1, solarisation 0.0 and 0.2 for the first and the second view. The paper
    does not print the scale of the crop; BYOL's and VICReg's codes have (0.08, 1).

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the colour jitter, at least 0.
    """
    s = check_non_negative("strength", strength)

    def view(blur: float, solarize: float) -> Compose:
        return Compose(
            [
                RandomResizedCrop(size),
                RandomFlip(0.5),
                RandomColorJitter(0.4 * s, 0.4 * s, 0.2 * s, 0.1 * s, probability=0.8),
                RandomGrayscale(0.2),
                RandomGaussianBlur((0.1, 2.0), probability=blur),
                RandomSolarize(solarize),
            ]
        )

    return TwoViews(view(blur=1.0, solarize=0.0), view(blur=0.1, solarize=0.2), seed=seed)


def simclr(
    size: Size = None,
    seed: int | None = None,
    strength: float = 1.0,
    blur: float = 0.5,
    scale: Sequence[float] = (0.08, 1.0),
) -> TwoViews:
    """SimCLR's policy for ImageNet, the same for both views.

    Crop of 8 to 100 % of the area, flip 0.5, colour jitter 0.8 s / 0.8 s / 0.8 s / 0.2 s with 0.8,
    grey 0.2, blur 0.5 (its appendix A).

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: s of the colour jitter.
        blur: Probability of the blur.
        scale: Range of the area of the crop.
    """
    s, blur = check_non_negative("strength", strength), check_fraction("blur", blur)
    view = Compose(
        [
            RandomResizedCrop(size, scale),
            RandomFlip(0.5),
            RandomColorJitter(0.8 * s, 0.8 * s, 0.8 * s, 0.2 * s, probability=0.8),
            RandomGrayscale(0.2),
            RandomGaussianBlur((0.1, 2.0), probability=blur),
        ]
    )
    return TwoViews(view, seed=seed)


def simclr_cifar(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """SimCLR's policy for CIFAR (its appendix B.9): jitter of half the strength, no blur.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the colour jitter, at least 0.
    """
    check_non_negative("strength", strength)
    return simclr(size, seed, 0.5 * strength, blur=0.0)


def simsiam(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """SimSiam's policy, used by the spectral contrastive loss: SimCLR's, milder.

    Crop of 20 to 100 % of the area, jitter 0.4 / 0.4 / 0.4 / 0.1. (Its blur, 0.5, is left out for
    images of up to 32 pixels in its CIFAR settings: there, use `simclr(strength=0.5, blur=0,
    scale=(0.2, 1))`.)

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the colour jitter, at least 0.
    """
    check_non_negative("strength", strength)
    return simclr(size, seed, 0.5 * strength, scale=(0.2, 1.0))


def weak(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """A weak policy, of no paper: crops of at least half the area, and a flip.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: There being no jitter, factor of the area that a crop may cut off, in [0, 1.8].
    """
    if check_non_negative("strength", strength) > 1.8:
        raise ValueError(f"`strength` must be in [0, 1.8] for `weak`. Received: {strength=}")
    view = Compose([RandomResizedCrop(size, scale=(1 - 0.5 * strength, 1.0)), RandomFlip(0.5)])
    return TwoViews(view, seed=seed)


def tiny_gray(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """For tiny grey images such as digits or Fashion-MNIST; of no paper.

    Crops of 40 to 100 % of the area, brightness and contrast by up to 0.4 with 0.8. No flip, which
    makes another character of many; no blur, which leaves nothing of 8 pixels.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the brightness and the contrast, at least 0.
    """
    s = check_non_negative("strength", strength)
    view = Compose(
        [
            RandomResizedCrop(size, scale=(0.4, 1.0)),
            RandomColorJitter(0.4 * s, 0.4 * s, 0.0, 0.0, probability=0.8),
        ]
    )
    return TwoViews(view, seed=seed)


POLICIES: dict[str, Callable[..., TwoViews]] = {
    "byol": byol,
    "simclr": simclr,
    "simclr_cifar": simclr_cifar,
    "simsiam": simsiam,
    "weak": weak,
    "tiny_gray": tiny_gray,
}


def policy(
    name: str, size: Size = None, seed: int | None = None, strength: float = 1.0
) -> TwoViews:
    """A policy by name, for scripts.

    Args:
        name: One of `POLICIES`: "byol" (the paper's), "simclr", "simclr_cifar", "simsiam", "weak",
            "tiny_gray".
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the policy's own colour jitter (for "weak", of what a crop cuts off).

    Raises:
        ValueError: for an unknown name, or a strength that is negative.
    """
    name = _renames.renamed(name, _renames.POLICIES)
    return POLICIES[check_choice("policy", name, POLICIES)](size, seed, strength)


def policy_for(image_shape: Sequence[int]) -> str:
    """Name of the policy that fits images of a shape (height, width, channels).

    Raises:
        ValueError: if the shape is not of three numbers.
    """
    if len(image_shape) != 3:
        raise ValueError(
            "`image_shape` must be (height, width, channels). "
            f"Received: image_shape={tuple(image_shape)}"
        )
    if image_shape[0] > 64:
        return "byol"
    return "tiny_gray" if image_shape[2] == 1 else "simclr_cifar"
