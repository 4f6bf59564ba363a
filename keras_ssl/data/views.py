"""Several views of each image, each by an augmentation of its own."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_ssl._python import numpy_function
from keras_ssl._tensorflow import is_installed, tf
from keras_ssl._tensors import Tensor
from keras_ssl.data import draws
from keras_ssl.data.augmentation import one_by_one
from keras_ssl.data.augmentation.base import Augmentation, check_augmentation
from keras_ssl.data.augmentation.pixels import check_batch, functions_for
from keras_ssl.data.augmentation.seeds import whole_words


@keras.saving.register_keras_serializable(package="keras_ssl")
class Views(Augmentation):
    """Makes views of each image of a batch, one with each of several augmentations.

    Args:
        views: A sequence of two or more `Augmentation`s, each of which makes one view. If one
            stands in it several times, it draws anew each time. Views may have several sizes.
        seed: Seed of the draws inside a model.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        images: (N, height, width, channels), integers in [0, 255] or floats in [0, 1].
        training: `False` gives the images themselves, resized, once for each view.
        seed: Whole numbers that decide all draws, see `Augmentation`. By default the layer uses the
            next of its own seeds.

    Returns:
        Tuple of views, float32 in [0, 1], each (N, height, width, channels).

    Raises:
        TypeError: if `views` is not a sequence of augmentations.
        ValueError: for fewer than two views.

    Example:
        >>> import numpy as np
        >>> from keras_ssl import data
        >>> large = data.Compose([data.RandomResizedCrop((32, 32)), data.RandomFlip()])
        >>> small = data.Compose([data.RandomResizedCrop((16, 16), (0.05, 0.4)), data.RandomFlip()])
        >>> views = Views([large, large, small, small, small])(np.zeros((2, 40, 40, 3)))
        >>> [tuple(view.shape[1:3]) for view in views]
        [(32, 32), (32, 32), (16, 16), (16, 16), (16, 16)]
    """

    gives_views = True

    def __init__(
        self, views: Sequence[Augmentation], seed: int | None = None, **kwargs: Any
    ) -> None:
        if "probability" in kwargs:
            raise TypeError(
                f"`{type(self).__name__}` takes no `probability`: pass it to the augmentations."
            )
        super().__init__(seed=seed, **kwargs)
        if not isinstance(views, (list, tuple)):
            raise TypeError(
                f"`views` must be a list of keras_ssl.data augmentations. Received: views={views!r}"
            )
        if len(views) < 2:
            raise ValueError(f"`views` must be two or more. Received: {len(views)}")
        self.views = [check_augmentation("views", view) for view in views]

    @property
    def draw_count(self) -> int:  # type: ignore[override]  # noqa: D102
        return sum(1 + view.draw_count for view in self.views)

    def draw(self, numbers: Tensor, size: Sequence[Any], xp: Any) -> dict[str, Tensor]:
        """Returns what the views draw, as "view_1", "view_2", ..."""
        drawn = {}
        for i, view in enumerate(self.views, start=1):
            count = 1 + view.draw_count
            drawn[f"view_{i}"] = view.draw_all(numbers[:, :count], size, xp)
            numbers = numbers[:, count:]
        return drawn

    def leave(self, images: Tensor) -> Tensor:  # noqa: D102
        return tuple(view.leave(images) for view in self.views)

    def augment(self, images: Tensor, drawn: dict[str, Tensor]) -> Tensor:  # noqa: D102
        return tuple(
            view.apply(images, drawn[f"view_{i}"]) for i, view in enumerate(self.views, start=1)
        )

    def of(self, batches: Sequence[Any], seed: Any, by_opencv: bool = True) -> tuple[Tensor, ...]:
        """Makes the views of things of which there is one batch of images, or several.

        It is for the CPU, where OpenCV makes the views, one image after the other; an augmentation
        of your own that has no `augment_each` is applied by TensorFlow. The two agree to rounding.
        Under XLA, call the policy itself. OpenCV takes less time on one core, and TensorFlow uses
        many cores.

        Args:
            batches: One or more batches (N, height, width, channels) of one shape. The first view
                is made of the first batch, the second of the second, and so on in turn.
            seed: Whole numbers that decide all draws. Views draw the same whether there is one
                batch or several.
            by_opencv: Whether OpenCV makes them where it can.

        Returns:
            Tuple of views, float32 in [0, 1], each (N, height, width, channels).
        """
        if by_opencv and self.fits_opencv(batches[0].shape[-1]):
            return self._by_opencv(batches, seed)
        if len(batches) == 1:
            return self(batches[0], training=True, seed=seed)
        batches = [self.checked(images) for images in batches]
        drawn = self.drawn(batches[0], seed)
        views = (
            view.apply(batches[i % len(batches)], drawn[f"view_{i + 1}"])
            for i, view in enumerate(self.views)
        )
        return tuple(functions_for(view).clip(view, 0, 1) for view in views)

    def fits_opencv(self, channels: int) -> bool:
        """Whether OpenCV can make the views of images with so many channels."""
        return self.goes_one_by_one and channels <= one_by_one.MOST_CHANNELS

    def _by_opencv(self, batches: Sequence[Any], seed: Any) -> tuple[Tensor, ...]:
        """Makes the views by OpenCV: in a graph or eagerly, or of arrays; see `of`."""
        convert = tf.convert_to_tensor if is_installed() else np.asarray
        # Bytes are never out of their range; they become floats one by one.
        ready = [
            x
            if keras.backend.standardize_dtype(x.dtype) == "uint8"
            else functions_for(x).clip(self.checked(x), 0, 1)
            for x in map(convert, batches)
        ]
        check_batch(ready[0])
        words = whole_words(seed)
        if not is_installed():
            return tuple(self._one_by_one(words, *map(keras.ops.convert_to_numpy, ready)))
        outputs = [tf.float32] * len(self.views)
        views = numpy_function(self._one_by_one, [words, *ready], outputs, stateful=False)
        return tuple(map(tf.ensure_shape, views, self.compute_output_shape(ready[0].shape)))

    def _one_by_one(self, seed: np.ndarray, *batches: np.ndarray) -> list[np.ndarray]:
        """Makes the views of arrays by OpenCV; see `of`."""
        count, *size, channels = batches[0].shape
        key = draws.key(seed.tolist())
        numbers = draws.numbers(key, np.arange(count, dtype="int32"), 1 + self.draw_count)
        drawn = self.draw_all(numbers, size)
        changes = [view.apply_each(drawn[f"view_{i + 1}"]) for i, view in enumerate(self.views)]
        shapes = self.compute_output_shape((count, *size, channels))
        views = [np.empty(shape, "float32") for shape in shapes]
        for i in range(count):
            images = [one_by_one.unit_floats(batch[i]) for batch in batches]
            for j, change in enumerate(changes):
                np.clip(change(i, images[j % len(images)]), 0, 1, out=views[j][i])
        return views

    @property
    def goes_one_by_one(self) -> bool:
        """Whether OpenCV can make the views: no subclass has changed how views are made."""
        names = ("augment", "apply", "leave", "call", "checked", "drawn")
        is_plain = all(getattr(type(self), name) is getattr(Views, name) for name in names)
        return is_plain and all(view.goes_one_by_one for view in self.views)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple:  # noqa: D102
        return tuple(view.compute_output_shape(input_shape) for view in self.views)

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        serialize = keras.saving.serialize_keras_object
        config = {**super().get_config(), "views": [serialize(view) for view in self.views]}
        del config["probability"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Views":  # noqa: D102
        deserialize = keras.saving.deserialize_keras_object
        return cls(**{**config, "views": [deserialize(view) for view in config["views"]]})


@keras.saving.register_keras_serializable(package="keras_ssl")
class TwoViews(Views):
    """Makes two views of each image of a batch, with two augmentations.

    Args:
        view_1: `Augmentation` that makes the first view.
        view_2: `Augmentation` that makes the second view. Default: `view_1`, with other draws.
        seed: Seed of the draws inside a model.
        **kwargs: `name` and the other arguments of `keras.layers.Layer`.

    Call arguments:
        images: (N, height, width, channels), integers in [0, 255] or floats in [0, 1].
        training: `False` gives the images themselves, resized, twice.
        seed: Whole numbers that decide all draws, see `Augmentation`. By default the layer uses the
            next of its own seeds.

    Returns:
        Pair of views, float32 in [0, 1], each (N, height, width, channels).

    Example:
        >>> import numpy as np
        >>> from keras_ssl import data
        >>> images = np.array([0.0, 1.0]).reshape(1, 1, 2, 1)
        >>> view_1, view_2 = TwoViews(data.RandomFlip(0.0), data.RandomFlip(1.0))(images)
        >>> print(np.asarray(view_1).ravel(), np.asarray(view_2).ravel())
        [0. 1.] [1. 0.]
    """

    def __init__(
        self,
        view_1: Augmentation,
        view_2: Augmentation | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_augmentation("view_1", view_1)
        if view_2 is not None:
            check_augmentation("view_2", view_2)
        super().__init__([view_1, view_1 if view_2 is None else view_2], seed, **kwargs)

    @property
    def view_1(self) -> Augmentation:
        """The augmentation that makes the first view."""
        return self.views[0]

    @property
    def view_2(self) -> Augmentation:
        """The augmentation that makes the second view."""
        return self.views[1]

    def get_config(self) -> dict[str, Any]:  # noqa: D102
        config = super().get_config()
        view_1, view_2 = config.pop("views")
        return {**config, "view_1": view_1, "view_2": view_2}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "TwoViews":  # noqa: D102
        deserialize = keras.saving.deserialize_keras_object
        views = {view: deserialize(config[view]) for view in ("view_1", "view_2")}
        return cls(**{**config, **views})


def check_policy(name: str, value: Any) -> Views:
    """Returns `value`, or raises if it does not make views."""
    if not isinstance(value, Views):
        raise TypeError(
            f"`{name}` must be a keras_ssl.data.Views, such as keras_ssl.data.simclr(). "
            f"Received: {name}={value!r}"
        )
    return value
