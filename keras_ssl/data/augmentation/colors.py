"""What color a pixel has: jitter, grayscale, solarization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl import _renames
from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_fraction, check_non_negative
from keras_ssl.data import draws
from keras_ssl.data.augmentation import one_by_one
from keras_ssl.data.augmentation.base import Augmentation, OneByOne
from keras_ssl.data.augmentation.pixels import LUMA, functions_for, gray, length

_GRAY = np.stack([LUMA] * 3)
# RGB to YIQ: there, a change of hue is a rotation of the last two axes.
_YIQ = np.array(
    [LUMA, [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], "float32"
)


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomColorJitter(Augmentation):
    """Changes brightness, contrast, saturation and hue of each image at random.

    The factors of brightness, contrast and saturation of strength s are uniform in
    `[max(0, 1 - s), 1 + s]`. The hue turns by a fraction of the circle that is uniform in
    `[-hue, hue]`. The change of hue is a rotation in YIQ, which keeps the luma; torchvision turns
    the hue of HSV. In YIQ all four are linear maps that commute, so that one 3x3 matrix and one
    offset per image are enough, with one clip to [0, 1]. With HSV and a clip after each, they would
    not quite commute, and therefore torchvision applies them in random order.

    Saturation and hue are only defined for 3 channels. Other images get brightness and contrast.

    Args:
        brightness: Strength, at least 0. Default 0.4: Table S1 of the duality paper (BYOL).
        contrast: Strength, at least 0. Default 0.4.
        saturation: Strength, at least 0. Default 0.2.
        hue: Largest turn, in [0, 0.5]. Default 0.1.
        probability: Fraction of the images that are changed. Default 0.8.
        **kwargs: See `Augmentation`.

    Example:
        Brightness multiplies all pixels of an image by one factor, so that their ratio stays.

        >>> import numpy as np
        >>> images = np.array([0.25, 0.5]).reshape(1, 1, 2, 1)
        >>> jitter = RandomColorJitter(0.4, contrast=0, saturation=0, hue=0, probability=1.0)
        >>> dark, bright = np.asarray(jitter(images)).ravel()
        >>> print(f"{bright / dark:.3f}")
        2.000
    """

    draw_count = 4

    def __init__(
        self,
        brightness: float = 0.4,
        contrast: float = 0.4,
        saturation: float = 0.2,
        hue: float = 0.1,
        probability: float = 0.8,
        **kwargs: Any,
    ) -> None:
        super().__init__(probability, **kwargs)
        self.brightness = check_non_negative("brightness", brightness)
        self.contrast = check_non_negative("contrast", contrast)
        self.saturation = check_non_negative("saturation", saturation)
        self.hue = check_non_negative("hue", hue)
        if self.hue > 0.5:
            raise ValueError(f"`hue` must be at most 0.5, half the circle. Received: hue={hue!r}")

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:  # noqa: D102
        strengths = {
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
        }
        factors = {
            name: draws.uniform(numbers[:, i], max(0.0, 1 - strength), 1 + strength, xp)
            for i, (name, strength) in enumerate(strengths.items())
        }
        return {**factors, "hue": draws.uniform(numbers[:, 3], -self.hue, self.hue, xp)}

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        fn = functions_for(images)
        gain, pull, colors = self._maps(drawn, images.shape[3], fn)
        offset = pull * fn.reshape(gray(fn.mean(images, axis=(1, 2))), (-1,))
        shape = [length(images, axis) for axis in range(4)]
        pixels = fn.reshape(images, (shape[0], -1, shape[3]))
        if colors is None:
            pixels = gain[:, None, None] * pixels
        else:
            pixels = pixels @ fn.transpose(gain[:, None, None] * colors, (0, 2, 1))
        return fn.reshape(fn.clip(pixels + offset[:, None, None], 0, 1), shape)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        gain, pull, colors = self._maps(drawn, 3, np)
        affine = np.zeros((len(gain), 3, 4), "float32")
        affine[:, :, :3] = gain[:, None, None] * (np.eye(3) if colors is None else colors)
        gain, pull, luma = gain.tolist(), pull.tolist(), LUMA.tolist()

        def change(i: int, image: np.ndarray) -> np.ndarray:
            offset = pull[i] * one_by_one.mean_luma(image, luma)
            if image.shape[2] != 3:
                return one_by_one.scale(image, gain[i], offset)
            affine[i, :, 3] = offset
            return one_by_one.map_colors(image, affine[i])

        return change

    def _maps(self, drawn: dict[str, Any], channels: int, xp: Any) -> tuple[Any, Any, Any]:
        """Returns what makes an image x into clip(gain * colors x + pull * mean luma of x).

        Contrast moves toward the mean luma of the image, taken before brightness scales both.

        Args:
            drawn: What `draw` returned.
            channels: Number of channels of the images.
            xp: See `draw`.

        Returns:
            gain (N,); pull (N,); colors, (N, 3, 3), or `None` if colors stay as they are.
        """
        gain = drawn["brightness"] * drawn["contrast"]
        pull = drawn["brightness"] - gain
        if channels != 3 or not (self.saturation or self.hue):
            return gain, pull, None
        angle = drawn["hue"] * 2 * np.pi
        cos, sin = (drawn["saturation"] * f(angle) for f in (xp.cos, xp.sin))
        one, zero = xp.ones_like(cos), xp.zeros_like(cos)
        rows = (one, zero, zero), (zero, cos, -sin), (zero, sin, cos)
        rotation = xp.stack([xp.stack(row, axis=-1) for row in rows], axis=1)  # (N, 3, 3)
        to_yiq, from_yiq = (xp.array(x, "float32") for x in (_YIQ, np.linalg.inv(_YIQ)))
        return gain, pull, from_yiq @ rotation @ to_yiq

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {
            **super().get_config(),
            "brightness": self.brightness,
            "contrast": self.contrast,
            "saturation": self.saturation,
            "hue": self.hue,
        }


@_renames.old_names
@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomGrayscale(Augmentation):
    """Sets all channels of an image to its luma, which removes its colors.

    Args:
        probability: Fraction of the images that become gray. Default 0.2: SimCLR, BYOL, VICReg.
        **kwargs: See `Augmentation`.

    Example:
        The luma of pure red is 0.299.

        >>> import numpy as np
        >>> red = np.array([1.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
        >>> print(np.asarray(RandomGrayscale(probability=1.0)(red)).ravel())
        [0.299 0.299 0.299]
    """

    def __init__(self, probability: float = 0.2, **kwargs: Any) -> None:
        super().__init__(probability, **kwargs)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        shape = [length(images, axis) for axis in range(4)]
        return functions_for(images).broadcast_to(gray(images), shape)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        def change(i: int, image: np.ndarray) -> np.ndarray:
            if image.shape[2] == 3:
                return one_by_one.map_colors(image, _GRAY)
            return one_by_one.average(image)

        return change


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomSolarize(Augmentation):
    """Inverts the bright part of each image: x becomes 1 - x where x >= threshold.

    Args:
        probability: Fraction of the images that are changed. Default 0.2: the second view of BYOL
            and VICReg.
        threshold: In [0, 1]. Default 128/255: the published codes.
        **kwargs: See `Augmentation`.

    Example:
        >>> import numpy as np
        >>> images = np.array([0.25, 0.75, 1.0]).reshape(1, 1, 3, 1)
        >>> print(np.asarray(RandomSolarize(probability=1.0)(images)).ravel())
        [0.25 0.25 0.  ]
    """

    def __init__(
        self, probability: float = 0.2, threshold: float = 128 / 255, **kwargs: Any
    ) -> None:
        super().__init__(probability, **kwargs)
        self.threshold = check_fraction("threshold", threshold)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        # This takes half the time that `tf.where` takes.
        is_bright = functions_for(images).cast(images >= self.threshold, images.dtype)
        return images + is_bright * (1 - 2 * images)

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        return lambda i, image: one_by_one.solarize(image, self.threshold)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "threshold": self.threshold}
