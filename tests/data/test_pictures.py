import numpy as np
import pytest
from PIL import Image

from keras_ssl import data
from keras_ssl.data import pictures
from keras_ssl.data.image_set import captions

BLACK = np.zeros((8, 8, 3), "uint8")


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_grid_is_a_picture(tmp_path, channels):
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (5, 8, 8, channels), "uint8")
    picture = data.view_grid(images, data.byol(), tmp_path / "views.png", count=4, draws=2)
    with Image.open(tmp_path / "views.png") as file:
        np.testing.assert_array_equal(np.asarray(file), picture)
    # Four rows and five columns of 8 pixels and a border, enlarged 8 times, and two margins.
    top, left = 2 * 15, picture.shape[1] - 5 * 10 * 8
    assert picture.shape[0] == top + 4 * 10 * 8 and 0 < left < 80
    tiles = picture[top:, left:]
    if channels == 3:
        np.testing.assert_array_equal(tiles[8:72:8, 8:72:8], images[0])
    # Every title and every name is written, and differs from the next one where it should.
    titles = np.split(picture[:top, left:], 5, axis=1)
    names = np.split(picture[top:, :left], 4)
    assert all(text.min() < 64 for text in (*titles, *names))
    assert len({text.tobytes() for text in titles}) == 5
    assert len({text.tobytes() for text in names}) == 4


class TestCaptions:
    def test_what_an_image_is_called(self, images):
        labels = np.array([1, 0])
        places = [7, 9]
        names = [f"photos/{i}.jpg" for i in range(10)]
        assert captions(places, names, ("a", "b"), labels) == ["photos/7.jpg", "photos/9.jpg"]
        assert captions(places, None, ("a", "b"), labels) == ["b", "a"]
        assert captions(places) == captions(places, None, None, labels) == ["image 7", "image 9"]

    def test_rows_are_spread_over_the_set(self, tmp_path, monkeypatch):
        asked = []
        monkeypatch.setattr(
            pictures, "mosaic", lambda columns, *texts: asked.append((columns[0], *texts)) or BLACK
        )
        labels = np.repeat(np.arange(4), 8)
        pixels = np.full((32, 8, 8, 1), 8) * labels[:, None, None, None]
        for shown in (data.from_arrays(pixels, labels), pixels / 255):
            data.view_grid(shown, data.weak(), tmp_path / "views.png", count=4, draws=1)
        for image, titles, _ in asked:
            np.testing.assert_allclose(image[:, 0, 0, 0] * 255 / 8, np.arange(4), atol=1e-3)
            assert titles == ["image", "view 1", "view 2"]
        assert asked[0][2] == ["0", "1", "2", "3"]
        assert asked[1][2] == ["image 0", "image 8", "image 16", "image 24"]

    @pytest.mark.parametrize("name", ["a" * 300 + ".jpg", "_$x$\n", "\udcff", ""], ids=ascii)
    def test_any_name(self, name):
        picture = pictures.mosaic([np.zeros((1, 64, 64, 3))], ["image"], [name])
        assert picture.shape[1] < 350
