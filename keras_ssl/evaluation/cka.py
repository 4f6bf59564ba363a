"""Linear centered kernel alignment (CKA): how similar two encoders' features are, without labels.

References:
    - Kornblith et al.: Similarity of neural network representations revisited, ICML 2019.
    - Garrido et al., ICLR 2023, compare the methods of both families by it.
"""

import itertools
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssl import _log
from keras_ssl._files import save_figure
from keras_ssl._text import drawing, plain, short
from keras_ssl.data import ImageSet
from keras_ssl.data.image_set import check_image_set
from keras_ssl.evaluation.features import finite, represent_with


class CKA(NamedTuple):
    """Linear CKA of every two encoders: their names, and float64 (E, E).

    Example:
        `cka_matrix` returns it. Here it compares the pixels with their negative.

        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(50))
        >>> flat, scaled = keras.layers.Flatten(), keras.layers.Rescaling(-1.0, offset=1.0)
        >>> negative = keras.Sequential([keras.Input(images.image_shape), scaled, flat])
        >>> pixels = keras.Sequential([keras.Input(images.image_shape), flat])
        >>> cka = cka_matrix({"pixels": pixels, "negative": negative}, images)
        >>> cka.names, float(cka.values[0, 1].round(3))
        (('pixels', 'negative'), 1.0)
    """

    names: tuple[str, ...]
    values: np.ndarray


def linear_cka(features_1: Any, features_2: Any) -> float:
    """Computes the linear CKA of two encoders' features of the same images.

    `||X^T Y||_F^2 / (||X^T X||_F ||Y^T Y||_F)`, where X and Y are the features minus their means.
    It is computed in float64. By `||X^T Y||_F^2 = sum_ij (X X^T)_ij (Y Y^T)_ij`, it is computed
    from Gram matrices (N, N) if there are few images, and else from matrices (D1, D1), (D1, D2) and
    (D2, D2), whichever takes fewer multiplications.

    An orthogonal transformation, a scale or an offset of either encoder's features changes nothing.
    Take N well above the dimensions: few images make any two encoders similar. For independent
    white noise, CKA is not 0 but about `sqrt(D1 D2 / ((N + D1) (N + D2)))`.

    Args:
        features_1: Float (N, D1).
        features_2: Float (N, D2), of the same images in the same order.

    Returns:
        From 0 to 1, up to rounding; 1 means that X X^T and Y Y^T are equal up to a scale. NaN if
        either encoder has equal features for all images: they have no direction to compare.

    Raises:
        ValueError: for features that are not two finite matrices with the same number of rows.

    Example:
        >>> random = np.random.RandomState(0)
        >>> x = random.randn(500, 8)
        >>> rotation = np.linalg.qr(random.randn(8, 8))[0]
        >>> print(f"{linear_cka(x, 3 * x @ rotation + 1):.3f}")
        1.000
        >>> few, others = random.randn(2, 50, 100)  # White noise, too few images: about 2 / 3.
        >>> print(f"{linear_cka(few, others):.3f}")
        0.680
    """
    x, y = (
        finite(name, features, 2, "a matrix (N, D)")
        for name, features in (("features_1", features_1), ("features_2", features_2))
    )
    if len(x) != len(y):
        raise ValueError(
            "`features_1` and `features_2` must be of the same images. "
            f"Received: shapes {x.shape} and {y.shape}"
        )
    x, y = _centered(x), _centered(y)
    (n, d1), d2 = x.shape, y.shape[1]
    # If these are fewer multiplications, N is below the larger of D1 and D2, and so is the memory.
    if n * (d1 + d2) < d1 * d1 + d1 * d2 + d2 * d2:
        gram_1, gram_2 = x @ x.T, y @ y.T
        return _ratio(np.vdot(gram_1, gram_2), gram_1, gram_2)
    return _ratio(np.square(np.linalg.norm(x.T @ y)), x.T @ x, y.T @ y)


def cka_matrix(encoders: Mapping[str, keras.Model], images: ImageSet, batch_size: int = 256) -> CKA:
    """Computes the linear CKA of every two of several encoders, over all images.

    It is exact: as `linear_cka` of all features, and not a mean over batches. Each batch of images
    passes all encoders once, not augmented, in inference mode. Only sums over the images are kept,
    in float64: with M the sum of the encoders' dimensions, they take memory of the order of M^2,
    for any number of images.

    Args:
        encoders: Each encoder by its name, at least one; see `keras_ssl.evaluation.extract`.
        images: The images. Take many more than an encoder has dimensions; see `linear_cka`.
        batch_size: Images per step.

    Returns:
        `CKA(names, values)`: the names in the order of `encoders`, and a symmetric float64 (E, E)
        from 0 to 1, see `linear_cka`. The row and the column of an encoder that gives equal
        features for all images are NaN.

    Raises:
        TypeError: for encoders that are not a mapping to Keras models or layers, or for images that
            are not an `ImageSet`.
        ValueError: if there is no encoder, if an encoder's features are not finite, or for an
            encoder that `extract` refuses.

    Example:
        An encoder of the mean color alone is not like one of all pixels.

        >>> from keras_ssl import data
        >>> images = data.load("digits").train.subset(range(50))
        >>> pixels = keras.Sequential([keras.Input(images.image_shape), keras.layers.Flatten()])
        >>> color = keras.layers.GlobalAveragePooling2D()
        >>> mean = keras.Sequential([keras.Input(images.image_shape), color])
        >>> values = cka_matrix({"pixels": pixels, "mean": mean}, images).values
        >>> values.shape, bool(values[0, 1] < 0.5)
        ((2, 2), True)
    """
    check_image_set("images", images)
    named = _check_encoders(encoders)
    represent = {name: represent_with(e, images.image_shape) for name, e in named.items()}
    pairs = list(itertools.combinations_with_replacement(range(len(named)), 2))
    shifts: list[np.ndarray] = []
    sums: list[np.ndarray] = []
    products: dict[tuple[int, int], np.ndarray] = {}
    count = 0
    for batch, _ in images.batches(batch_size):
        features = [
            finite(f"encoders[{name!r}]", function(batch), 2, "an encoder to matrices (N, D)")
            for name, function in represent.items()
        ]
        if not count:
            # Sums of squares of large means would drown the deviations from them. The mean of the
            # first batch is near enough. Of equal float32 rows it is exact in float64, so that
            # their deviations are exactly zero.
            shifts = [x.mean(axis=0) for x in features]
            sums = [np.zeros(x.shape[1]) for x in features]
            products = {(a, b): np.zeros((len(sums[a]), len(sums[b]))) for a, b in pairs}
        features = [x - shift for x, shift in zip(features, shifts, strict=True)]
        for total, x in zip(sums, features, strict=True):
            total += x.sum(axis=0)
        for a, b in pairs:
            products[a, b] += features[a].T @ features[b]
        count += len(features[0])
        _log.advance(count, len(images))
    for a, b in pairs:
        products[a, b] -= np.outer(sums[a], sums[b] / count)  # X^T Y - N mean_x mean_y^T
    values = np.empty((len(named), len(named)))
    for a, b in pairs:
        squares = np.square(np.linalg.norm(products[a, b]))
        values[a, b] = values[b, a] = _ratio(squares, products[a, a], products[b, b])
    return CKA(tuple(named), values)


@drawing()
def draw_cka(cka: CKA, path: str | os.PathLike[str], title: str = "Linear CKA") -> None:
    """Draws a matrix of CKA with its values in the cells.

    Args:
        cka: What `cka_matrix` returned.
        path: The picture to write, such as "cka.png".
        title: Title of the picture; "" for none.

    Raises:
        ValueError: if the values are not a square matrix with one row for each name.

    Example:
        >>> import tempfile
        >>> cka = CKA(("SimCLR", "VICReg"), np.array([[1.0, 0.8], [0.8, 1.0]]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_cka(cka, f"{folder}/cka.png")
        ...     os.listdir(folder)
        ['cka.png']
    """
    names, values = [short(name) for name in cka.names], np.asarray(cka.values)
    if not names or values.shape != (len(names), len(names)):
        raise ValueError(
            "`cka` must have a square matrix of values, one row for each name, and at least one. "
            f"Received: {len(names)} names, values of shape {values.shape}"
        )
    from matplotlib.figure import Figure  # pyplot would change how a notebook shows others.

    side = 1 + 0.6 * len(names)
    figure = Figure(figsize=(side + 0.6, side))
    axis = figure.subplots()
    image = axis.imshow(values, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(values):
        color = "white" if value > 0.6 else "black"  # It is to be read on the color of its cell.
        axis.text(column, row, f"{value:.2f}", color=color, ha="center", va="center", fontsize=9)
    slanted: Any = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"}
    axis.set_xticks(range(len(names)), names, **slanted)
    axis.set_yticks(range(len(names)), names)
    axis.set_title(plain(title) if title else "")
    figure.colorbar(image, fraction=0.046, pad=0.04)
    # The names are outside of the axes, and may be longer than these.
    save_figure(figure, path, dpi=110, bbox_inches="tight")


def _check_encoders(encoders: Any) -> dict[str, Any]:
    """Returns encoders by their names, or raises unless they are Keras layers by names."""
    if not isinstance(encoders, Mapping):
        raise TypeError(
            "`encoders` must be a mapping from names to Keras models or layers. "
            f"Received: encoders of type {type(encoders).__name__}"
        )
    for name, encoder in encoders.items():
        if not isinstance(encoder, keras.layers.Layer):
            raise TypeError(
                "`encoders` must be a mapping from names to Keras models or layers. "
                f"Received: encoders[{name!r}] of type {type(encoder).__name__}"
            )
    if not encoders:
        raise ValueError("`encoders` must hold at least one encoder. Received: none")
    return dict(encoders)


def _centered(x: np.ndarray) -> np.ndarray:
    """Returns a matrix minus its mean row, scaled to a largest entry of 1, or 0 if rows are equal.

    Without the scale, fourth powers of large or small features would leave the range of float64.
    """
    x = x - x[0]  # Otherwise equal rows would differ from their mean by rounding.
    x = x - x.mean(axis=0)
    return x / (np.abs(x).max() or 1.0)


def _ratio(squares: Any, own_1: np.ndarray, own_2: np.ndarray) -> float:
    """Returns `squares / (||own_1||_F ||own_2||_F)`, or NaN if either of these is zero."""
    scale = np.linalg.norm(own_1) * np.linalg.norm(own_2)
    return float(squares / scale) if scale > 0 else float("nan")
