"""How sharp an image is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl._tensors import Tensor
from keras_ssl._validation import check_range
from keras_ssl.data import draws
from keras_ssl.data.augmentation import one_by_one
from keras_ssl.data.augmentation.base import Augmentation, OneByOne
from keras_ssl.data.augmentation.pixels import functions_for, length, multiply


@keras.saving.register_keras_serializable(package="keras_ssl")
class RandomGaussianBlur(Augmentation):
    """Blurs each image with a Gaussian whose width is drawn for that image.

    The blur is separable and linear: rows and columns are each multiplied by a matrix of Gaussian
    weights that sum to one, `B X B^T`. The kernel is not cut off (published codes: 23 pixels at
    224), and is renormalized at the borders.

    Args:
        sigma: Range of the standard deviation, which is uniform, in pixels. Default (0.1, 2):
            SimCLR, BYOL and VICReg, at 224 pixels.
        probability: Fraction of the images that are blurred. Default 0.5: SimCLR.
        **kwargs: See `Augmentation`.

    Example:
        With sigma 1, a pixel beside a bright one becomes `exp(-1 / 2)` times as bright.

        >>> import numpy as np
        >>> images = np.zeros((1, 17, 17, 1))
        >>> images[0, 8, 8] = 1
        >>> blurred = np.asarray(RandomGaussianBlur(sigma=(1, 1), probability=1.0)(images))
        >>> print(f"{blurred[0, 8, 9, 0] / blurred[0, 8, 8, 0]:.3f} = {np.exp(-1 / 2):.3f}")
        0.607 = 0.607
    """

    draw_count = 1

    def __init__(
        self, sigma: Sequence[float] = (0.1, 2.0), probability: float = 0.5, **kwargs: Any
    ) -> None:
        super().__init__(probability, **kwargs)
        self.sigma = check_range("sigma", sigma)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:  # noqa: D102
        low, high = self.sigma
        return {"sigma": draws.uniform(numbers[:, 0], low, high, xp)}

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        fn = functions_for(images)
        sigma = fn.reshape(drawn["sigma"], (-1, 1, 1))

        def blur_matrix(axis: int) -> Tensor:
            position = fn.arange(length(images, axis), dtype="float32")
            distance = position[:, None] - position[None, :]
            weights = fn.exp(-fn.square(distance / sigma) / 2)  # (N, size, size)
            return weights / fn.sum(weights, axis=-1, keepdims=True)

        return multiply(blur_matrix(1), images, blur_matrix(2))

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        sigma = drawn["sigma"].tolist()
        return lambda i, image: one_by_one.blur(image, sigma[i])

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        return {**super().get_config(), "sigma": self.sigma}
