"""Policies by name: they make views of an image, with the probabilities of the papers."""

from collections.abc import Callable, Sequence

from keras_ssl import _renames
from keras_ssl._validation import check_choice, check_count, check_fraction, check_non_negative
from keras_ssl.data.augmentation.base import Augmentation
from keras_ssl.data.augmentation.blur import RandomGaussianBlur
from keras_ssl.data.augmentation.colors import RandomColorJitter, RandomGrayscale, RandomSolarize
from keras_ssl.data.augmentation.compose import Compose
from keras_ssl.data.augmentation.geometry import RandomFlip, RandomResizedCrop
from keras_ssl.data.views import TwoViews, Views

Size = Sequence[int] | None


def byol(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """Makes the duality paper's policy (Table S1): BYOL's, asymmetric in blur and solarization.

    Both views have a crop of 8 to 100 % of the area, a flip with probability 0.5, color jitter of
    0.4 / 0.4 / 0.2 / 0.1 with 0.8, and gray with 0.2. The probability of blur is 1.0 for the first
    view and 0.1 for the second, that of solarization 0.0 and 0.2. The paper does not print the
    scale of the crop; BYOL's and VICReg's codes have (0.08, 1).

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the color jitter, at least 0.

    Example:
        The views differ in the probabilities of blur and solarization, the last two.

        >>> [[change.probability for change in view.augmentations] for view in byol().views]
        [[1.0, 0.5, 0.8, 0.2, 1.0, 0.0], [1.0, 0.5, 0.8, 0.2, 0.1, 0.2]]
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
    """Makes SimCLR's policy for ImageNet, which is the same for both views.

    It has a crop of 8 to 100 % of the area, a flip with probability 0.5, color jitter of 0.8 s /
    0.8 s / 0.8 s / 0.2 s with 0.8, gray with 0.2, and blur with 0.5 (SimCLR's appendix A).

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: s of the color jitter, at least 0.
        blur: Probability of the blur.
        scale: Range of the area of the crop.

    Example:
        >>> import numpy as np
        >>> policy = simclr((32, 32), strength=0.5)
        >>> [tuple(view.shape) for view in policy(np.zeros((2, 40, 60, 3)))]
        [(2, 32, 32, 3), (2, 32, 32, 3)]
        >>> jitter = policy.view_1.augmentations[2]
        >>> jitter.brightness, jitter.hue
        (0.4, 0.1)
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
    """Makes SimCLR's policy for CIFAR (its appendix B.9): half the jitter, no blur.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the color jitter, at least 0.

    Example:
        >>> crop, flip, jitter, gray, blur = simclr_cifar().view_1.augmentations
        >>> jitter.brightness, blur.probability
        (0.4, 0.0)
    """
    check_non_negative("strength", strength)
    return simclr(size, seed, 0.5 * strength, blur=0.0)


def simsiam(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """Makes SimSiam's policy, a milder form of SimCLR's; the spectral contrastive loss uses it too.

    The crop is 20 to 100 % of the area, the jitter 0.4 / 0.4 / 0.4 / 0.1, and the probability of
    blur 0.5. For images of up to 32 pixels, see `simsiam_cifar`.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the color jitter, at least 0.

    Example:
        >>> crop, flip, jitter, gray, blur = simsiam().view_1.augmentations
        >>> crop.scale, jitter.brightness, blur.probability
        ((0.2, 1.0), 0.4, 0.5)
    """
    check_non_negative("strength", strength)
    return simclr(size, seed, 0.5 * strength, scale=(0.2, 1.0))


def simsiam_cifar(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """Makes SimSiam's policy for CIFAR-10 (its appendix D): the same without blur.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the color jitter, at least 0.

    Example:
        >>> crop, flip, jitter, gray, blur = simsiam_cifar().view_1.augmentations
        >>> crop.scale, blur.probability
        ((0.2, 1.0), 0.0)
    """
    check_non_negative("strength", strength)
    return simclr(size, seed, 0.5 * strength, blur=0.0, scale=(0.2, 1.0))


def weak(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """Makes a weak policy of ours: crops of at least half the area, and a flip.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the area that a crop may cut off, in [0, 1.8]; there is no jitter.

    Example:
        >>> weak().view_1.augmentations[0].scale, weak(strength=1.5).view_1.augmentations[0].scale
        ((0.5, 1.0), (0.25, 1.0))
        >>> weak(strength=2.0)
        Traceback (most recent call last):
            ...
        ValueError: `strength` must be in [0, 1.8] for `weak`. Received: strength=2.0
    """
    if check_non_negative("strength", strength) > 1.8:
        raise ValueError(f"`strength` must be in [0, 1.8] for `weak`. Received: {strength=}")
    view = Compose([RandomResizedCrop(size, scale=(1 - 0.5 * strength, 1.0)), RandomFlip(0.5)])
    return TwoViews(view, seed=seed)


def tiny_gray(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """Makes a policy of ours for tiny gray images, such as digits or Fashion-MNIST.

    It crops 40 to 100 % of the area, and changes brightness and contrast by up to 0.4 with
    probability 0.8. It does not flip, which would turn many characters into others, and does not
    blur, which would leave nothing of 8 pixels.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the brightness and the contrast, at least 0.

    Example:
        >>> import numpy as np
        >>> [type(change).__name__ for change in tiny_gray().view_1.augmentations]
        ['RandomResizedCrop', 'RandomColorJitter']
        >>> [tuple(view.shape) for view in tiny_gray()(np.zeros((2, 8, 8, 1)))]
        [(2, 8, 8, 1), (2, 8, 8, 1)]
    """
    s = check_non_negative("strength", strength)
    view = Compose(
        [
            RandomResizedCrop(size, scale=(0.4, 1.0)),
            RandomColorJitter(0.4 * s, 0.4 * s, 0.0, 0.0, probability=0.8),
        ]
    )
    return TwoViews(view, seed=seed)


def multi_crop(
    size: Sequence[int],
    local_size: Sequence[int] | None = None,
    local_count: int = 6,
    seed: int | None = None,
    strength: float = 1.0,
) -> Views:
    """Makes SwAV's multi-crop policy: two large views of an image, and several small local ones.

    The large views are crops of 14 to 100 % of the area, the local ones of 5 to 14 %. All of them
    have a flip with probability 0.5, color jitter of 0.8 s / 0.8 s / 0.8 s / 0.2 s with 0.8, gray
    with 0.2, and blur with 0.5 (SwAV's published code). The encoder must take images of any size,
    such as `encoders.resnet18((None, None, 3))`.

    Args:
        size: (height, width) of the first two views.
        local_size: (height, width) of the local views. Default: 3/7 of `size`, as 96 of 224.
        local_count: Number of local views, at least 1. Default 6: SwAV's best.
        seed: Seed of the draws inside a model.
        strength: s of the color jitter, at least 0.

    Example:
        >>> policy = multi_crop((224, 224), local_count=2)
        >>> [shape[1:3] for shape in policy.compute_output_shape((16, 256, 256, 3))]
        [(224, 224), (224, 224), (96, 96), (96, 96)]

    References:
        - Caron et al.: Unsupervised learning of visual features by contrasting cluster assignments,
          NeurIPS 2020.
    """
    s = check_non_negative("strength", strength)

    def view(size: Size, scale: Sequence[float]) -> Augmentation:
        return simclr(size, strength=s, scale=scale).view_1

    whole = view(size, (0.14, 1.0))
    if local_size is None:
        local_size = [max(round(side * 3 / 7), 1) for side in size]
    local = view(local_size, (0.05, 0.14))
    return Views([whole, whole, *[local] * check_count("local_count", local_count)], seed=seed)


def multi_patch(
    size: Size = None, seed: int | None = None, strength: float = 1.0, count: int = 20
) -> Views:
    """Makes EMP-SSL's policy for CIFAR-10: many patches of each image.

    A patch is a square of a quarter of the area, enlarged to the size of the views. (Of an image
    that is more than four times as long as wide, it is the largest square in its middle.) All have
    a flip with probability 0.5, color jitter of 0.4 / 0.4 / 0.4 / 0.2 with 0.8, gray with 0.2, and
    blur and solarization with 0.1 each (its published code).

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the color jitter, at least 0.
        count: Number of patches, at least 2. Default 20, as in the commands of the published
            code's README (its program's default is 100).

    Raises:
        ValueError: for fewer than 2 patches, or a negative strength.

    Example:
        >>> import numpy as np
        >>> views = multi_patch((16, 16), count=4)(np.zeros((2, 32, 32, 3)))
        >>> [tuple(view.shape) for view in views]
        [(2, 16, 16, 3), (2, 16, 16, 3), (2, 16, 16, 3), (2, 16, 16, 3)]

    References:
        - Tong et al.: EMP-SSL: Towards self-supervised learning in one training epoch, 2023 (arXiv
          2304.03977).
    """
    s = check_non_negative("strength", strength)
    if check_count("count", count) < 2:
        raise ValueError(f"`count` must be two or more. Received: count={count}")
    patch = Compose(
        [
            RandomResizedCrop(size, scale=(0.25, 0.25), ratio=(1.0, 1.0)),
            RandomFlip(0.5),
            RandomColorJitter(0.4 * s, 0.4 * s, 0.4 * s, min(0.2 * s, 0.5), probability=0.8),
            RandomGrayscale(0.2),
            RandomGaussianBlur((0.1, 2.0), probability=0.1),
            RandomSolarize(0.1),
        ]
    )
    return Views([patch] * count, seed=seed)


def colorless(size: Size = None, seed: int | None = None, strength: float = 1.0) -> TwoViews:
    """Makes a policy of ours for images whose channels are not red, green and blue.

    It is what SeCo (Manas et al., 2021) does to satellite images, without what needs colors: crops
    of 20 to 100 % of the area, a flip with probability 0.5, brightness and contrast by up to 0.4
    with probability 0.8, and blur with 0.5. It turns no hue, mixes no channels and inverts nothing.

    Args:
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the brightness and the contrast, at least 0.

    Example:
        Images may have any number of channels, such as the 13 bands of a satellite.

        >>> import numpy as np
        >>> [tuple(view.shape) for view in colorless((8, 8))(np.zeros((2, 16, 16, 13)))]
        [(2, 8, 8, 13), (2, 8, 8, 13)]
    """
    s = check_non_negative("strength", strength)
    view = Compose(
        [
            RandomResizedCrop(size, scale=(0.2, 1.0)),
            RandomFlip(0.5),
            RandomColorJitter(0.4 * s, 0.4 * s, 0.0, 0.0, probability=0.8),
            RandomGaussianBlur((0.1, 2.0), probability=0.5),
        ]
    )
    return TwoViews(view, seed=seed)


POLICIES: dict[str, Callable[..., Views]] = {
    "byol": byol,
    "simclr": simclr,
    "simclr_cifar": simclr_cifar,
    "simsiam": simsiam,
    "simsiam_cifar": simsiam_cifar,
    "weak": weak,
    "tiny_gray": tiny_gray,
    "colorless": colorless,
    "multi_patch": multi_patch,
}
"""Functions that make a policy, by the names that recipes and commands have for them."""


def policy(name: str, size: Size = None, seed: int | None = None, strength: float = 1.0) -> Views:
    """Makes a policy by its name, for scripts.

    Args:
        name: One of `POLICIES`: "byol" (the paper's), "simclr", "simclr_cifar", "simsiam",
            "simsiam_cifar", "weak", "tiny_gray", "colorless", "multi_patch".
        size: (height, width) of the views; `None`: that of the images.
        seed: Seed of the draws inside a model.
        strength: Factor of the policy's own color jitter (for "weak", of the area that a crop cuts
            off).

    Raises:
        ValueError: for an unknown name, or a negative strength.

    Example:
        >>> views = policy("weak", (24, 24))
        >>> views.compute_output_shape((8, 32, 32, 3))
        ((8, 24, 24, 3), (8, 24, 24, 3))
    """
    name = _renames.renamed(name, _renames.POLICIES)
    return POLICIES[check_choice("policy", name, POLICIES)](size, seed, strength)


def policy_for(image_shape: Sequence[int]) -> str:
    """Returns the name of the policy that fits images of a shape (height, width, channels).

    Three channels are taken to be red, green and blue. What "byol" does to colors leaves gray
    images as they are.

    Raises:
        ValueError: if the shape is not three numbers.

    Example:
        >>> policy_for((224, 224, 3)), policy_for((32, 32, 3)), policy_for((28, 28, 1))
        ('byol', 'simclr_cifar', 'tiny_gray')
        >>> policy_for((64, 64, 13))
        'colorless'
    """
    if len(image_shape) != 3:
        raise ValueError(
            "`image_shape` must be (height, width, channels). "
            f"Received: image_shape={tuple(image_shape)}"
        )
    if image_shape[2] not in (1, 3):
        return "colorless"
    if image_shape[0] > 64:
        return "byol"
    return "tiny_gray" if image_shape[2] == 1 else "simclr_cifar"
