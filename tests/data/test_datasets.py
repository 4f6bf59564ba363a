import gzip
import os
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import EpsImagePlugin, Image, JpegImagePlugin

from keras_ssl import data
from keras_ssl.data.sources import files, reading


def _write(path, size=(20, 30), mode="RGB", color=120):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixel = {"RGB": (color, 10, 200), "L": color, "RGBA": (color, 10, 200, 255)}[mode]
    Image.new(mode, size, pixel).save(path)


@pytest.fixture
def folder(tmp_path):
    """Two classes, JPEG and PNG, all of different sizes."""
    for i in range(6):
        _write(tmp_path / "cat" / f"{i}.jpg", (20 + i, 30), color=20 * i)
        _write(tmp_path / "dog" / f"{i}.PNG", (30, 16 + i), color=20 * i)
    return tmp_path


class TestDigits:
    def test_they_are_real_and_split_by_class(self):
        train, test = data.load("digits")
        assert (len(train), len(test)) == (1437, 360)
        assert train.image_shape == (8, 8, 1) and len(train.class_names) == 10
        counts = np.bincount(test.labels())
        assert counts.min() >= 34 and counts.max() <= 38

    def test_the_split_follows_the_seed(self):
        a, b, c = (data.load("digits", seed=s).test.labels() for s in (0, 0, 1))
        np.testing.assert_array_equal(a, b)
        assert (a != c).any()


class TestFolder:
    def test_classes_and_sizes(self, folder):
        images = data.from_folder(folder, image_size=16)
        assert images.class_names == ("cat", "dog") and images.image_shape == (16, 16, 3)
        np.testing.assert_array_equal(images.labels(), [0] * 6 + [1] * 6)
        batch, labels = next(iter(images.batches(12)))
        assert batch.shape == (12, 16, 16, 3) and batch.dtype == "float32"
        assert float(batch[2, 8, 8, 0]) == pytest.approx(40 / 255, abs=0.02)

    def test_without_classes(self, tmp_path):
        _write(tmp_path / "a.jpg")
        _write(tmp_path / "b.png")
        splits = data.load(tmp_path, image_size=16)
        assert len(splits.train) == 2 and splits.test is None and not splits.train.has_labels

    def test_split_folders(self, tmp_path):
        for part, count in (("train", 4), ("test", 2)):
            for name in ("x", "y"):
                for i in range(count):
                    _write(tmp_path / part / name / f"{i}.png")
        splits = data.load(tmp_path, image_size=16)
        assert (len(splits.train), len(splits.test)) == (8, 4)

    @pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3)])
    def test_gray_only_if_all_files_are(self, tmp_path, mode, channels):
        _write(tmp_path / "a.png", mode=mode)
        assert data.from_folder(tmp_path, 16).image_shape == (16, 16, channels)
        for wanted in (1, 3, 4):
            assert data.from_folder(tmp_path, 16, wanted).image_shape == (16, 16, wanted)
        _write(tmp_path / "b.png", mode="RGB")
        assert data.from_folder(tmp_path, 16).image_shape == (16, 16, 3)

    def test_sixteen_bits_keep_their_shades(self, tmp_path):
        ramp = np.linspace(0, 65535, 32 * 32).reshape(32, 32).astype("uint16")
        Image.fromarray(ramp).save(tmp_path / "a.png")
        images = data.from_folder(tmp_path, 32)
        assert images.image_shape == (32, 32, 1)
        batch, _ = next(iter(images.batches(1)))
        np.testing.assert_allclose(batch[0, ..., 0], ramp / 65535, atol=1 / 255)

    def test_one_sub_folder_is_no_class(self, tmp_path):
        _write(tmp_path / "2024" / "a.jpg")
        assert not data.from_folder(tmp_path, 16).has_labels

    def test_a_class_may_be_called_train(self, tmp_path):
        for name in ("bus", "car", "train"):
            for i in range(5):
                _write(tmp_path / name / f"{i}.png")
        splits = data.load(tmp_path, image_size=16)
        assert splits.train.class_names == ("bus", "car", "train")

    def test_loose_files_beside_classes_are_pointed_out(self, folder):
        _write(folder / "preview.png")
        with pytest.warns(UserWarning, match="1 of 13 images.*no labels"):
            assert not data.from_folder(folder, 16).has_labels

    def test_classes_too_small_to_stratify(self, tmp_path):
        for i, name in enumerate(("a", "b", "c")):
            for j in range(1 + 4 * i):
                _write(tmp_path / name / f"{j}.png")
        splits = data.load(tmp_path, image_size=16)
        assert len(splits.train) + len(splits.test) == 1 + 5 + 9

    def test_a_corrupt_file_is_named_skipped_and_counted(self, folder):
        (folder / "cat" / "broken.jpg").write_bytes(b"no image")
        whole = (folder / "cat" / "0.jpg").read_bytes()
        (folder / "dog" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
        with pytest.warns(UserWarning, match=r"2 of 14 .*broken.jpg.*cut.jpg"):
            images = data.from_folder(folder, image_size=16)
        assert len(images) == 12 and len(images.skipped) == 2
        assert sum(1 for _ in images.batches(1)) == 12

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_decoding_again_gives_the_same_pixels(self, folder, in_memory, monkeypatch):
        expected = next(iter(data.from_folder(folder, 16).batches(12)))
        if not in_memory:
            monkeypatch.setattr(reading, "_MEMORY_LIMIT", 0)
        pixels, labels = next(iter(data.from_folder(folder, 16).batches(12)))
        np.testing.assert_array_equal(pixels, expected[0])
        np.testing.assert_array_equal(labels, expected[1])

    def test_another_stands_in_for_a_file_that_breaks_later(self, folder, monkeypatch, caplog):
        """Batches do not shift, and a run that goes on sees the same images again."""
        monkeypatch.setattr(reading, "_MEMORY_LIMIT", 0)
        images = data.from_folder(folder, 16)
        before = next(iter(images.batches(12)))
        (folder / "cat" / "3.jpg").write_bytes(b"gone")
        (folder / "dog" / "2.PNG").unlink()
        after, again = (next(iter(images.batches(12))) for _ in range(2))
        np.testing.assert_array_equal(after[0], again[0])
        np.testing.assert_array_equal(after[1], before[1])
        changed = [
            images.names[i] for i in np.flatnonzero((after[0] != before[0]).numpy().any((1, 2, 3)))
        ]
        assert set(changed) <= set(images.replaced)
        # Of few images, which are only looked at, it may be the only one of its class.
        few = images.subset([images.names.index(str(folder / "cat" / "3.jpg")), 11])
        pair = next(iter(few.batches(2)))[0]
        np.testing.assert_array_equal(pair[0], pair[1])
        # The other file is of the same class and part: a held-out image is never trained on.
        train, test = data.split(images, 0.5)
        for part in (train, test):
            assert set(part.reader.members) == {images.names.index(name) for name in part.names}
        gone = {str(folder / "cat" / "3.jpg"), str(folder / "dog" / "2.PNG")}
        assert set(images.replaced) == gone == {record.args[0] for record in caplog.records}
        for file in folder.rglob("*.*"):
            file.unlink()
        with pytest.raises(tf.errors.InvalidArgumentError, match="cannot be read any more"):
            list(images.batches(12))

    @pytest.mark.parametrize(
        ("suffix", "mode"),
        [("webp", "RGB"), ("bmp", "RGB"), ("tif", "RGB"), ("gif", "P"), ("jpg", "CMYK")]
        + [("png", "P"), ("png", "LA"), ("tiff", "I;16"), ("ppm", "RGB"), ("jp2", "RGB")],
    )
    def test_what_pillow_reads_is_read(self, tmp_path, suffix, mode):
        image = Image.new("RGB", (12, 12), (200, 200, 200))
        if mode == "P":
            image = image.convert("P")
            image.info["transparency"] = 0
        elif mode == "I;16":
            image = Image.fromarray(np.full((12, 12), 200 * 257, "uint16"))
        else:
            image = image.convert(mode)
        image.save(tmp_path / f"a.{suffix}")
        images = data.from_folder(tmp_path, 12, channels=3)
        pixels = next(iter(images.batches(1)))[0].numpy()
        assert images.skipped == () and pixels.mean() == pytest.approx(200 / 255, abs=0.02)

    @pytest.mark.parametrize("suffix", ["heic", "CR2", "svg"])
    def test_pictures_that_pillow_cannot_read_are_named(self, folder, suffix):
        (folder / "cat" / f"photo.{suffix}").write_bytes(b"of another program")
        (folder / "cat" / "notes.txt").write_text("no picture")
        with pytest.warns(UserWarning, match=rf"1 of 13 .*photo.{suffix} \(.{suffix.lower()}: "):
            images = data.from_folder(folder, 16)
        assert len(images) == 12 and images.skipped == (str(folder / "cat" / f"photo.{suffix}"),)

    def test_only_regular_files_are_opened(self, folder):
        os.mkfifo(folder / "cat" / "pipe.png")  # reading it would wait forever
        (folder / "cat" / "folder.png").mkdir()
        (folder / "cat" / "lost.png").symlink_to(folder / "nowhere.png")
        (folder / "cat" / "loop.png").symlink_to(folder / "cat" / "loop.png")
        (folder / "cat" / "link.jpg").symlink_to(folder / "cat" / "0.jpg")
        with pytest.warns(UserWarning, match="3 of 16 .*loop.png.*lost.png.*pipe.png"):
            images = data.from_folder(folder, 16)
        assert len(images) == 13

    def test_links_to_folders_are_followed(self, folder, tmp_path_factory):
        """A class may be a link; a link back to a folder that contains it is not followed again."""
        elsewhere = tmp_path_factory.mktemp("elsewhere")
        for i in range(3):
            _write(elsewhere / "more" / f"{i}.jpg")
        (folder / "bird").symlink_to(elsewhere)
        images = data.from_folder(folder, 16)
        assert images.class_names == ("bird", "cat", "dog") and len(images) == 15
        assert images.names[0] == str(folder / "bird" / "more" / "0.jpg")
        (folder / "cat" / "up").symlink_to(folder)
        (elsewhere / "cats").symlink_to(folder / "cat")
        loops = r"2 folders .*cannot be listed.*bird/cats/up, cat/up"
        with pytest.warns(UserWarning, match=loops):
            images = data.from_folder(folder, 16)
        assert np.bincount(images.labels()).tolist() == [3 + 6, 6, 6]

    def test_folders_that_cannot_be_listed_are_named(self, folder, monkeypatch):
        (folder / "bird").symlink_to(folder / "unmounted")
        (folder / "notes.txt").symlink_to(folder / "nowhere.txt")  # By its name, not a folder.
        scandir = os.scandir

        def forbid(path):
            if os.path.basename(os.path.normpath(path)) == "dog":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", forbid)
        with pytest.warns(UserWarning, match=r"2 folders in .* cannot be listed.*: bird, dog"):
            images = data.from_folder(folder, 16)
        assert len(images) == 6 and images.skipped == ()
        with pytest.raises(ValueError, match="no such file; 1 folders in .*dog cannot be listed"):
            data.from_folder(folder / "dog", 16)

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_a_document_by_the_name_of_a_picture_is_not_drawn(self, folder, in_memory, monkeypatch):
        """EPS is a program that Pillow would run in Ghostscript."""
        if not in_memory:
            monkeypatch.setattr(reading, "_MEMORY_LIMIT", 0)
        monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("It was run"))
        Image.new("RGB", (20, 20)).save(folder / "cat" / "program.jpg", format="EPS")
        with pytest.warns(UserWarning, match="1 of 13 .*program.jpg"):
            assert len(data.from_folder(folder, 16)) == 12

    @pytest.mark.parametrize("in_memory", [True, False])
    def test_a_feature_can_be_matched_to_its_photo(self, folder, in_memory, monkeypatch):
        if not in_memory:
            monkeypatch.setattr(reading, "_MEMORY_LIMIT", 0)
        images = data.from_folder(folder, 16)
        assert images.names[0] == str(folder / "cat" / "0.jpg")
        for part in (images, images.without_labels(), images.spread(5), *data.split(images, 0.5)):
            for name, (pixels, _) in zip(part.names, part.batches(1), strict=True):
                red = int(pathlib.Path(name).stem) * 20 / 255
                assert float(pixels[0, 8, 8, 0]) == pytest.approx(red, abs=0.02)
        assert data.load("digits").train.names is None

    def test_sub_folders_need_not_be_classes(self, folder):
        """They may be dates: nothing is held out, and there is no test set."""
        train, test = data.load(folder, image_size=16, labels=False)
        assert len(train) == 12 and not train.has_labels and test is None
        train, test = data.load("digits", labels=False)
        assert len(train) == 1797 and not train.has_labels and test is None
        _write(folder / "loose.png")  # beside classes, this would raise a warning
        assert len(data.load(folder, image_size=16, labels=False).train) == 13

    @pytest.mark.parametrize(
        ("source", "error"),
        [("", ValueError), (" ", ValueError), (None, TypeError), (np.zeros(3), TypeError)],
        ids=repr,
    )
    def test_a_source_that_names_nothing(self, source, error):
        with pytest.raises(error, match="`source` must"):
            data.load(source)

    @pytest.mark.parametrize("source", ["digits", "folder"])
    def test_a_size_that_no_memory_holds(self, source, folder):
        with pytest.raises(ValueError, match="`image_size` must be at most 8192.*27.9 GiB.*100000"):
            data.load(folder if source == "folder" else source, image_size=100_000)

    def test_photos_are_turned_upright(self, tmp_path):
        image = Image.new("RGB", (32, 32))
        image.paste((255, 255, 255), (0, 0, 32, 16))  # upper half white
        exif = image.getexif()
        exif[0x0112] = 3  # taken upside down
        image.save(tmp_path / "a.png", exif=exif)
        batch, _ = next(iter(data.from_folder(tmp_path, 16).batches(1)))
        assert float(batch[0, 2, 8, 0]) < 0.1 and float(batch[0, 13, 8, 0]) > 0.9

    def test_a_large_jpeg_is_decoded_at_a_smaller_size(self, tmp_path, monkeypatch):
        """It looks the same, to half a level of 255, and a photo on its side is turned."""
        x, y = np.meshgrid(*2 * [np.linspace(0, 3, 640)])
        pixels = np.stack([np.sin(x * y), np.cos(x + y), np.sin(x - y)], axis=-1) * 120 + 128
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(pixels.astype("uint8")[:480]).save(
            tmp_path / "a.jpg", quality=95, exif=exif
        )
        sizes, draft = [], JpegImagePlugin.JpegImageFile.draft

        def watched(self, *args):
            result = draft(self, *args)
            sizes.append(self.size)
            return result

        monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", watched)
        small = files.read(str(tmp_path / "a.jpg"), 64, 3)
        assert sizes == [(320, 240)]
        monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *_: None)
        whole = files.read(str(tmp_path / "a.jpg"), 64, 3)
        assert np.abs(small.astype(int) - whole).mean() < 0.5

    @pytest.mark.parametrize("broken", [False, True], ids=["empty", "all-corrupt"])
    @pytest.mark.filterwarnings("ignore:.*cannot be read:UserWarning")  # this warning is expected
    def test_a_folder_without_images(self, tmp_path, broken):
        if broken:
            (tmp_path / "a.jpg").write_bytes(b"no image")
        message = "none of 1 can" if broken else "must hold images"
        with pytest.raises(ValueError, match=f"`path`.*{message}"):
            data.load(tmp_path)

    def test_bad_arguments(self, folder):
        with pytest.raises(ValueError, match="`path` must be a folder.*nowhere"):
            data.from_folder(folder / "nowhere")
        with pytest.raises(ValueError, match="`channels`.*channels=2"):
            data.from_folder(folder, channels=2)
        with pytest.raises(ValueError, match="`image_size`"):
            data.from_folder(folder, image_size=0)
        with pytest.raises(ValueError, match=r"`path` must hold the classes \['cat'\].*dog"):
            data.from_folder(folder, class_names=["cat"])


class TestArrays:
    def test_bytes_floats_and_channels(self):
        for images in (
            np.zeros((4, 6, 6), "uint8"),
            np.zeros((4, 6, 6, 7), "float64"),
            np.zeros((4, 6, 6, 3), "int32"),
        ):
            image_set = data.from_arrays(images)
            batch, labels = next(iter(image_set.batches(4)))
            assert batch.dtype == "float32" and batch.shape[:3] == (4, 6, 6)
            assert not image_set.has_labels and set(labels.numpy()) == {-1}

    @pytest.mark.parametrize(
        ("arrays", "sizes"),
        [
            ({"x_train": 6, "y_train": 6, "x_test": 3, "y_test": 3}, (6, 3)),
            ({"x_train": 10, "y_train": 10}, (8, 2)),
            ({"x_train": 6}, (6, None)),
            ({"images": 10, "labels": 10}, (8, 2)),
            ({"images": 6}, (6, None)),
        ],
        ids=lambda x: "-".join(x) if isinstance(x, dict) else "",
    )
    def test_npz(self, tmp_path, arrays, sizes):
        content = {
            name: np.arange(n) % 2 if name[0] in "yl" else np.zeros((n, 4, 4), "uint8")
            for name, n in arrays.items()
        }
        np.savez(tmp_path / "a.npz", **content)
        splits = data.load(tmp_path / "a.npz")
        assert len(splits.train) == sizes[0]
        assert (splits.test and len(splits.test)) == sizes[1]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ((np.zeros((4, 6)),), r"`images` must be \(N.*\(4, 6\)"),
            ((np.zeros((0, 6, 6)),), "N at least 1"),
            ((np.full((2, 4, 4), 2.0),), r"floats in \[0, 1\].*2.0"),
            ((np.full((2, 4, 4), np.nan),), r"floats in \[0, 1\].*nan"),
            ((np.full((2, 4, 4), 256),), r"integers in \[0, 255\].*256"),
            ((np.zeros((9, 8, 3)),), r"\(9, 8, 3\); one image is images\[None\]"),
            ((np.zeros((2, 3, 8, 8)),), r"channels last: np.moveaxis\(images, 1, -1\)"),
            ((np.zeros((2, 8, 0, 1)),), "`images` must be"),
            ((np.eye(8, dtype=int)[None],), r"as bytes, 1 is black.*astype\(bool\)"),
            ((np.zeros((2, 4, 4)), [0]), r"`labels`.*int64 of shape \(1,\) for 2 images"),
            ((np.zeros((2, 4, 4)), np.eye(2, dtype=int)), r"one-hot rows, pass labels.argmax"),
            ((np.zeros((2, 4, 4)), ["cat", "dog"]), "`labels`.*np.unique"),
            ((np.zeros((2, 4, 4)), [0, 20_000_000]), "must number the classes.*20000000 for 2"),
            ((np.zeros((2, 4, 4)), [0, 2], ["a", "b"]), "`class_names` must be 3 different names"),
            ((np.zeros((2, 4, 4)), [0, 1], ["a", "a"]), "`class_names` must be 2 different names"),
            ((np.zeros((2, 4, 4)), None, ["a"]), "`class_names` must come with `labels`"),
            ((np.zeros((2, 4, 4)), [0.5, 1.0]), "`labels`.*float64"),
            ((np.zeros((2, 4, 4)), [-1, 0]), "`labels`.*at least 0"),
        ],
    )
    def test_bad_arrays(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            data.from_arrays(*arguments)

    @pytest.mark.parametrize("images", ["cat", [[1, 2], [3]], np.zeros((2, 4, 4), complex), None])
    def test_what_is_no_array_of_images(self, images):
        with pytest.raises((ValueError, TypeError), match="`images` must be"):
            data.from_arrays(images)

    def test_masks_may_be_booleans(self):
        images = data.from_arrays(np.eye(8, dtype=bool)[None])
        pixels = next(iter(images.batches(1)))[0].numpy()
        np.testing.assert_array_equal(pixels[0, :, :, 0], np.eye(8))

    @pytest.mark.parametrize("dtype", ["uint8", "float32"])
    def test_another_size_and_other_channels(self, dtype, tmp_path):
        """They are resized as files are: a third of each image is bright at any size."""
        pixels = np.zeros((4, 12, 16, 1), dtype)
        pixels[:, :4] = 1 if dtype == "float32" else 255
        np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(4) % 2)
        train, test = data.load(tmp_path / "a.npz", image_size=6, channels=3, test_fraction=0.5)
        assert train.image_shape == test.image_shape == (6, 6, 3)
        small = next(iter(train.batches(4)))[0].numpy()
        assert small.mean() == pytest.approx(1 / 3, abs=0.02) and small.max() <= 1
        np.testing.assert_array_equal(small[..., 0], small[..., 2])
        assert data.load("digits", image_size=16)[0].image_shape == (16, 16, 1)
        with pytest.raises(ValueError, match="`channels` must be 1 or 3 for .* have 1.*channels=4"):
            data.load("digits", channels=4)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"no archive", "must be an archive of numpy.savez.*none"),
            (b"", "must be an archive of numpy.savez"),
            ({"images": np.array([None, 1])}, "can be read.*ValueError"),
            ({"images": np.zeros((3, 4, 4)), "x_test": np.zeros(3)}, "both x_test and y_test"),
            (
                {
                    **{"x_train": np.zeros((3, 8, 8)), "x_test": np.zeros((3, 4, 4))},
                    **{"y_train": np.arange(3), "y_test": np.arange(3)},
                },
                r"x_test of the shape of x_train.*\(8, 8, 1\) and \(4, 4, 1\)",
            ),
        ],
        ids=["text", "empty", "objects", "no y_test", "two shapes"],
    )
    def test_archives_that_are_none(self, content, message, tmp_path):
        if isinstance(content, dict):
            np.savez(tmp_path / "a.npz", **content)
        else:
            (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ValueError, match=message):
            data.load(tmp_path / "a.npz")

    def test_a_test_part_may_lack_the_last_class(self, tmp_path):
        pixels = np.zeros((4, 8, 8), "uint8")
        labels = {"y_train": np.array([0, 1, 2, 0]), "y_test": np.array([0, 1, 0, 1])}
        np.savez(tmp_path / "a.npz", x_train=pixels, x_test=pixels, **labels)
        train, test = data.load(tmp_path / "a.npz")
        assert train.class_names == test.class_names == ("0", "1", "2")

    def test_bad_npz(self, tmp_path):
        np.savez(tmp_path / "a.npz", pictures=np.zeros(3))
        with pytest.raises(ValueError, match="x_train.*Received.*pictures"):
            data.load(tmp_path / "a.npz")
        with pytest.raises(ValueError, match="`source` must exist"):
            data.load(tmp_path / "b.npz")


def _of_channels(pixels, channels):
    """Converts channels; gray is the luma of ITU-R BT.601, as in Pillow."""
    if channels == 1 < pixels.shape[-1]:
        return pixels @ np.array([[0.299], [0.587], [0.114]])
    return np.broadcast_to(pixels, (*pixels.shape[:-1], channels))


class TestTFDS:
    @staticmethod
    def _prepare(folder, shape, sizes, counts=None):
        """A real, prepared tensorflow-datasets data set: encoded images on disk."""
        rng = np.random.RandomState(0)

        def examples(count):
            for i in range(count):
                size = sizes[i % len(sizes)]
                yield {"image": rng.randint(0, 256, (*size, shape[2]), "uint8"), "label": i % 3}

        features = tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=shape),
                "label": tfds.features.ClassLabel(num_classes=3),
            }
        )
        signature = {
            "image": tf.TensorSpec(shape, tf.uint8),
            "label": tf.TensorSpec((), tf.int64),
        }
        splits = {
            name: tf.data.Dataset.from_generator(
                lambda count=count: examples(count), output_signature=signature
            )
            for name, count in (counts or {"train": 12, "test": 6}).items()
        }
        tfds.dataset_builders.store_as_tfds_dataset(
            name="tiny", version="1.0.0", features=features, split_datasets=splits, data_dir=folder
        )

    def test_images_of_one_size(self, tmp_path):
        self._prepare(tmp_path, (10, 12, 3), [(10, 12)])
        splits = data.load("tiny", data_dir=tmp_path)
        assert (len(splits.train), len(splits.test)) == (12, 6)
        assert splits.train.image_shape == (10, 12, 3) and len(splits.train.class_names) == 3
        batch, _ = next(iter(splits.train.batches(12)))
        assert batch.shape == (12, 10, 12, 3) and 0.9 < float(tf.reduce_max(batch)) <= 1
        (view_1, _), labels = next(iter(data.make_views(splits.train, data.simclr(), 4)))
        assert view_1.shape == (4, 10, 12, 3) and labels.shape == (4,)

    def test_images_of_any_size(self, tmp_path):
        self._prepare(tmp_path, (None, None, 1), [(20, 30), (31, 17), (40, 40)])
        splits = data.load("tiny", image_size=16, data_dir=tmp_path)
        batch, labels = next(iter(splits.train.batches(12)))
        assert batch.shape == (12, 16, 16, 1)
        np.testing.assert_array_equal(np.sort(labels), np.sort(np.arange(12) % 3))

    def test_a_split_to_train_on(self, tmp_path):
        self._prepare(tmp_path, (10, 12, 3), [(10, 12)])
        train, test = data.load("tiny:test", data_dir=tmp_path)
        assert (len(train), len(test)) == (5, 1)  # A part of the split, and not all of it again.
        with pytest.raises(ValueError, match="`split`.*'train'.*'test'.*'all'"):
            data.load("tiny:all", data_dir=tmp_path)

    @pytest.mark.parametrize(("own", "wanted"), [(1, 3), (3, 1), (3, 3)])
    def test_channels(self, tmp_path, own, wanted):
        self._prepare(tmp_path, (10, 12, own), [(10, 12)])
        same = data.load("tiny", data_dir=tmp_path)
        splits = data.load("tiny", channels=wanted, data_dir=tmp_path)
        for before, after in zip(same, splits, strict=True):
            assert after.image_shape == (10, 12, wanted)
            pixels, found = (next(iter(images.batches(6)))[0].numpy() for images in (before, after))
            np.testing.assert_allclose(found, _of_channels(pixels, wanted), atol=0.51 / 255)
        with pytest.raises(ValueError, match="`channels` must be .*channels=4"):
            data.load("tiny", channels=4, data_dir=tmp_path)

    @pytest.mark.parametrize(("fraction", "test"), [(0.001, 1), (0.2, 2), (0.25, 3), (0.999, 11)])
    def test_no_part_is_empty(self, tmp_path, fraction, test):
        self._prepare(tmp_path, (4, 4, 1), [(4, 4)], {"train": 12})
        splits = data.load("tiny", test_fraction=fraction, data_dir=tmp_path)
        assert (len(splits.train), len(splits.test)) == (12 - test, test)
        assert [sum(1 for _ in part.batches(1)) for part in splits] == [12 - test, test]

    def test_one_image_is_not_split(self, tmp_path):
        self._prepare(tmp_path, (4, 4, 1), [(4, 4)], {"train": 1})
        with pytest.raises(ValueError, match="`source` must have two images or more.*tiny"):
            data.load("tiny", data_dir=tmp_path)
        assert len(data.load("tiny", labels=False, data_dir=tmp_path).train) == 1

    def test_not_prepared(self, tmp_path):
        with pytest.raises(ValueError, match="cifar10 is not prepared.*download=True"):
            data.load("cifar10", data_dir=tmp_path)

    def test_unknown_names_are_met_with_the_known(self):
        with pytest.raises(ValueError, match="`source`.*digits.*folder.*cifar10.*'cifar11'"):
            data.load("cifar11")

    def test_no_images(self):
        with pytest.raises(ValueError, match="'image'.*imdb_reviews"):
            data.load("imdb_reviews")


@pytest.mark.parametrize("indices", [[], [0.5], [True], [-1], [4], [[0]], "0"], ids=repr)
def test_indices_that_are_none(indices):
    images = data.from_arrays(np.zeros((4, 8, 8), "uint8"))
    with pytest.raises(ValueError, match="`indices` must be whole numbers from 0 to 3"):
        images.subset(indices)


def test_spread_is_even():
    images = data.from_arrays(np.zeros((23, 4, 4), "uint8"), np.arange(23))
    np.testing.assert_array_equal(images.spread(5).labels(), [0, 5, 10, 14, 19])
    np.testing.assert_array_equal(
        images.subset(np.arange(20)).spread(5).labels(), [0, 4, 8, 12, 16]
    )
    many = images.spread(15).labels()  # images sorted by class: not only the first classes
    assert len(many) == 15 and set(np.diff(many)) == {1, 2}
    assert len(images.spread(5)) == 5 and images.spread(23) is images
    assert len(next(iter(images.spread(5).batches(9)))[0]) == 5


def test_split_needs_labels():
    with pytest.raises(ValueError, match="`images` must have labels"):
        data.split(data.from_arrays(np.zeros((4, 4, 4), "uint8")))


class TestIdx:
    """The four files of MNIST and of sets in its format."""

    @staticmethod
    def write(folder, name, values):
        values = np.asarray(values, np.uint8)
        header = [0x0800 + values.ndim, *values.shape]
        content = np.array(header, ">u4").tobytes() + values.tobytes()
        (folder / name).write_bytes(gzip.compress(content))

    @pytest.fixture
    def mnist(self, tmp_path):
        rng = np.random.RandomState(0)
        for part, count in (("train", 6), ("t10k", 4)):
            images = rng.randint(0, 255, (count, 5, 7))
            self.write(tmp_path, f"{part}-images-idx3-ubyte.gz", images)
            self.write(tmp_path, f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 3)
        return tmp_path

    def test_it_loads(self, mnist):
        train, test = data.load(mnist)
        assert (len(train), len(test), train.image_shape) == (6, 4, (5, 7, 1))
        assert train.labels().tolist() == [0, 1, 2, 0, 1, 2]
        (batch, _), *_ = train.batches(6)
        expected = np.random.RandomState(0).randint(0, 255, (6, 5, 7))
        np.testing.assert_allclose(batch[..., 0], expected / 255, atol=1e-6)

    def test_broken_or_missing_files(self, mnist):
        path = mnist / "t10k-images-idx3-ubyte.gz"
        for content in (b"nothing", gzip.compress(b"\0" * 20), path.read_bytes()[:50]):
            path.write_bytes(content)
            with pytest.raises(ValueError, match="must hold t10k-images-idx3-ubyte.gz"):
                data.load(mnist)
        path.unlink()
        with pytest.raises(ValueError, match="must hold t10k-images-idx3-ubyte.gz"):
            data.load(mnist)
