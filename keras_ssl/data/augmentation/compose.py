"""Several augmentations as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl._tensors import Tensor
from keras_ssl.data.augmentation.base import Augmentation, OneByOne, check_augmentation


@keras.saving.register_keras_serializable(package="keras_ssl")
class Compose(Augmentation):
    """Applies augmentations one after the other, each with its own draws.

    Args:
        augmentations: Sequence of `Augmentation`.
        **kwargs: See `Augmentation`.

    Example:
        >>> import numpy as np
        >>> from keras_ssl import data
        >>> images = np.array([0.0, 0.25, 1.0]).reshape(1, 1, 3, 1)
        >>> both = Compose([data.RandomFlip(1.0), data.RandomSolarize(1.0)])
        >>> print(np.asarray(both(images)).ravel())
        [0.   0.25 0.  ]
    """

    def __init__(self, augmentations: Sequence[Augmentation], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(augmentations, (list, tuple)):
            raise TypeError(
                "`augmentations` must be a list of keras_ssl.data augmentations. "
                f"Received: augmentations={augmentations!r}"
            )
        self.augmentations = [check_augmentation("augmentations", a) for a in augmentations]

    @property
    def draw_count(self) -> int:  # type: ignore[override]  # noqa: D102
        return sum(1 + augmentation.draw_count for augmentation in self.augmentations)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:
        """Returns what each augmentation draws, in order, as "draws"."""
        drawn = []
        for augmentation in self.augmentations:
            count = 1 + augmentation.draw_count
            drawn.append(augmentation.draw_all(numbers[:, :count], size, xp))
            numbers = numbers[:, count:]
            size = augmentation.compute_output_shape((None, *size, None))[1:3]
        return {"draws": drawn}

    def leave(self, images: Tensor) -> Tensor:  # noqa: D102
        for augmentation in self.augmentations:
            images = augmentation.leave(images)
        return images

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        for augmentation, draw in zip(self.augmentations, drawn["draws"], strict=True):
            images = augmentation.apply(images, draw)
        return images

    def augment_each(self, drawn: dict[str, Any]) -> OneByOne:  # noqa: D102
        pairs = zip(self.augmentations, drawn["draws"], strict=True)
        return _one_after_the_other([a.apply_each(draw) for a, draw in pairs])

    def leave_each(self) -> OneByOne:  # noqa: D102
        return _one_after_the_other([a.leave_each() for a in self.augmentations])

    @property
    def goes_one_by_one(self) -> bool:  # noqa: D102
        return super().goes_one_by_one and all(a.goes_one_by_one for a in self.augmentations)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        for augmentation in self.augmentations:
            input_shape = augmentation.compute_output_shape(input_shape)
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        serialized = [keras.saving.serialize_keras_object(a) for a in self.augmentations]
        return {**super().get_config(), "augmentations": serialized}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Compose:  # noqa: D102
        config = dict(config)
        config["augmentations"] = [
            keras.saving.deserialize_keras_object(a) for a in config["augmentations"]
        ]
        return cls(**config)


def _one_after_the_other(changes: Sequence[OneByOne]) -> OneByOne:
    """Returns a function that changes an image by each of several in turn."""

    def change(i: int, image: np.ndarray) -> np.ndarray:
        for part in changes:
            image = part(i, image)
        return image

    return change
