"""The digits that come with scikit-learn."""

import numpy as np

from keras_ssl.data.image_set import Splits
from keras_ssl.data.sources.arrays import from_arrays


def read_digits() -> Splits:
    """The 1,797 digits, 8x8 pixels; they have no test split of their own."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(digits.images * (255 / 16)).astype(np.uint8)  # The file has 0 to 16.
    return Splits(from_arrays(images, digits.target), None)
