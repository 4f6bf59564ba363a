"""Sources beyond folders of photos: measurements, manifests with groups, buckets, large folders."""

import csv
import dataclasses
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import keras_ssl
from keras_ssl import data, inspection, models
from keras_ssl.data.sources import raw, reading
from tests.conftest import quick_policy

BUCKET = "ram://bucket"


def _photo(path, value=120, size=(12, 12)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, 10, 200)).save(path)


def _tiff(path, pixels, **kwargs):
    tifffile = pytest.importorskip("tifffile")
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, **kwargs)


def _first(images):
    return next(iter(images.batches(len(images))))[0].numpy()


class TestMeasurements:
    def test_dim_numbers_are_stretched_to_their_range(self, tmp_path, caplog):
        """A camera of 12 bits in files of 16: as bytes, all would be almost black."""
        caplog.set_level("INFO", "keras_ssl")
        ramp = np.linspace(200, 4095, 32 * 32).reshape(32, 32).astype("uint16")
        for i in range(3):
            Image.fromarray(ramp).save(tmp_path / f"{i}.png")
        images = data.from_folder(tmp_path, 32)
        ((low, high),) = images.scaling
        assert images.image_shape == (32, 32, 1) and images.skipped == ()
        assert (low, high) == pytest.approx(tuple(np.percentile([ramp] * 3, (1, 99.8))), rel=1e-4)
        expected = np.clip((ramp - low) / (high - low), 0, 1)
        np.testing.assert_allclose(_first(images)[0, ..., 0], expected, atol=1e-6)
        assert f"1 x uint16; {low:g} to {high:g} becomes 0 to 1" in caplog.text

    @pytest.mark.parametrize("spread", [0, 3])
    def test_measurements_that_six_digits_do_not_tell_apart(self, tmp_path, spread):
        ramp = np.linspace(1e7, 1e7 + spread, 256, dtype="float32").reshape(16, 16)
        _tiff(tmp_path / "a.tif", ramp)
        images = data.from_folder(tmp_path, 16)
        again = data.from_folder(tmp_path, 16, scaling=images.scaling)
        for found in (images, again):
            assert _first(found).min() == 0 and _first(found).max() == (1 if spread else 0)

    def test_a_bright_channel_leaves_the_others_theirs(self, tmp_path):
        ramp = np.linspace(0, 1, 64).reshape(8, 8, 1)
        bands = dict(photometric="minisblack", planarconfig="contig")
        _tiff(tmp_path / "a.tif", (ramp * (45_000, 1_500)).astype("uint16"), **bands)
        bright, dim = data.from_folder(tmp_path, 8).scaling
        assert bright == (0, 65535) and dim[1] == pytest.approx(1500, rel=0.02)
        _tiff(tmp_path / "a.tif", (ramp * (45_000, 1_500, 1_500)).astype("uint16"))
        assert data.from_folder(tmp_path, 8).scaling == ((0, 65535),)  # A color image.

    def test_measurements_among_photos_are_named(self, tmp_path):
        for i in range(3):
            _photo(tmp_path / f"{i}.png")
        _tiff(tmp_path / "cells.tif", np.full((8, 8), 3000, "uint16"))
        with pytest.warns(UserWarning, match=r"1 of 4 files .* are measurements.*cells.tif"):
            data.from_folder(tmp_path, 8)

    def test_why_nothing_can_be_read_is_said(self, tmp_path, monkeypatch, caplog):
        caplog.set_level("INFO", "keras_ssl")
        _tiff(tmp_path / "a.tif", np.full((8, 8), 3000, "uint16"))

        def read(path):
            raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

        monkeypatch.setattr(raw, "read_numbers", read)
        with pytest.raises(ValueError, match=r"none of 1 can: a.tif \(.*'imagecodecs' package"):
            data.from_folder(tmp_path, 8)
        assert "measured on 0 files" in caplog.text

    def test_the_same_scaling_for_other_images(self, tmp_path):
        for i, top in enumerate((1000, 2000)):
            (tmp_path / str(i)).mkdir()
            ramp = np.linspace(0, top, 256).reshape(16, 16).astype("uint16")
            Image.fromarray(ramp).save(tmp_path / str(i) / "a.png")
        train = data.load(tmp_path / "1", image_size=16).train
        other = data.load(tmp_path / "0", image_size=16, scaling=train.scaling).train
        assert other.scaling == train.scaling
        assert _first(other).max() == pytest.approx(0.5, abs=0.01) and _first(train).max() == 1

    def test_palettes_and_black_and_white_are_colors(self, tmp_path):
        red = Image.new("P", (16, 16), 1)
        red.putpalette([0, 0, 0, 255, 0, 0])
        red.save(tmp_path / "red.png")
        Image.new("1", (16, 16), 1).save(tmp_path / "white.png")
        images = data.from_folder(tmp_path, 16, channels=3, scaling=((0, 255),))
        found = _first(images)
        np.testing.assert_allclose(found[0, 8, 8], [1, 0, 0], atol=1e-6)
        np.testing.assert_allclose(found[1, 8, 8], [1, 1, 1], atol=1e-6)

    def test_a_tiff_is_not_read_in_part_where_a_package_is_missing(self, tmp_path, monkeypatch):
        _tiff(tmp_path / "a.tif", np.full((16, 16, 3), 3000, "uint16"), photometric="rgb")
        monkeypatch.setitem(sys.modules, "tifffile", None)
        with pytest.raises(ValueError, match="a.tif is a TIFF .*pip install tifffile"):
            data.from_folder(tmp_path, 16)

    def test_no_scaling_gives_the_bytes_of_earlier_versions(self, tmp_path):
        ramp = np.linspace(0, 4095, 256).reshape(16, 16).astype("uint16")
        Image.fromarray(ramp).save(tmp_path / "a.png")
        images = data.load(tmp_path, image_size=16, scaling=()).train
        assert images.scaling is None
        np.testing.assert_array_equal(_first(images)[0, ..., 0], (ramp // 257 / 255).astype("f4"))

    def test_color_of_sixteen_bits_keeps_all_of_them(self, tmp_path):
        pixels = np.random.RandomState(0).randint(0, 65536, (16, 16, 3)).astype("uint16")
        (tmp_path / "a.png").write_bytes(tf.io.encode_png(pixels).numpy())
        images = data.from_folder(tmp_path, 16)
        assert images.scaling == ((0, 65535),)
        np.testing.assert_allclose(_first(images)[0], pixels / 65535, atol=1e-6)

    @pytest.mark.parametrize(
        ("dtype", "kwargs"),
        [
            ("uint16", {}),
            ("float32", {"planarconfig": "separate", "photometric": "minisblack"}),
            ("uint8", {"compression": "lzw"}),
            ("uint16", {"imagej": True}),
        ],
        ids=["array", "bands", "lzw", "imagej"],
    )
    def test_a_tiff_of_thirteen_channels(self, tmp_path, dtype, kwargs):
        if "compression" in kwargs:
            pytest.importorskip("imagecodecs")
        bands = np.arange(13)[:, None, None] * 10 + np.linspace(0, 100, 64).reshape(8, 8)
        _tiff(tmp_path / "a.tif", bands.astype(dtype), **kwargs)
        images = data.from_folder(tmp_path, 8)
        assert images.image_shape == (8, 8, 13) and images.skipped == ()
        if images.scaling != ((0, 255),):
            assert len(images.scaling) == 13 and images.scaling[12][0] > 115
        low, high = np.array(images.scaling).T
        expected = np.clip((bands.astype(dtype).transpose(1, 2, 0) - low) / (high - low), 0, 1)
        np.testing.assert_allclose(_first(images)[0], expected, atol=1e-6)
        ((view_1, _),) = next(iter(data.make_views(images, data.colorless(), 1)))
        assert view_1.shape == (1, 8, 8, 13)

    def test_a_hole_is_zero(self, tmp_path):
        pixels = np.linspace(1, 2, 64, dtype="float32").reshape(8, 8)
        pixels[3, 3] = np.nan
        Image.fromarray(pixels).save(tmp_path / "a.tif")
        image = _first(data.from_folder(tmp_path, 8))[0, ..., 0]
        assert np.isfinite(image).all() and image[3, 3] == 0 and image.max() == 1

    def test_four_bands_are_not_an_alpha(self, tmp_path):
        pixels = np.random.RandomState(0).randint(0, 255, (8, 8, 4)).astype("uint8")
        _tiff(tmp_path / "a.tif", pixels, photometric="rgb", extrasamples=["unspecified"])
        images = data.from_folder(tmp_path, 8)
        np.testing.assert_allclose(_first(images)[0], pixels / 255, atol=1e-6)

    def test_files_of_other_channels_are_named(self, tmp_path):
        bands = dict(photometric="minisblack", planarconfig="contig")
        for i in range(3):
            _tiff(tmp_path / f"{i}.tif", np.ones((8, 8, 5), "uint16"), **bands)
        _tiff(tmp_path / "odd.tif", np.ones((8, 8, 4), "uint16"), **bands)
        with pytest.raises(
            ValueError, match=r"one kind.*5 x uint16.*1 of 4 .*odd.tif \(4 x uint16"
        ):
            data.from_folder(tmp_path, 8)
        with pytest.raises(ValueError, match=r"of 5 channels.*1 of 4 differ.*odd.tif has 4"):
            data.from_folder(tmp_path, 8, channels=5)

    @pytest.mark.parametrize("scaling", [((1, 1),), ((2, 1),), 3, "ab", ((0, float("nan")),)])
    def test_what_is_no_scaling(self, tmp_path, scaling):
        for source in (tmp_path, "digits"):
            with pytest.raises(ValueError, match="`scaling` must be pairs"):
                data.load(source, scaling=scaling)

    def test_a_scaling_of_too_many_channels(self, tmp_path):
        _photo(tmp_path / "a.png")
        with pytest.raises(ValueError, match="`scaling` must have one pair.*3 channels"):
            data.load(tmp_path, scaling=((0, 1), (0, 2)))


@pytest.mark.parametrize(
    ("shape", "name"),
    [
        ((64, 64, 1), "tiny_gray"),
        ((128, 128, 1), "byol"),
        ((32, 32, 3), "simclr_cifar"),
        ((128, 128, 4), "colorless"),
        ((32, 32, 13), "colorless"),
    ],
)
def test_the_policy_for_a_number_of_channels(shape, name):
    assert data.policy_for(shape) == name


def test_colorless_mixes_no_channels():
    images = np.zeros((4, 16, 16, 5), "float32")
    images[..., 2] = 1
    for view in data.colorless()(images, seed=(0, 1)):
        assert np.ptp(view.numpy()[..., [0, 1, 3, 4]], axis=-1).max() == 0
        assert (view.numpy()[..., 2] > view.numpy()[..., 0] + 0.3).all()


def _manifest(path, rows):
    with open(path, "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def _encoder():
    layers = keras.layers
    convolution = layers.Conv2D(8, 3, strides=2, activation="relu")
    return keras.Sequential(
        [keras.Input((12, 12, 3)), convolution, layers.GlobalAveragePooling2D()]
    )


@pytest.fixture
def pairs(tmp_path):
    """Ten places at two moments; the red of an image is 20 * place + moment."""
    rows = []
    for moment in range(2):
        for i in range(10):
            name = f"photos/{moment}/{i}.png"
            _photo(tmp_path / name, 20 * i + moment)
            split = "test" if i < 2 else "train"
            rows.append(dict(path=name, label=str(i % 2 * 10), split=split, group=f"place {i}"))
    return rows


@pytest.mark.parametrize("hidden", [".cache", ".git"])
def test_hidden_folders_beside_splits_are_not_classes(hidden, tmp_path):
    for split in ("train", "test"):
        for name in ("cats", "dogs"):
            _photo(tmp_path / split / name / "0.png")
    (tmp_path / hidden).mkdir()
    train, test = data.load(tmp_path, image_size=12)
    assert (len(train), len(test)) == (2, 2) and train.class_names == ("cats", "dogs")


@pytest.mark.parametrize("flat", ["", "images"])
def test_a_test_split_without_classes_gives_way_to_one_with_them(flat, tmp_path):
    for split in ("train", "val"):
        for name in ("cats", "dogs"):
            _photo(tmp_path / split / name / "0.png")
    _photo(tmp_path / "test" / flat / "0.png")
    train, test = data.load(tmp_path, image_size=12)
    assert (len(train), len(test)) == (2, 2) and test.class_names == ("cats", "dogs")


@pytest.mark.parametrize("channels", [128, 200])
def test_views_of_any_number_of_channels(channels):
    """OpenCV takes images of more than 128 channels for something else."""
    pixels = np.random.RandomState(0).uniform(size=(4, 12, 10, channels)).astype("float32")
    steps = [data.RandomResizedCrop((8, 8)), data.RandomFlip(), data.RandomGaussianBlur()]
    policy = data.TwoViews(data.Compose(steps))
    views = data.make_views(data.from_arrays(pixels), policy, batch_size=4)
    ((view, _),) = next(iter(views))
    assert view.shape == (4, 8, 8, channels) and 0 <= np.min(view) < np.max(view) <= 1


class TestManifest:
    def test_spaces_after_commas_mean_nothing(self, tmp_path, pairs):
        _manifest(tmp_path / "a.csv", pairs)
        text = (tmp_path / "a.csv").read_text().replace(",", ", ")
        (tmp_path / "b.csv").write_text(text)
        train, test = data.load(tmp_path / "b.csv", image_size=12)
        assert (len(train), len(test)) == (16, 4) and train.groups is not None
        assert train.class_names == ("0", "10")

    def test_captions_of_groups_are_theirs(self, tmp_path, pairs):
        rows = [{k: row[k] for k in ("path", "group")} for row in pairs]
        images = data.load(_manifest(tmp_path / "a.csv", rows), image_size=12).train
        (first, _), _, texts = images.sample(10, seed=3)
        reds = np.round(first[:, 6, 6, 0] * 255).astype(int) // 20
        # Groups are numbered as their names are sorted: "place 0" to "place 9".
        assert texts == [f"group {red}" for red in reds]

    def test_a_file_of_any_name_may_be_broken(self, tmp_path, pairs):
        for name in ("scan.dcm", "scan"):
            (tmp_path / name).write_bytes(b"nothing")
            pairs.append({**pairs[-1], "path": name})
        with pytest.warns(UserWarning, match="2 of .* cannot be read and are skipped"):
            images = data.load(_manifest(tmp_path / "a.csv", pairs), image_size=12).train
        assert len(images) == 16

    def test_paths_labels_and_splits(self, tmp_path, pairs):
        train, test = data.load(_manifest(tmp_path / "a.csv", pairs), image_size=12)
        assert (len(train), len(test)) == (16, 4) and train.class_names == ("0", "10")
        assert train.names[0] == str(tmp_path / "photos" / "0" / "2.png")
        assert train.labels().tolist() == [0, 1, 0, 1, 0, 1, 0, 1] * 2
        np.testing.assert_allclose(_first(test)[:, 6, 6, 0] * 255, [0, 20, 1, 21], atol=0.01)
        train, test = data.load(tmp_path / "a.csv", image_size=12, labels=False)
        assert len(train) == 16 and not train.has_labels and test is None

    def test_other_names_of_columns(self, tmp_path, pairs):
        path = _manifest(tmp_path / "a.csv", [dict(file=r["path"], kind="x") for r in pairs])
        with pytest.raises(ValueError, match="`path_column` must be .*: file, kind.*'path'"):
            data.load(path)
        train, test = data.from_manifest(path, 12, path_column="file", label_column="kind")
        assert len(train) == 20 and train.class_names == ("x",) and test is None

    def test_two_views_are_of_two_images_of_a_group(self, tmp_path, pairs):
        train, test = data.load(_manifest(tmp_path / "a.csv", pairs), image_size=12)
        assert (train.example_count, test.example_count) == (8, 2)
        still = data.TwoViews(data.RandomFlip(0.5))
        views = data.make_views(train, still, 4, seed=3)
        assert views.cardinality() == 2
        orders = []
        for _ in range(2):
            places, moments = [], []
            for (view_1, view_2), labels in views:
                reds = np.round(np.stack([view_1, view_2])[:, :, 6, 6, 0] * 255).astype(int)
                assert (reds[0] // 20 == reds[1] // 20).all()
                assert (np.sort(reds % 20, axis=0).T == [0, 1]).all()
                assert (reds[0] // 20 % 2 == labels.numpy()).all()
                places += (reds[0] // 20).tolist()
                moments += (reds[0] % 20).tolist()
            assert sorted(places) == list(range(2, 10)) and 0 < sum(moments) < 8
            orders.append((places, moments))
        assert orders[0] != orders[1]

    @pytest.mark.long
    def test_a_resumed_run_sees_the_same_pairs(self, tmp_path, pairs):
        train = data.load(_manifest(tmp_path / "a.csv", pairs), image_size=12).train
        views = data.make_views(train, quick_policy(), 2, seed=1)
        for epoch in (0, 1):
            with views.epochs.at(epoch):
                whole = list(views)
            again = data.make_views(train, quick_policy(), 2, seed=1).starting_at(2)
            with again.epochs.at(epoch):
                rest = list(again)
            assert len(rest) == 2
            for a, b in zip(whole[2:], rest, strict=True):
                np.testing.assert_array_equal(a[0][0], b[0][0])
                np.testing.assert_array_equal(a[0][1], b[0][1])

    @pytest.mark.long
    def test_pairs_are_trained_on(self, tmp_path, pairs):
        """What is inspected and drawn are pairs, too."""
        train = data.load(_manifest(tmp_path / "a.csv", pairs), image_size=12).train
        views = data.make_views(train, data.weak(), 4, seed=1)
        model = models.SimCLR(_encoder(), projector="4")
        model.compile("sgd")
        losses = model.fit(views, epochs=2, verbose=0).history["loss"]
        assert np.isfinite(losses).all() and losses[0] != losses[1]

        still = data.TwoViews(data.RandomFlip(0.0))
        (view_1, view_2) = inspection.Sample(train, still, 6).views
        reds = np.round(np.stack([view_1, view_2])[:, :, 6, 6, 0] * 255).astype(int)
        assert (np.sort(reds % 20, axis=0).T == [0, 1]).all()
        assert (reds[0] // 20 == reds[1] // 20).all() and len(set(reds[0] // 20)) == 6
        pairs_shown, _, texts = train.sample(2)
        assert len(pairs_shown) == 2 and len(texts) == len(pairs_shown[0]) == 2
        grids = [
            data.view_grid(images, still, tmp_path / "views.png", count=2, draws=1)
            for images in (train, np.zeros((16, 12, 12, 3), "float32"))
        ]
        # Two images and two views of each row, beside one image and two views.
        assert grids[0].shape[1] > grids[1].shape[1]
        some = train.spread(5)
        assert np.bincount(some.groups).tolist() == [2, 2]

    @pytest.mark.slow  # `fit` on pairs and their header have fast tests.
    def test_a_run_trains_on_pairs(self, tmp_path, pairs, caplog):
        caplog.set_level("INFO", "keras_ssl")
        path = _manifest(tmp_path / "a.csv", pairs)
        chosen = dict(encoder=_encoder(), image_size=12, batch_size=4, smoke=True)
        run = keras_ssl.pretrain(path, policy="weak", out=tmp_path / "run", **chosen)
        assert "16 of (12, 12, 3) in 8 groups" in caplog.text
        assert "2 epochs of 2 steps of 4 groups" in caplog.text
        assert np.isfinite(run.results["trained"]["knn"])

    def test_views_of_the_same_batch_twice_are_those_of_one(self):
        images = np.random.RandomState(0).uniform(size=(3, 8, 8, 3)).astype("float32")
        policy = data.multi_crop((8, 8), local_count=2)
        for a, b in zip(
            policy.of([images], (1, 2)), policy.of([images, images], (1, 2)), strict=True
        ):
            np.testing.assert_array_equal(a, b)

    def test_groups_stay_together(self, tmp_path, pairs):
        rows = [{k: v for k, v in row.items() if k != "split"} for row in pairs]
        train, test = data.load(_manifest(tmp_path / "a.csv", rows), image_size=12)
        assert (len(train), len(test)) == (16, 4)
        parts = [train, test, *data.hold_out(data.Splits(train.without_labels(), None), 0.25)[:2]]
        for part in parts:
            assert np.bincount(part.groups).tolist() == [2] * (len(part) // 2)
        names = [{name.split("/")[-1] for name in part.names} for part in parts]
        assert not names[0] & names[1] and not names[2] & names[3]
        assert data.fingerprint(train) != data.fingerprint(
            data.load(_manifest(tmp_path / "b.csv", [{**r, "group": ""} for r in rows]), 12).train
        )

    def test_a_single_image_is_paired_with_itself(self, tmp_path, pairs):
        rows = [{**row, "group": ""} for row in pairs[:4]]
        train = data.load(_manifest(tmp_path / "a.csv", rows), image_size=12).train
        assert train.example_count == len(train) == 2
        ((view_1, view_2), _) = next(
            iter(data.make_views(train, data.TwoViews(data.RandomFlip(0)), 2))
        )
        np.testing.assert_array_equal(view_1, view_2)
        with pytest.raises(ValueError, match="`batch_size` must be .* 2 groups"):
            data.make_views(train, data.weak(), 3)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"path": "gone.png"}, r"files that exist.*1 of 20 do not: line 5 \(gone.png\)"),
            ({"path": ""}, "a path in each row.*1 of 20"),
            ({"label": ""}, "a label in each row.*1 of 20 .*line 5"),
            ({"split": "night"}, "say one of train, test, .*line 5"),
            ({"group": "place 1"}, "a group in one split.*place|one split"),
            ({"path": "photos/0/0.png"}, "each path in one split"),
        ],
        ids=lambda x: next(iter(x)) if isinstance(x, dict) else "",
    )
    def test_wrong_rows_are_named_and_counted(self, tmp_path, pairs, change, message):
        pairs[3].update(change)
        with pytest.raises(ValueError, match=message):
            data.load(_manifest(tmp_path / "a.csv", pairs))

    @pytest.mark.parametrize("content", [b"", b"path\n", b"\xff\xfe\x00"], ids=repr)
    def test_what_is_no_manifest(self, tmp_path, content):
        (tmp_path / "a.csv").write_bytes(content)
        for path in (tmp_path / "a.csv", tmp_path / "b.csv"):
            with pytest.raises(ValueError, match="`path` must"):
                data.load(path)

    def test_broken_files_are_skipped_and_named(self, tmp_path, pairs):
        (tmp_path / "photos/1/9.png").write_bytes(b"no image")
        path = _manifest(tmp_path / "a.csv", pairs)
        with pytest.warns(UserWarning, match="1 of 20 .*photos/1/9.png"):
            train, test = data.load(path, image_size=12)
        assert (len(train), len(test), train.example_count) == (15, 4, 8)


class TestLargeFolders:
    @pytest.fixture
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(reading, "_DECODED_AT_ONCE", 4)
        for i in range(6):
            _photo(tmp_path / f"{i}.png", 40 * i)
        return tmp_path

    def test_files_are_decoded_once_when_they_are_needed(self, folder, monkeypatch):
        (folder / "broken.png").write_bytes(b"no image")
        (folder / "cut.png").write_bytes((folder / "0.png").read_bytes()[:40])
        read = []
        original = reading.Decoding.read
        monkeypatch.setattr(
            reading.Decoding, "read", lambda self, path: read.append(path) or original(self, path)
        )
        with pytest.warns(UserWarning, match="1 of 8 .*broken.png"):
            images = data.from_folder(folder, 12)
        assert not read and len(images) == 7
        first, second = _first(images), _first(images)
        np.testing.assert_array_equal(first, second)
        np.testing.assert_allclose(first[:6, 6, 6, 0] * 255, np.arange(6) * 40, atol=0.01)
        # One of them took the place of the file that is cut, in both passes.
        assert sorted(read.count(name) for name in images.names[:6]) == [1] * 5 + [3]
        assert images.replaced == [str(folder / "cut.png")]

    def test_they_are_those_of_a_small_folder(self, folder, monkeypatch):
        lazy = data.from_folder(folder, 12)
        monkeypatch.setattr(reading, "_DECODED_AT_ONCE", 100)
        eager = data.from_folder(folder, 12)
        assert eager.reader is None and lazy.reader is not None
        assert data.fingerprint(lazy) == data.fingerprint(eager)
        assert lazy.names == eager.names


class TestBuckets:
    """`ram://` is a file system of TensorFlow's; `gs://` is read in the same way."""

    @pytest.fixture
    def bucket(self, tmp_path, request):
        root = f"{BUCKET}/{request.node.name}"
        for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
            for i in range(3):
                _photo(tmp_path / name / f"{i}.png", 40 * i)
                tf.io.gfile.makedirs(f"{root}/{name}")
                with tf.io.gfile.GFile(f"{root}/{name}/{i}.png", "wb") as file:
                    file.write((tmp_path / name / f"{i}.png").read_bytes())
        return root, tmp_path

    @pytest.mark.parametrize("scheme", ["ram", "file"])
    def test_a_folder(self, bucket, scheme):
        root, local = bucket
        there = root if scheme == "ram" else f"file://{local}"
        found, here = data.load(there, image_size=12), data.load(local, image_size=12)
        for a, b in zip(found, here, strict=True):
            assert a.class_names == b.class_names and data.fingerprint(a) == data.fingerprint(b)
        assert found.train.names[0] == f"{there}/train/cat/0.png"
        with pytest.raises(ValueError, match="`source` must be a folder, a .csv file or shards"):
            data.load(f"{root}/nowhere")

    def test_a_manifest(self, bucket):
        root, _ = bucket
        with tf.io.gfile.GFile(f"{root}/a.csv", "w") as file:
            file.write("path\ntrain/cat/0.png\n" + f"{root}/test/dog/2.png\n")
        images = data.load(f"{root}/a.csv", image_size=12).train
        assert images.names == (f"{root}/train/cat/0.png", f"{root}/test/dog/2.png")
        np.testing.assert_allclose(_first(images)[:, 6, 6, 0] * 255, [0, 80], atol=0.01)

    def test_files_that_break_later(self, bucket, monkeypatch):
        root, _ = bucket
        monkeypatch.setattr(reading, "_DECODED_AT_ONCE", 1)
        images = data.from_folder(f"{root}/train", 12)
        tf.io.gfile.remove(f"{root}/train/cat/1.png")
        assert len(_first(images)) == 6 and images.replaced == [f"{root}/train/cat/1.png"]


class TestGroupsOfManySizes:
    def test_a_few_are_spread_over_all(self):
        sizes = [2] * 60 + [40]
        groups = np.repeat(np.arange(61), sizes)
        images = data.from_arrays(np.zeros((len(groups), 4, 4, 1), "uint8"))
        images = dataclasses.replace(images, groups=groups)
        some = images.spread(60)
        assert len(some) == 60 and some.example_count == 30  # Before, the largest counted for all.
        assert len(images.spread(1)) == 1
        alike = dataclasses.replace(images, groups=np.arange(len(groups)) // 4)
        assert len(alike.spread(42)) == 40


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_another_type_of_numbers_is_named(tmp_path, dtype, monkeypatch):
    """Of a folder a hundred files are looked at; the others may have been written otherwise."""
    for i in range(4):
        _tiff(tmp_path / f"{i}.tif", np.full((8, 8), 3000 + i, "uint16"))
    _tiff(tmp_path / "odd.tif", np.full((8, 8), 200, dtype))
    monkeypatch.setattr(reading, "_SAMPLED", 1)
    if dtype == "uint16":
        assert len(data.from_folder(tmp_path, 8)) == 5
        return
    with pytest.raises(ValueError, match="one type of numbers.*odd.tif has numbers of uint8"):
        data.from_folder(tmp_path, 8)
