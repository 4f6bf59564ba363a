import csv
import json
import os
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from PIL import Image

from keras_ssl import data, evaluation, retrieval
from keras_ssl.commands.embed import embed
from keras_ssl.commands.neighbors import neighbors
from keras_ssl.data.image_set import spread_places

PICTURES = {"gallery.png", "outliers.png", "duplicates.png"}
QUERIES = {"queries.png", "queries.csv", "queries.json"}
TABLES = {"nearest.csv", "outliers.csv", "duplicates.csv", "groups.csv", "neighbors.json"}


def _photo(seed):
    colors = np.random.RandomState(seed).randint(0, 256, (4, 4, 3), "uint8")
    return Image.fromarray(colors).resize((32, 32))


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Returns a folder "photos" of twenty photos, the last the same file as the first."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(20):
        _photo(i % 19).save(tmp_path / "photos" / f"{i:02}.png")
    return tmp_path / "photos"


@pytest.fixture
def encoder(tmp_path):
    path = tmp_path / "encoder.keras"
    evaluation.raw_pixels((16, 16, 3)).save(path)
    return path


def _table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_embed_and_neighbors_of_a_folder(photos, encoder, caplog):
    with caplog.at_level("INFO", "keras_ssl"):
        found = embed(encoder, "photos")
    assert found.features.shape == (20, 16 * 16 * 3) and os.path.isfile("embeddings.npz")
    assert "20 rows of 768 numbers are in embeddings.npz" in caplog.text
    result = neighbors("embeddings.npz", k=3, outliers=5, threshold=0.999)
    assert {path.name for path in (photos.parent / "neighbors").iterdir()} == PICTURES | TABLES
    nearest = _table("neighbors/nearest.csv")
    assert len(nearest) == 20 * 3
    assert nearest[0] == {
        "path": "photos/00.png",
        "rank": "1",
        "neighbor": "photos/19.png",
        "similarity": "1.0000",
    }
    (pair,) = _table("neighbors/duplicates.csv")
    assert pair["kind"] == "same file" and pair["path_2"] == "photos/19.png"
    assert [row["path"] for row in _table("neighbors/groups.csv")] == [
        "photos/00.png",
        "photos/19.png",
    ]
    outliers = [float(row["mean_similarity"]) for row in _table("neighbors/outliers.csv")]
    assert outliers == sorted(outliers) and len(outliers) == 5
    settings = json.loads((photos.parent / "neighbors" / "neighbors.json").read_text())
    assert settings["threshold"] == result.threshold


def test_queries_by_row_by_path_and_from_elsewhere(photos, encoder):
    embed(encoder, "photos", quiet=True)
    _photo(7).save("new.png")
    queries = ["photos/03.png", "4", "05.png", "./photos/06.png", "new.png"]
    result = neighbors("embeddings.npz", queries=queries, k=2, quiet=True)
    assert result.queries == [*(f"photos/{i:02}.png" for i in (3, 4, 5, 6)), "new.png"]
    assert result.nearest.indices[-1, 0] == 7
    assert result.nearest.similarities[-1, 0] == pytest.approx(1, abs=1e-5)
    assert not (result.nearest.indices[:4, 0] == [3, 4, 5, 6]).any()
    assert {path.name for path in (photos.parent / "neighbors").iterdir()} == QUERIES
    neighbors("embeddings.npz", k=2, quiet=True)
    before = (photos.parent / "neighbors" / "nearest.csv").read_bytes()
    neighbors("embeddings.npz", queries=["4"], quiet=True)
    assert (photos.parent / "neighbors" / "nearest.csv").read_bytes() == before


def test_photos_that_were_moved_are_named(photos, encoder):
    embed(encoder, "photos", quiet=True)
    photos.rename("moved")
    with pytest.warns(UserWarning, match="20 of 20 files are not where they were embedded"):
        neighbors("embeddings.npz", k=2, quiet=True)


def test_an_encoder_embeds_first_and_once(photos, encoder):
    first = neighbors(encoder, "photos", k=2, quiet=True)
    again = neighbors(encoder, "photos", k=2, quiet=True)
    np.testing.assert_array_equal(first.nearest.indices, again.nearest.indices)
    _photo(30).save(photos / "more.png")
    with pytest.raises(ValueError, match="`out` must hold no embeddings of"):
        neighbors(encoder, "photos", quiet=True)
    assert len(neighbors(encoder, "photos", overwrite=True, quiet=True).queries) == 21


def test_images_that_are_not_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.RandomState(0).randint(0, 256, (30, 8, 8, 1)).astype("uint8")
    images = data.from_arrays(pixels)
    embed(evaluation.raw_pixels((8, 8, 1)), images, "e.npz", quiet=True)
    with pytest.raises(ValueError, match="`images` must be given: the embeddings are of images"):
        neighbors("e.npz", quiet=True)
    result = neighbors("e.npz", images, queries=["#3"], quiet=True)
    assert result.queries == ["#3"]
    picture = np.asarray(Image.open("neighbors/queries.png"))
    assert (picture[4, 4] == pixels[3, 0, 0, 0]).all()
    with pytest.raises(ValueError, match="`images` must be those that were embedded, 30 of 8x8x1"):
        neighbors("e.npz", data.from_arrays(255 - pixels), quiet=True)


def test_a_sample_that_was_embedded_to_try_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pixels = np.random.RandomState(0).randint(0, 256, (200, 8, 8, 1)).astype("uint8")
    np.savez("data.npz", x_train=pixels, y_train=np.arange(200) % 2)
    embed(evaluation.raw_pixels((8, 8, 1)), "data.npz", out="e.npz", smoke=True, quiet=True)
    neighbors("e.npz", "data.npz", queries=["#3"], quiet=True)
    expected = pixels[spread_places(200, 64)[3], 0, 0, 0]
    assert (np.asarray(Image.open("neighbors/queries.png"))[4, 4] == expected).all()


def test_images_in_shards(photos):
    """One of them cannot be read and has no row; the pictures show the others."""
    with tarfile.open("a.tar", "w") as tar:
        for path in sorted(photos.iterdir()):
            if path.name == "05.png":
                path.write_bytes(path.read_bytes()[:60])
            tar.add(path, path.name)
    encoder = evaluation.raw_pixels((16, 16, 3))
    images = data.from_webdataset("a.tar", 16)
    found = neighbors(encoder, images, k=2, outliers=30, quiet=True)
    rows = [f"#{i}" for i in range(20) if i != 5]
    assert list(found.embeddings.paths) == rows
    assert [row["path"] for row in _table("neighbors/embeddings.skipped.csv")] == ["#5"]
    assert {path.name for path in (photos.parent / "neighbors").iterdir()} > PICTURES | TABLES
    last = rows[found.outliers[0]].removeprefix("#")
    shown = np.asarray(Image.open("neighbors/outliers.png"))[4:132, 4:132]
    expected = np.asarray(Image.open(photos / f"{int(last):02}.png").resize((128, 128)))
    assert np.abs(shown.astype(int) - expected).mean() < 20
    assert [(pair.row_1, pair.row_2) for pair in found.pairs] == [(0, 18)]


def test_measurements_keep_their_scaling(tmp_path, monkeypatch):
    """A camera of 12 bits in files of 16: read as bytes, a query would be almost black."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for i in range(6):
        pixels = np.random.RandomState(i).randint(0, 4096, (8, 8), "uint16")
        Image.fromarray(pixels).save(tmp_path / ("query.png" if i == 5 else f"photos/{i}.png"))
    Image.open("photos/3.png").save("query.png")
    encoder = evaluation.raw_pixels((8, 8, 1))
    encoder.save("encoder.keras")
    found = embed("encoder.keras", "photos", quiet=True)
    assert found.about["scaling"] is not None
    result = neighbors("embeddings.npz", queries=["query.png"], k=1, quiet=True)
    assert result.nearest.indices.tolist() == [[3]]
    assert result.nearest.similarities[0, 0] == pytest.approx(1, abs=1e-5)
    shown = np.asarray(Image.open("neighbors/queries.png"))[4:132, 4:132]
    assert shown.mean() > 80
    # A CSV file says nothing of it, but the run of the encoder does.
    embed("encoder.keras", "photos", out="e.csv", quiet=True)
    run = {"encoder.keras": found.about["scaling"]}
    monkeypatch.setattr("keras_ssl.commands.neighbors.scaling_of", run.get)
    given = {"queries": ["query.png"], "encoder": "encoder.keras"}
    again = neighbors("e.csv", k=1, quiet=True, **given)
    assert again.nearest.similarities[0, 0] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"k": 0}, "`k` must"),
        ({"outliers": 0}, "`outliers` must"),
        ({"threshold": 1.5}, "`threshold` must"),
        ({"queries": "a.png"}, "`queries` must be a sequence"),
        ({"queries": []}, "`queries` must name"),
        ({"queries": ["nothing.png"]}, "`queries` must be paths.*'nothing.png', which is none"),
        ({"queries": ["99"]}, "`queries` must be paths.*from 0 to 19"),
        (
            {"queries": ["text.png"]},
            "`queries` must be images that can be read",
        ),
        ({"images": "photos"}, "`images` must be left out"),
        ({"embeddings": "missing.npz"}, "`path` must be a file"),
        ({"embeddings": "missing"}, "`images` must be given with an encoder"),
        ({"embeddings": "missing", "images": "photos"}, "`encoder` must be one of"),
        ({"embeddings": "runs/missing", "images": "photos"}, "`embeddings` must be a run.*missing"),
        ({"out": "embeddings.npz"}, "`out` must be a folder"),
        ({"encoder": "encoder.keras", "queries": ["new.png"]}, "`encoder` must be the one that"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(kwargs, match, photos, encoder):
    features = np.random.RandomState(0).normal(size=(20, 768)).astype("float32")
    about = {"encoder": str(encoder), "image_shape": [16, 16, 3]}
    if "encoder" in kwargs:
        about["fingerprint"] = "another"
    names = sorted(str(path) for path in (photos.parent / "photos").iterdir())
    retrieval.write_embeddings("embeddings.npz", names, [features], 768, about=about)
    _photo(7).save("new.png")
    (photos.parent / "text.png").write_text("nothing")
    with pytest.raises((ValueError, TypeError), match=match):
        neighbors(**{"embeddings": "embeddings.npz", "quiet": True, **kwargs})
    assert not os.path.exists("neighbors")


@pytest.mark.parametrize(
    ("kwargs", "match"),
    [
        ({"images": "nowhere"}, "nowhere"),
        ({"encoder": "nowhere"}, "`encoder` must be"),
        ({"out": "e.txt"}, "`out` must end in"),
        ({"out": "photos"}, "`out` must end in"),
        ({"image_size": 7}, "Images must fit the encoder"),
        ({"batch_size": 0}, "`batch_size` must"),
    ],
)
def test_embed_says_what_is_wrong(kwargs, match, photos, encoder):
    before = sorted(photos.parent.iterdir())
    call = {"encoder": encoder, "images": "photos", "out": "e.npz", "quiet": True, **kwargs}
    with pytest.raises((ValueError, TypeError), match=match):
        embed(**call)
    assert sorted(photos.parent.iterdir()) == before


def test_smoke(photos, encoder):
    for i in range(100, 180):
        _photo(i).save(photos / f"{i}.png")
    assert len(embed(encoder, "photos", smoke=True, quiet=True).paths) == 64
    embed(encoder, "photos", "all.npz", quiet=True)
    assert len(neighbors("all.npz", smoke=True, quiet=True).queries) == 50  # every other one


PROGRAM = """
import sys
from keras_ssl.retrieval import extraction
extraction._PART_ROWS = 64
from keras_ssl.commands.embed import embed
embed("encoder.keras", "photos", "e.npz", batch_size=16)
"""


@pytest.mark.slow
def test_a_killed_embed_goes_on(photos, encoder):
    for i in range(20, 3000):
        _photo(i).save(photos / f"{i:04}.png")
    command = [sys.executable, "-c", PROGRAM]
    parts = photos.parent / "e.npz.parts"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        while len(list(parts.glob("part-*"))) < 3 and run.poll() is None:
            time.sleep(0.01)
        run.send_signal(signal.SIGKILL)
    assert not os.path.exists("e.npz") and len(list(parts.glob("part-*.npz"))) >= 3
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "going on after" in done.stdout
    found = retrieval.read_embeddings("e.npz")
    whole = embed(encoder, "photos", "whole.npz", quiet=True)
    np.testing.assert_array_equal(found.paths, whole.paths)
    np.testing.assert_allclose(found.features, whole.features, rtol=1e-5, atol=1e-6)
    assert not parts.exists()
