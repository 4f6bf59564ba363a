"""Images in shards, which are read as they are needed: TFRecords, tar files, Hugging Face."""

import dataclasses
import gzip
import io
import itertools
import sys
import tarfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_ssl import data, evaluation, models, retrieval
from keras_ssl.data import stream
from keras_ssl.data.sources import shards

COUNTS = (12, 10, 13)
TOTAL = sum(COUNTS)
STILL = data.TwoViews(data.RandomFlip(0.5))


def _png(number):
    file = io.BytesIO()
    Image.new("RGB", (11, 9), (5 * number, 10, 200)).save(file, "PNG")
    return file.getvalue()


def write_tfrecord(path, numbers, image="image", label="label", content=_png):
    features = {}
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in numbers:
            picture = tf.train.BytesList(value=[content(number)])
            features[image] = tf.train.Feature(bytes_list=picture)
            if label is not None:
                ids = tf.train.Int64List(value=[number % 3])
                features[label] = tf.train.Feature(int64_list=ids)
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def write_tar(path, numbers, image="png", label="cls", content=_png):
    with tf.io.gfile.GFile(str(path), "wb") as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for number in numbers:
            parts = {image: content(number), label: str(number % 3).encode(), "json": b"{}"}
            for extension, part in parts.items():
                if extension is not None:
                    member = tarfile.TarInfo(f"photos/{number:03d}.{extension}")
                    member.size = len(part)
                    tar.addfile(member, io.BytesIO(part))


KINDS = {
    "tfrecord": (write_tfrecord, data.from_tfrecords),
    "tar": (write_tar, data.from_webdataset),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three shards of each kind; the red of image i is 5 * i."""
    folder = tmp_path_factory.mktemp("shards")
    ends = itertools.accumulate(COUNTS)
    for shard, (end, count) in enumerate(zip(ends, COUNTS, strict=True)):
        for kind, (write, _) in KINDS.items():
            write(folder / f"a-{shard:03d}.{kind}", range(end - count, end))
    return folder


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def images(folder):
    return data.from_webdataset(folder / "a-*.tar", image_size=8)


def _numbers(pixels):
    return np.round(np.asarray(pixels)[:, 4, 4, 0] * 255 / 5).astype(int).tolist()


def _epoch(views, epoch):
    with views.epochs.at(epoch):
        return list(views)


def _order(batches):
    return [number for (view_1, *_), *_ in batches for number in _numbers(view_1)]


class TestEpochs:
    def test_each_image_once_in_orders_of_their_own(self, folder, kind):
        images = KINDS[kind][1](folder / f"a-*.{kind}", image_size=8)
        assert isinstance(images, data.Stream) and len(images) == TOTAL
        assert images.image_shape == (8, 8, 3) and images.class_names == ("0", "1", "2")
        views = data.make_views(images, STILL, 7, seed=3)
        first, again, second = (_epoch(views, epoch) for epoch in (0, 0, 1))
        assert sorted(_order(first)) == list(range(TOTAL)) == sorted(_order(second))
        assert _order(first) == _order(again) != _order(second)
        for (view_1, _), labels in first:
            assert [number % 3 for number in _numbers(view_1)] == labels.numpy().tolist()
        # The shards are read in turns: a batch is of all of them.
        assert {(n >= 12) + (n >= 22) for n in _order(first[:1])} == {0, 1, 2}

    def test_a_run_that_goes_on_sees_the_same_batches(self, images):
        views = data.make_views(images, STILL, 5, seed=1)
        whole = _epoch(views, 2)
        rest = _epoch(data.make_views(images, STILL, 5, seed=1).starting_at(4), 2)
        assert len(whole) == 7 and len(rest) == 3
        for a, b in zip(whole[4:], rest, strict=True):
            for x, y in zip(tf.nest.flatten(a), tf.nest.flatten(b), strict=True):
                np.testing.assert_array_equal(x, y)

    def test_shards_are_not_read_whole(self, images):
        seen = []

        def without_end(shard):
            while True:
                for image in images.read(shard):
                    seen.append(image)
                    yield image

        endless = dataclasses.replace(images, read=without_end, size=10**9, shuffle_buffer=5)
        views = data.make_views(endless, STILL, 4)
        assert views.cardinality() == 250_000_000
        assert len(next(iter(views))[0][0]) == 4
        assert endless.spread(9).labels().shape == (9,)
        assert len(seen) < 100 * stream._BLOCK

    @pytest.mark.parametrize("examples", [20, 50])
    def test_an_epoch_may_be_of_another_length(self, folder, examples):
        images = data.from_webdataset(folder / "a-*.tar", 8, examples=examples)
        views = data.make_views(images, STILL, 10)
        order = _order(_epoch(views, 0))
        assert len(images) == len(order) == examples
        assert len(set(order)) == min(examples, TOTAL)
        rest = _order(_epoch(views.starting_at(1), 0))
        assert rest == order[10:]


def test_names_that_are_no_utf_8(tmp_path, caplog):
    caplog.set_level("CRITICAL", "keras_ssl")  # pytest cannot pass such a name on.
    with tarfile.open(tmp_path / "a.tar", "w", errors="surrogateescape") as tar:
        for number in range(3):
            member = tarfile.TarInfo(f"caf\udce9-{number}.png")
            content = _png(number) if number else b"nothing"
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    images = data.from_webdataset(tmp_path / "a.tar", image_size=8)
    assert len(next(iter(images.batches(3)))[0]) == 3 and "caf\udce9-0" in images.replaced[0]
    named = [name for _, names in images.named_batches(3) for name in names]
    assert all("caf\udce9" in name for name in named)


class TestPartsAndSamples:
    def test_a_part_of_each_shard_is_held_out(self, folder):
        train, test = data.load(folder / "a-*.tar", 8, test_fraction=0.4)
        parts = []
        for part in (train, test):
            assert isinstance(part, data.Stream)
            parts.append({n for s in part.shards for n in _of(part, s)})
        assert parts[0] | parts[1] == set(range(TOTAL)) and not parts[0] & parts[1]
        assert len(train) + len(test) == TOTAL and abs(len(parts[1]) - len(test)) < 7
        unlabeled, none = data.load(folder / "a-*.tar", 8, labels=False)
        assert none is None and not unlabeled.has_labels and len(unlabeled) == TOTAL
        assert (unlabeled.labels() == -1).all() and (unlabeled.spread(3).labels() == -1).all()
        kept, chosen, _ = data.hold_out(data.Splits(unlabeled, None), 0.4)
        assert len(chosen) == len(test) and len(kept) == len(train)

    def test_a_part_in_memory_has_as_many_images_as_it_has(self, folder):
        """The size of a part is only about right."""
        for part in data.load(folder / "a-*.tar", 8, test_fraction=0.4):
            count = sum(len(_of(part, shard)) for shard in part.shards)
            # A part that says too many goes on from its beginning; one that says too few stops.
            kept = dataclasses.replace(part, size=count + 5, keys=part.keys).in_memory()
            assert len(kept) == len(kept.labels()) == len(next(iter(kept.batches(100)))[0])

    def test_a_sample_is_an_ordinary_set(self, images):
        some = images.spread(9)
        pixels, labels = next(iter(some.batches(9)))
        assert type(some) is data.ImageSet and len(some) == 9
        assert _numbers(pixels) == [0, 12, 22, 1, 13, 23, 2, 14, 24]
        assert labels.numpy().tolist() == [n % 3 for n in _numbers(pixels)]
        assert _numbers(next(iter(some.subset([8, 1]).batches(2)))[0]) == [24, 12]
        assert len(images.spread(1000)) == TOTAL
        kept = images.in_memory()
        assert _numbers(next(iter(kept.batches(TOTAL)))[0]) == list(range(TOTAL))
        assert type(kept) is data.ImageSet and images.in_memory(limit=10) is images
        assert data.fingerprint(images) == data.fingerprint(images)
        with pytest.raises(ValueError, match="`images` stream from shards.*spread"):
            images.subset([0])
        assert (images.without_labels().labels() == -1).all()


def _of(images, shard):
    pictures = [np.asarray(Image.open(io.BytesIO(f.content))) for f, _ in images.read(shard)]
    return [int(picture[0, 0, 0]) // 5 for picture in pictures]


class TestNames:
    def test_wildcards_braces_and_lists_name_the_same_shards(self, folder):
        names = [f"{folder}/a-{i:03d}.tar" for i in range(3)]
        for paths in (
            names,
            f"{folder}/a-*.tar",
            f"{folder}/a-{{000..002}}.tar",
            f"{folder}/{{a-000,a-001,a-002}}.tar",
        ):
            assert data.from_webdataset(paths, 8).shards == tuple(names)

    def test_shards_in_a_bucket(self, folder, kind):
        write, _ = KINDS[kind]
        for i in range(2):
            write(f"ram://shards/b-{i}.{kind}", range(10 * i, 10 * i + 10))
        with pytest.raises(ValueError, match="`examples`.* must be given.*ram://"):
            data.load(f"ram://shards/b-*.{kind}", 8)
        train, test = data.load(f"ram://shards/b-{{0..1}}.{kind}", 8, examples=20)
        assert len(train) == 16 and len(test) == 4 and train.shards[1].endswith(f"b-1.{kind}")
        assert len(_order(_epoch(data.make_views(train, STILL, 8), 0))) == 16

    def test_compressed_shards(self, folder, kind, tmp_path):
        name = {"tfrecord": "a.tfrecord.gz", "tar": "a.tar.gz"}[kind]
        with gzip.open(tmp_path / name, "wb") as file:
            file.write((folder / f"a-000.{kind}").read_bytes())
        assert data.load(tmp_path / name, 8, labels=False).train.labels().shape == (12,)

    def test_files_of_tensorflow_datasets(self, tmp_path):
        write_tfrecord(tmp_path / "x-train.tfrecord-00000-of-00001", range(6), "image/encoded")
        train, test = data.load(tmp_path / "x-train.tfrecord-*", 8)
        assert len(train) + len(test) == 6


class TestWhatIsWrong:
    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda f, kind: ([f / f"a-000.{kind}", f / f"z.{kind}"], {}), "shards that exist.*z"),
            (lambda f, kind: (f / f"z-*.{kind}", {}), r"`paths` must name shards that.*z-\*"),
            (
                lambda f, kind: (f"{f}/a-{{002..004}}.{kind}", {}),
                "a-003.*, .*a-004.*, which do not",
            ),
            (lambda f, kind: (f / f"*.{kind}", dict(image="pic")), "`image` must .*image='pic'"),
            (lambda f, kind: (f / f"*.{kind}", dict(label="y")), "`label` must .*label='y'"),
            (lambda f, kind: (f / f"*.{kind}", dict(class_names=["a"])), "the label 1 of .*a-000"),
            (
                lambda f, kind: (f / f"*.{kind}", dict(labels=False, class_names=["a"])),
                "`class_names` must come with labels",
            ),
        ],
    )
    def test_is_said_in_one_sentence(self, folder, kind, call, message):
        paths, options = call(folder, kind)
        with pytest.raises(ValueError, match=message) as error:
            images = KINDS[kind][1](paths, 8, **options)
            list(images.read(images.shards[0]))
        assert "\n" not in str(error.value)

    def test_names_that_are_there_are_listed(self, folder):
        with pytest.raises(ValueError, match="it has image, label. Received: image='pic'"):
            data.from_tfrecords(folder / "a-*.tfrecord", image="pic")
        with pytest.raises(ValueError, match="photos/000 of .*a-000.tar with png, cls, json"):
            data.from_webdataset(folder / "a-*.tar", image="jpg")

    def test_other_things(self, folder, tmp_path):
        (tmp_path / "a.tar").write_bytes(b"not a tar" * 100)
        with pytest.raises(ValueError, match="tar files that can be read.*a.tar, broken at its"):
            data.load(tmp_path / "a.tar")
        (tmp_path / "a.tfrecord").write_bytes(b"not a record" * 100)
        with pytest.raises(ValueError, match="TFRecords that can be read.*a.tfrecord, which is"):
            data.load(tmp_path / "a.tfrecord")
        for name, write in (("b.tfrecord", write_tfrecord), ("b.tar", write_tar)):
            write(tmp_path / name, [])
            with pytest.raises(ValueError, match="`(paths|image)` must"):
                data.load(tmp_path / name)
        with pytest.raises(TypeError, match="`paths` must be"):
            data.from_webdataset(3)
        with pytest.raises(TypeError, match="`image` must be a text"):
            data.from_tfrecords(folder / "a-*.tfrecord", image=3)
        with pytest.raises(ValueError, match="`examples` must be left out"):
            data.load("digits", examples=3)

    def test_a_broken_shard_is_named_where_it_is_met(self, kind, tmp_path, monkeypatch):
        """Before training, where shards are counted; in `fit`, where they are not."""
        monkeypatch.setattr(shards, "SAMPLED", 8)
        write, make = KINDS[kind]
        paths = tmp_path / f"a.{kind}"
        write(paths, range(80), content=lambda i: _png(i % 40) + bytes(3000))
        whole = paths.read_bytes()
        paths.write_bytes(whole[: 3 * len(whole) // 4 + 100])
        with pytest.raises(ValueError, match=rf"`paths` must .*a\.{kind}"):
            make(paths, 8, labels=False)

        images = make(paths, 8, examples=80, labels=False)
        encoder = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Flatten()])
        model = models.SimCLR(encoder, projector="4")
        model.compile("sgd")
        with pytest.raises(ValueError, match=rf"`paths` must .*a\.{kind}") as error:
            model.fit(data.make_views(images, STILL, 8), verbose=0)
        assert "\n" not in str(error.value)

    def test_a_picture_that_cannot_be_read_is_replaced_and_named(self, kind, tmp_path, caplog):
        write, make = KINDS[kind]
        write(tmp_path / f"a.{kind}", range(8), content=lambda i: b"x" if i == 5 else _png(i))
        images = make(tmp_path / f"a.{kind}", 8)
        views = data.make_views(images, STILL, 8)
        orders = [_order(_epoch(views, epoch)) for epoch in (0, 1)]
        assert 5 not in orders[0] and sorted(orders[0]) == sorted(orders[1])
        (name,) = images.replaced
        assert f"a.{kind}" in name and caplog.text.count("cannot be read") == 1
        write(tmp_path / f"b.{kind}", range(3), content=lambda i: b"x")
        with pytest.raises(ValueError, match=r"none of 3 can: .*, .*b\."):
            make(tmp_path / f"b.{kind}", 8)


@pytest.fixture(scope="module")
def rows():
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    pictures = [Image.open(io.BytesIO(_png(i))) for i in range(30)]
    columns = {"photo": pictures, "kind": [i % 3 for i in range(30)], "x": list(range(30))}
    rows = datasets.Dataset.from_dict(columns).cast_column("photo", datasets.Image())
    return rows.cast_column("kind", datasets.ClassLabel(names=["a", "b", "c"]))


class TestHuggingFace:
    def test_on_this_machine(self, rows):
        images = data.from_huggingface(rows, image_size=8)
        assert type(images) is data.ImageSet and images.class_names == ("a", "b", "c")
        assert _numbers(next(iter(images.batches(30)))[0]) == list(range(30))
        assert images.labels().tolist() == [i % 3 for i in range(30)]
        assert sorted(_order(_epoch(data.make_views(images, STILL, 10), 0))) == list(range(30))
        assert len(data.split(images).test) == 6
        assert data.from_huggingface(rows, label="x", image_size=8).class_names[-1] == "29"

    def test_labels_that_are_no_numbers_of_classes(self, rows):
        rows = rows.remove_columns("kind")
        for column, message in (
            (["dog"] * 30, "class_encode_column.*label='kind', of string"),
            ([1.5] * 30, "`label` must name a column of whole numbers.*of float"),
            ([0] * 29 + [None], "all images have a label.* 1 of 30 have none"),
            ([0] * 29 + [10**9], "`labels` must number the classes"),
        ):
            with pytest.raises(ValueError, match=message):
                data.from_huggingface(rows.add_column("kind", column), label="kind", image_size=8)

    @pytest.mark.parametrize("empty", [None, -1])
    def test_labels_that_say_nothing(self, rows, empty):
        datasets = pytest.importorskip("datasets")
        rows = rows.remove_columns("kind").add_column("kind", [empty] * 30)
        rows = rows.cast_column("kind", datasets.ClassLabel(names=["a", "b", "c"]))
        assert not data.from_huggingface(rows, image_size=8).has_labels

    def test_as_it_comes(self, rows):
        parts = rows.to_iterable_dataset(num_shards=3)
        images = data.from_huggingface(parts, image_size=8, examples=30)
        assert images.shards == ("0", "1", "2") and images.class_names == ("a", "b", "c")
        views = data.make_views(images, STILL, 5, seed=2)
        order = _order(_epoch(views, 1))
        assert sorted(order) == list(range(30)) != order
        assert _order(_epoch(views.starting_at(2), 1)) == order[10:]
        with pytest.raises(ValueError, match="`examples`.*must be given"):
            data.from_huggingface(parts, image_size=8)

    @pytest.mark.parametrize("as_it_comes", [False, True])
    def test_an_image_that_cannot_be_read_has_no_features(self, rows, as_it_comes, tmp_path):
        datasets = pytest.importorskip("datasets")
        pictures = [{"bytes": b"nothing" if i == 4 else _png(i), "path": None} for i in range(6)]
        rows = datasets.Dataset.from_dict({"image": pictures})
        rows = rows.cast_column("image", datasets.Image())
        more = {"examples": 6} if as_it_comes else {}
        rows = rows.to_iterable_dataset() if as_it_comes else rows
        images = data.from_huggingface(rows, image_size=8, **more)
        encoder = evaluation.raw_pixels((8, 8, 3))
        found = retrieval.embed_images(encoder, images, tmp_path / "e.npz", batch_size=4)
        assert list(found.paths) == ["#0", "#1", "#2", "#3", "#5"]
        assert len({tuple(row) for row in found.features.tolist()}) == 5

    def test_a_folder_by_name(self, rows, tmp_path, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        for i in range(2):
            rows.shard(2, i).to_parquet(tmp_path / "set" / f"train-{i:05d}-of-00002.parquet")
        train, test = data.load(f"hf://{tmp_path}/set", 8, examples=30)
        assert isinstance(train, data.Stream) and (len(train), len(test)) == (24, 6)
        assert train.class_names == ("a", "b", "c") and train.shards == ("0", "1")
        with pytest.raises(ValueError, match="`dataset` must be .*'nothing'"):
            data.load(f"hf://{tmp_path}/set:nothing", 8)
        with pytest.raises(ValueError, match="`dataset` must be .*/nowhere'"):
            data.load(f"hf://{tmp_path}/nowhere", 8)

    def test_what_is_wrong(self, rows):
        with pytest.raises(ValueError, match=r"`image` must be one .*photo \(Image\), .*='y'"):
            data.from_huggingface(rows, image="y")
        with pytest.raises(ValueError, match="`image` must name a column of images"):
            data.from_huggingface(rows.remove_columns("photo"))
        with pytest.raises(TypeError, match="`dataset` must be"):
            data.from_huggingface(3)


def test_hugging_face_without_its_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'keras_ssl\[huggingface\]'"):
        data.load("hf://some/set")
