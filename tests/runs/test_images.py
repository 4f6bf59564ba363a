"""Images are brought to what an encoder takes."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssl.runs.images import load_for


def encoder(channels):
    return keras.Sequential([keras.Input((8, 8, channels)), keras.layers.Flatten()])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_photos_get_the_channels_of_the_encoder(channels, tmp_path):
    for i in range(10):
        (tmp_path / "ab"[i % 2]).mkdir(exist_ok=True)
        Image.new("RGB", (20, 30)).save(tmp_path / "ab"[i % 2] / f"{i}.png")
    rows = [f"{'ab'[i % 2]}/{i}.png,{i % 2}" for i in range(10)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    for source in (tmp_path, tmp_path / "labels.csv"):
        train, test = load_for(None, encoder(channels), source, test_fraction=0.4)
        assert train.image_shape == (8, 8, channels) and len(test) == 4


def test_arrays_become_gray_or_colored(tmp_path):
    arrays = {"x_train": np.zeros((10, 6, 6)), "y_train": np.arange(10) % 2}
    np.savez(tmp_path / "a.npz", **arrays)
    assert load_for(None, encoder(3), tmp_path / "a.npz").train.image_shape == (8, 8, 3)
