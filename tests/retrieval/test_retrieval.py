import dataclasses
import json
import os
import shutil
import tracemalloc

import cv2
import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssl import data, encoders, evaluation, retrieval
from keras_ssl.retrieval import duplicates, embeddings, extraction
from keras_ssl.retrieval.embeddings import Embeddings, place_of
from keras_ssl.retrieval.gallery import Tile, as_tile, draw_rows, read_tile
from keras_ssl.retrieval.parts import Part, Parts, differing
from tests.conftest import tiny_encoder

FORMATS = (".npz", ".csv", ".parquet")


def _photos(folder, count=12, classes=("hats", "shoes")):
    rng = np.random.RandomState(0)
    for i in range(count):
        path = folder / classes[i % len(classes)] / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (8, 8), "uint8")).save(path)
    return folder


@pytest.fixture
def encoder():
    return tiny_encoder()


@pytest.fixture
def images(tmp_path, encoder):
    return retrieval.open_images(_photos(tmp_path / "photos"), encoder)


class TestFiles:
    FEATURES = np.random.RandomState(0).normal(size=(5, 3)).astype("float32")
    PATHS = ("a b.png", 'with "quotes", and commas.png', "große/日本.jpg", "x\ny.png", "e.png")

    @pytest.mark.parametrize("labels", [None, np.array([1, 0, 1, 1, 0])])
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_what_is_written_is_read(self, suffix, labels, tmp_path):
        pytest.importorskip("pyarrow")
        path, names = tmp_path / f"e{suffix}", None if labels is None else ("hat", "shoe")
        blocks = [self.FEATURES[:2], self.FEATURES[2:2], self.FEATURES[2:]]
        retrieval.write_embeddings(path, self.PATHS, blocks, 3, labels, names, {"encoder": "x"})
        found = retrieval.read_embeddings(path)
        np.testing.assert_array_equal(found.features, self.FEATURES)
        assert found.features.dtype == "float32" and tuple(found.paths) == self.PATHS
        assert found.class_names == names
        if labels is not None:
            np.testing.assert_array_equal(found.labels, labels)
            assert found.labels.dtype == "int64"
        assert found.about == ({} if suffix == ".csv" else {"encoder": "x"})

    def test_numpy_reads_the_archive_and_we_map_it(self, tmp_path):
        path = tmp_path / "e.npz"
        retrieval.write_embeddings(path, self.PATHS, [self.FEATURES], 3)
        with np.load(path) as archive:
            assert set(archive.files) == {"features", "paths", "about"}
            np.testing.assert_array_equal(archive["features"], self.FEATURES)
        features = retrieval.read_embeddings(path).features
        assert isinstance(features, np.memmap) and features.flags.aligned
        assert features.offset % 64 == 0

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_archives_of_others_are_read(self, save, tmp_path):
        save(tmp_path / "e.npz", paths=np.array(["a", "b"]), features=self.FEATURES[:2])
        found = retrieval.read_embeddings(tmp_path / "e.npz")
        np.testing.assert_array_equal(found.features, self.FEATURES[:2])
        assert found.about == {}

    @pytest.mark.long
    @pytest.mark.parametrize("suffix", [".csv", ".parquet"])
    def test_features_are_never_whole_in_memory(self, suffix, tmp_path, monkeypatch):
        """Of 2 MiB of features, at most a quarter is in memory at any time, however it is read."""
        pa = pytest.importorskip("pyarrow")
        monkeypatch.setattr(embeddings, "_ROWS", 64)
        features = np.random.RandomState(0).normal(size=(2048, 256)).astype("float32")
        paths = [f"{i}.png" for i in range(len(features))]
        path, labels = tmp_path / f"e{suffix}", np.arange(len(features)) % 2
        names, blocks = ("hat", "shoe"), np.split(features, 64)
        retrieval.write_embeddings(path, paths, blocks, 256, labels, names)
        retrieval.read_embeddings(path)  # What it imports would count as memory.
        used, on_disk = [], embeddings._on_disk

        def watched(blocks, width):
            def each():
                for block in blocks:
                    used.append(pa.total_allocated_bytes())
                    yield block

            return on_disk(each(), width)

        monkeypatch.setattr(embeddings, "_on_disk", watched)
        before = pa.total_allocated_bytes()
        tracemalloc.start()
        found = retrieval.read_embeddings(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(used) >= 32
        # Paths and labels are in memory, as lists and then as arrays.
        assert peak + max(used) - before < features.nbytes / 4 + 300 * len(paths)
        assert isinstance(found.features, np.memmap)
        np.testing.assert_array_equal(found.features, features)
        assert tuple(found.paths) == tuple(paths)
        np.testing.assert_array_equal(found.labels, labels)

    def test_names_that_are_not_characters_come_back(self, tmp_path):
        for suffix in (".npz", ".csv"):
            path = tmp_path / f"e{suffix}"
            retrieval.write_embeddings(path, ["\udcff.png"], [self.FEATURES[:1]], 3)
            assert retrieval.read_embeddings(path).paths[0] == "\udcff.png"

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_damaged_files_are_refused(self, suffix, tmp_path):
        (tmp_path / f"e{suffix}").write_bytes(b"path,fe\nnothing")
        with pytest.raises(ValueError, match="`path` must"):
            retrieval.read_embeddings(tmp_path / f"e{suffix}")
        with pytest.raises(ValueError, match="`path` must be a file"):
            retrieval.read_embeddings(tmp_path / f"missing{suffix}")

    @pytest.mark.parametrize(
        "blocks", [[FEATURES[:4]], [FEATURES, FEATURES[:1]], [FEATURES[:, :2]]]
    )
    def test_blocks_that_do_not_fit_leave_nothing(self, blocks, tmp_path):
        with pytest.raises(ValueError, match="`blocks` must have 5 rows of 3"):
            retrieval.write_embeddings(tmp_path / "e.npz", self.PATHS, blocks, 3)
        assert not list(tmp_path.iterdir())

    def test_parquet_without_pyarrow_names_it(self, tmp_path, monkeypatch):
        monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
        monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
        with pytest.raises(ValueError, match="pip install pyarrow"):
            retrieval.write_embeddings(tmp_path / "e.parquet", ["a"], [self.FEATURES[:1]], 3)


class TestEmbedImages:
    def test_rows_are_the_features_of_their_paths(self, images, encoder, tmp_path):
        found = retrieval.embed_images(encoder, images, tmp_path / "e.npz", batch_size=5)
        assert tuple(found.paths) == images.names
        assert found.class_names == ("hats", "shoes")
        names = [found.class_names[label] for label in found.labels]
        assert all(name in path for name, path in zip(names, found.paths, strict=True))
        for path, row in zip(found.paths, found.features, strict=True):
            pixels = np.asarray(Image.open(path))[None, :, :, None] / np.float32(255)
            np.testing.assert_allclose(encoder(pixels)[0], row, rtol=1e-5, atol=1e-6)
        assert not (tmp_path / "e.npz.parts").exists()

    def test_images_without_files_are_numbered(self, encoder, tmp_path):
        pixels = np.random.RandomState(0).randint(0, 256, (3, 8, 8, 1)).astype("uint8")
        images = data.from_arrays(pixels, [1, 0, 1])
        found = retrieval.embed_images(encoder, images, tmp_path / "e.npz")
        assert list(found.paths) == ["#0", "#1", "#2"] and list(found.labels) == [1, 0, 1]

    @pytest.mark.parametrize(
        ("source", "noted"), [(".", os.getcwd()), ("hf://a/b", "hf://a/b"), (object(), None)]
    )
    def test_where_the_encoder_lies_is_noted(self, source, noted, images, encoder, tmp_path):
        found = retrieval.embed_images(encoder, images, tmp_path / "e.npz", source=source)
        assert found.about["encoder"] == noted

    def test_splits_are_all_embedded_and_are_no_classes(self, encoder, tmp_path):
        for split in ("train", "val", "test"):
            _photos(tmp_path / "photos" / split, 4)
        images = retrieval.open_images(tmp_path / "photos", encoder)
        assert len(images) == 12 and images.class_names == ("hats", "shoes")
        assert len(retrieval.open_images(tmp_path / "photos", encoder, labels=False)) == 12

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_what_cannot_be_read_has_no_row_and_is_listed(self, suffix, encoder, tmp_path):
        folder = _photos(tmp_path / "photos")
        (folder / "hats" / "broken.png").write_bytes(b"nothing")
        with pytest.warns(UserWarning, match="cannot be read"):
            images = retrieval.open_images(folder, encoder)
        lost = images.names[3]
        whole = evaluation.extract(encoder, images).values
        content = (folder / "hats" / "00.png").read_bytes()
        with open(lost, "wb") as file:  # It begins like a picture.
            file.write(content[:60])
        found = retrieval.embed_images(encoder, images, tmp_path / f"e{suffix}", batch_size=4)
        kept = [i for i in range(12) if i != 3]
        assert tuple(found.paths) == tuple(images.names[i] for i in kept)
        np.testing.assert_allclose(found.features, whole[kept], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found.labels, images.labels()[kept])
        table = (tmp_path / "e.skipped.csv").read_text().splitlines()
        assert table == ["path", str(folder / "hats" / "broken.png"), lost]

    def test_a_call_that_was_cut_off_goes_on(self, images, encoder, tmp_path, monkeypatch):
        whole = retrieval.embed_images(encoder, images, tmp_path / "whole.npz", batch_size=2)
        monkeypatch.setattr(extraction, "_PART_ROWS", 4)
        seen = []

        def represent_with(model, shape):
            represent = evaluation.features.represent_with(model, shape)

            def counted(batch):
                seen.append(len(batch))
                if len(seen) == 4:
                    raise KeyboardInterrupt
                return represent(batch)

            return counted

        monkeypatch.setattr(extraction, "represent_with", represent_with)
        out = tmp_path / "e.npz"
        with pytest.raises(KeyboardInterrupt):
            retrieval.embed_images(encoder, images, out, batch_size=2)
        assert not out.exists() and len(list((tmp_path / "e.npz.parts").glob("part-*"))) == 1
        found = retrieval.embed_images(encoder, images, out, batch_size=2)
        assert sum(seen[4:]) == 8  # Four of twelve were done.
        np.testing.assert_array_equal(found.features, whole.features)
        np.testing.assert_array_equal(found.paths, whole.paths)

    def test_parts_of_others_are_refused(self, images, encoder, tmp_path):
        out = tmp_path / "e.npz"
        identity = extraction.identify(encoder, images)
        kept = np.arange(12)
        parts = Parts(out, identity)
        parts.write(0, 12, Part(kept, np.zeros((12, 16), "float32")))
        parts.close()
        other = tiny_encoder()
        other.layers[0].kernel.assign_add(other.layers[0].kernel)
        with pytest.raises(ValueError, match="`out` has parts .* another encoder"):
            retrieval.embed_images(other, images, out)
        with pytest.raises(ValueError, match="another list of images"):
            retrieval.embed_images(encoder, images.subset([1, 2]), out)
        assert parts.done == 12  # They are still there.
        found = retrieval.embed_images(encoder, images, out)  # Taken up as they are.
        assert not found.features.any()

    def test_overwrite_begins_anew(self, images, encoder, tmp_path):
        out = tmp_path / "e.npz"
        retrieval.embed_images(encoder, images.subset([1, 2]), out)
        with pytest.raises(ValueError, match="`out` must not exist"):
            retrieval.embed_images(encoder, images, out)
        parts = Parts(out, {"encoder": "another"})
        parts.write(0, 12, Part(np.arange(12), np.zeros((12, 16), "float32")))
        parts.close()
        found = retrieval.embed_images(encoder, images, out, overwrite=True)
        assert found.features.shape == (12, 16) and found.features.any()

    def test_two_processes_do_not_write_one_file(self, images, encoder, tmp_path):
        parts = Parts(tmp_path / "e.npz", extraction.identify(encoder, images))
        with pytest.raises(ValueError, match="one process at a time"):
            retrieval.embed_images(encoder, images, tmp_path / "e.npz")
        parts.close()

    def test_a_part_that_is_missing_is_made_again(self, tmp_path):
        parts = Parts(tmp_path / "e.npz", {"encoder": "x"})
        for first in (0, 2, 4):
            parts.write(first, 2, Part(np.arange(first, first + 2), np.zeros((2, 3))))
        parts.close()
        parts.files()[1].unlink()
        (parts.folder / "part-000000000006-2.npz.123.partial.npz").write_bytes(b"cut off")
        again = Parts(tmp_path / "e.npz", {"encoder": "x"})
        assert again.done == 2 and len(list(again.folder.glob("part-*"))) == 1
        again.close()

    def test_numbers_that_are_not_finite_are_refused(self, images, encoder, tmp_path):
        encoder.layers[0].kernel.assign(np.full(encoder.layers[0].kernel.shape, np.nan))
        with pytest.raises(ValueError, match="`encoder` must give finite numbers.*00.png"):
            retrieval.embed_images(encoder, images, tmp_path / "out" / "e.npz")
        assert not list((tmp_path / "out").iterdir())

    @pytest.mark.parametrize("out", ["e.txt", "e", 3, None])
    def test_other_formats_are_refused(self, out, images, encoder):
        with pytest.raises(ValueError, match="`out` must end in .npz, .csv, .parquet"):
            retrieval.embed_images(encoder, images, out)

    def test_the_fingerprint_tells_encoders_apart(self, encoder):
        ours = extraction.fingerprint_encoder(encoder)
        assert extraction.fingerprint_encoder(keras.models.clone_model(encoder)) != ours
        encoder.layers[-2].name  # noqa: B018 (names do not matter)
        twin = tiny_encoder()
        twin.set_weights(encoder.get_weights())
        assert extraction.fingerprint_encoder(twin) == ours

    def test_the_identity_tells_precision_and_pooling_apart(self, images):
        kinds = [
            *(("mean", "float32"), ("class", "float32"), ("mean", "mixed_bfloat16")),
            ("mean", "float32"),
        ]
        found = []
        for pooling, dtype in kinds:
            keras.utils.set_random_seed(0)
            tokens = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Reshape((16, 4))])
            tokens.add(keras.layers.Dense(3, dtype=dtype))
            encoder = encoders.as_encoder(tokens, pooling=pooling)
            found.append(extraction.identify(encoder, images))
        assert found[3] == found[0] and found[1] != found[0] != found[2]
        assert len({one["encoder"] for one in found}) == 1  # the same weights

    def test_loose_images_leave_no_classes_and_it_is_said(self, encoder, tmp_path):
        photos = _photos(tmp_path / "photos")
        shutil.copy(photos / "hats" / "00.png", photos / "cover.png")
        with pytest.warns(UserWarning, match="1 of 13 images in .* lie outside its sub-folders"):
            assert not retrieval.open_images(photos, encoder).has_labels


class TestSearch:
    X = np.random.RandomState(0).normal(3, 1, size=(50, 6)).astype("float32")

    @pytest.mark.parametrize("center", [True, False])
    def test_the_nearest_are_those_of_the_full_matrix(self, center, monkeypatch):
        monkeypatch.setattr("keras_ssl.retrieval.search._ROWS", 7)
        found = retrieval.Index(self.X, center).nearest_of(np.arange(50), 4)
        x = self.X.astype("float64") - center * self.X.mean(axis=0, dtype="float64")
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        cosines = x @ x.T
        np.fill_diagonal(cosines, -2)
        np.testing.assert_array_equal(found.indices, np.argsort(-cosines, axis=1)[:, :4])
        np.testing.assert_allclose(
            found.similarities, -np.sort(-cosines, axis=1)[:, :4], rtol=0, atol=1e-6
        )

    def test_a_row_that_is_there_many_times_is_not_its_own_neighbor(self):
        x = np.concatenate([np.tile(self.X[:1], (8, 1)), self.X])
        found = retrieval.Index(x).nearest_of(np.arange(58), 3)
        assert found.indices.shape == (58, 3)
        assert not (found.indices == np.arange(58)[:, None]).any()
        assert (found.indices[:9] < 9).all()

    def test_other_features_are_centered_alike(self):
        index = retrieval.Index(self.X, center=True)
        found = index.nearest(self.X[7:8], 5)
        assert found.indices[0, 0] == 7 and found.similarities[0, 0] == pytest.approx(1)

    def test_more_neighbors_than_there_are(self):
        x = np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 2.0], [0.1, 1.0]])
        found = retrieval.Index(x).nearest_of(np.arange(4), 3)
        assert found.indices[0].tolist() == [2, 3, 1]  # A row of zeros is at a right angle to all.
        np.testing.assert_allclose(found.similarities[0], [5**-0.5, 0.1 / 1.01**0.5, 0], atol=1e-6)
        np.testing.assert_array_equal(found.similarities[1], 0)
        assert retrieval.Index(self.X[:4]).nearest_of(np.arange(4), 10).indices.shape == (4, 3)

    @pytest.mark.parametrize(
        ("features", "match"),
        [
            (np.ones((4, 3), "float32"), "collapsed"),
            (np.full((4, 3), 0.1, "float32"), "collapsed"),
            (np.array([[np.nan, 1], [1, 2]], "float32"), "finite"),
            (np.ones((1, 3), "float32"), "two rows"),
            (np.ones(3, "float32"), "two rows"),
        ],
    )
    def test_what_cannot_be_searched(self, features, match):
        with pytest.raises(ValueError, match=f"`features` must .*{match}"):
            retrieval.Index(features)


class TestDuplicates:
    def _folder(self, tmp_path):
        """Twenty different photos; one copied twice, one with other metadata, one resaved."""
        rng = np.random.RandomState(0)
        for i in range(20):
            small = rng.randint(0, 256, (4, 4, 3), "uint8")
            Image.fromarray(small).resize((64, 64)).save(tmp_path / f"{i:02}.png")
        shutil.copy(tmp_path / "03.png", tmp_path / "x1.png")
        shutil.copy(tmp_path / "03.png", tmp_path / "x2.png")
        Image.open(tmp_path / "05.png").save(tmp_path / "y.png", compress_level=0)
        Image.open(tmp_path / "07.png").save(tmp_path / "z.jpg", quality=90)
        return tmp_path

    def _embeddings(self, tmp_path):
        encoder = evaluation.raw_pixels((16, 16, 3))
        images = retrieval.open_images(self._folder(tmp_path), encoder)
        return retrieval.embed_images(encoder, images, tmp_path / "e.npz")

    def test_kinds_are_told_apart(self, tmp_path):
        embeddings = self._embeddings(tmp_path)
        nearest = retrieval.Index(embeddings.features).nearest_of(np.arange(24), 3)
        threshold = retrieval.find_threshold(nearest.similarities[:, 0])
        pairs = duplicates.find_pairs(embeddings, nearest, threshold)
        names = [str(path)[len(str(tmp_path)) + 1 :] for path in embeddings.paths]
        found = [(p.kind, names[p.row_1], names[p.row_2]) for p in pairs]
        assert found == [
            ("same file", "03.png", "x1.png"),
            ("same file", "03.png", "x2.png"),
            ("same pixels", "05.png", "y.png"),
            ("near", "07.png", "z.jpg"),
        ]
        groups = [[names[row] for row in rows] for rows in duplicates.group(pairs, 24)]
        assert groups == [["03.png", "x1.png", "x2.png"], ["05.png", "y.png"], ["07.png", "z.jpg"]]

    def test_measurements_are_compared_whole(self, tmp_path):
        """Of 16 bits in three channels, Pillow drops the lower eight."""
        for i in range(2):
            pixels = np.random.RandomState(i).randint(0, 256, (8, 8, 3)).astype("uint16")
            cv2.imwrite(str(tmp_path / f"{i}.png"), pixels)
        paths = np.array([str(tmp_path / f"{i}.png") for i in range(2)])
        embeddings = retrieval.Embeddings(paths, np.ones((2, 3), "float32"))
        nearest = retrieval.Nearest(np.array([[1], [0]]), np.ones((2, 1)))
        (pair,) = duplicates.find_pairs(embeddings, nearest, 0.9)
        assert pair.kind == "near"

    def test_no_pairs_are_no_groups(self):
        assert duplicates.group([], 3) == []

    def test_the_threshold_leaves_alone_what_does_not_stand_out(self):
        similarities = np.tanh(np.random.RandomState(0).normal(1.0, 0.2, 5000))
        threshold = retrieval.find_threshold(similarities)
        # The quartiles of this distribution are 0.6745 deviations from its mean.
        assert threshold == pytest.approx(np.tanh(1 + 0.2 * 7 * 0.6745), abs=0.01)
        assert (similarities > threshold).sum() <= 1

    def test_files_that_are_gone_are_not_the_same(self, tmp_path):
        embeddings = self._embeddings(tmp_path)
        for path in embeddings.paths:
            (tmp_path / path).unlink()
        nearest = retrieval.Index(embeddings.features).nearest_of(np.arange(24), 3)
        kinds = {p.kind for p in duplicates.find_pairs(embeddings, nearest, 0.99)}
        assert kinds == {"near"}


class TestGallery:
    def test_every_photo_is_where_it_belongs(self, tmp_path):
        rows = [
            [
                Tile(np.full((128, 128, 3), 30 * (4 * i + j), "uint8"), ["$x_1$", ""])
                for j in range(4)
            ]
            for i in range(1, -1, -1)
        ]
        draw_rows(tmp_path / "g.png", rows, lead=1)
        pixels = np.asarray(Image.open(tmp_path / "g.png"))
        height, width = pixels.shape[0] // 2, 136
        for i in range(2):
            for j in range(4):
                place = pixels[i * height + 60, (j * width + 60) + (16 if j else 0)]
                assert (place == 30 * (4 * (1 - i) + j)).all()

    def test_what_cannot_be_read_is_gray(self, tmp_path):
        assert (read_tile(tmp_path / "missing.png") == 192).all()

    @pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
    def test_any_channels_are_shown(self, channels):
        assert as_tile(np.full((5, 5, channels), 0.5, "float32")).shape == (128, 128, 3)


def test_a_path_is_seen_from_where_it_was_embedded(tmp_path, monkeypatch):
    _photos(tmp_path / "photos", 2)
    monkeypatch.chdir(tmp_path)
    encoder = evaluation.raw_pixels((8, 8, 1))
    found = retrieval.embed_images(encoder, retrieval.open_images("photos", encoder), "e.npz")
    _photos(tmp_path / "elsewhere" / "photos", 2)  # Others of the same names.
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert str(found.paths[0]) == "photos/hats/00.png"
    assert found.file(0) == str(tmp_path / "photos/hats/00.png")
    (tmp_path / "photos/hats/00.png").unlink()
    assert found.file(0) == "photos/hats/00.png"  # The folder may have been moved.
    assert json.loads(json.dumps(found.about)) == found.about


def test_an_identity_of_an_earlier_version_is_the_same_where_it_says_something():
    now = {"encoder": "a", "scaling": [[0, 1]]}
    assert differing({"encoder": "a"}, now) == []
    assert differing({"encoder": "b"}, now) == ["encoder"]
    assert differing({"encoder": "a", "scaling": None}, now) == ["scaling"]
    assert differing({}, now) == ["encoder", "scaling"]


def test_a_name_that_begins_like_a_number_is_a_name():
    assert [place_of(path) for path in ("#3", "#trip/1.jpg", "#", "3")] == [3, None, None, None]


def test_a_path_of_a_bucket_stays_as_it_is():
    found = Embeddings(np.array(["gs://b/0.png"]), np.ones((1, 2)), about={"directory": "/home"})
    assert found.file(0) == "gs://b/0.png"


def test_the_same_pixels_are_found_whatever_the_threshold(tmp_path):
    """Features of the same pixels may differ by rounding."""
    _photos(tmp_path, 2)
    Image.open(tmp_path / "hats/00.png").save(tmp_path / "hats/00.bmp")
    paths = [tmp_path / name for name in ("hats/00.png", "hats/00.bmp", "shoes/01.png")]
    features = np.array([[1, 0], [1, 1e-3], [1, 2e-3]], "float32")
    found = Embeddings(np.array(list(map(str, paths))), features)
    nearest = retrieval.Index(features).nearest_of(np.arange(3), k=2)
    (pair,) = duplicates.find_pairs(found, nearest, threshold=1.0)
    assert pair[:3] == ("same pixels", 0, 1)


def test_stale_names_cost_a_row_and_never_make_a_wrong_one(images, encoder, tmp_path):
    stale = dataclasses.replace(images, replaced=[images.names[0]])
    found = retrieval.embed_images(encoder, stale, tmp_path / "e.npz")
    assert tuple(found.paths) == images.names[1:]
