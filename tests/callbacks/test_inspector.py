"""What the inspector writes is what the paper's functions say, and it never costs a run."""

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from keras_ssl import callbacks, data, duality, evaluation, losses, models
from keras_ssl._files import LOCK
from keras_ssl.inspection import (
    EventLog,
    EventLogWarning,
    Sample,
    event_log,
    pictures,
    summaries,
)
from keras_ssl.inspection.events import read_events
from tests.conftest import quick_policy, tiny_encoder
from tests.test_text import NAMES

pytestmark = pytest.mark.usefixtures("eagerly")


def train(images, views, *watchers, epochs=2, **compile_arguments):
    keras.utils.set_random_seed(0)
    model = models.VICReg(tiny_encoder(), keras.layers.Dense(6), probe=3)
    model.compile("sgd", **compile_arguments)
    model.fit(
        views, steps_per_epoch=3, epochs=epochs, shuffle=False, verbose=0, callbacks=list(watchers)
    )
    return model


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder, its inspector, and its model."""
    pixels = np.random.RandomState(0).randint(0, 255, (48, 8, 8, 1)).astype("uint8")
    images = data.from_arrays(pixels, np.arange(48) % 3)
    folder = tmp_path_factory.mktemp("run")
    inspector = callbacks.EmbeddingInspector(
        images,
        data.tiny_gray(),
        folder,
        every=1,
        count=16,
        pictures_every=2,
        hparams={"a name": [1, 2], "nothing": None},
        write_graph=True,
    )
    doctor = callbacks.CollapseDoctor(inspector)
    views = data.make_views(images, quick_policy(), 16)
    return folder, inspector, train(images, views, inspector, doctor)


@pytest.fixture
def one_picture(monkeypatch):
    """Leaves one picture of five, which together take a second at each look."""
    all_pictures = pictures.all_pictures

    def gram_alone(sample, inspection):
        return {"matrices/gram": all_pictures(sample, inspection)["matrices/gram"]}

    monkeypatch.setattr(pictures, "all_pictures", gram_alone)


@pytest.fixture(scope="module")
def events(run):
    return read_events(run[0])


def test_training_is_the_same_with_it_and_without(images, views, in_graphs, one_picture, tmp_path):
    plain = train(images, views)
    inspector = callbacks.EmbeddingInspector(
        images, data.tiny_gray(), tmp_path, every_steps=1, count=8
    )
    watched = train(images, views, inspector, callbacks.CollapseDoctor(inspector))
    for a, b in zip(plain.variables, watched.variables, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b))


def test_scalars_in_a_dozen_sections(events):
    sections = {tag.partition("/")[0] for tag in events.scalars}
    assert sections == {
        *("training", "criterion", "sample_terms", "gradient_share", "duality"),
        *("bounds", "pairs", "hypersphere", "spread", "rank"),
    }
    assert [step for step, _ in events.scalars["rank/embeddings"]] == [0, 1, 2]
    assert [step for step, _ in events.scalars["training/loss"]] == [1, 2]
    assert {"criterion/invariance", "criterion/variance", "criterion/covariance"} <= set(
        events.scalars
    )
    assert events.scalars["training/learning_rate"][0][1] == pytest.approx(0.01)
    assert events.scalars["training/images_per_second"][1][1] > 0


def test_training_and_evaluation_are_the_first_sections(run, events):
    """TensorBoard sorts sections by name, as text."""
    folder, _, _ = run
    (part,) = {file.parent for file in folder.rglob("events*")}
    accumulator = EventAccumulator(str(part), {"tensors": 0}).Reload()
    tags = [tag for tag in accumulator.Tags()["tensors"] if "/" in tag and tag[0] != "_"]
    assert "probe_accuracy" in {tag.partition("/")[2] for tag in tags if tag < "1_training0"}
    assert sorted({tag.partition("/")[0] for tag in [*tags, event_log.tag("evaluation/knn")]})[
        :3
    ] == [
        *("1_training", "2_evaluation", "bounds"),
    ]
    names = [*events.scalars, "evaluation/knn"]
    assert [event_log.figure_name(event_log.tag(name)) for name in names] == names
    assert [
        event_log.figure_name(name) for name in names
    ] == names  # In the logs of earlier versions.


def test_several_steps_at_once_are_counted_up_to_the_end_of_the_epoch(images):
    """Keras counts three calls of two steps as six, also where the last has one."""
    views = data.make_views(images, quick_policy(), 8).take(5)
    inspector = callbacks.EmbeddingInspector(images, data.tiny_gray(), count=8)
    model = models.VICReg(tiny_encoder(), keras.layers.Dense(6))
    model.compile("sgd", steps_per_execution=2)
    model.fit(views, epochs=2, verbose=0, callbacks=[inspector])
    assert inspector.steps == 10


class _Stop(keras.callbacks.Callback):
    """Stops within an epoch, and saves the model."""

    def __init__(self, step, path):
        super().__init__()
        self.step, self.path = step, path

    def on_train_batch_end(self, batch, logs=None):
        if batch + 1 == self.step:
            self.model.save(self.path)
            raise KeyboardInterrupt


@pytest.mark.parametrize("every_steps", [None, 1], ids=["epochs", "steps"])
def test_a_run_that_goes_on_within_an_epoch(images, tmp_path, every_steps, monkeypatch):
    views = data.make_views(images, quick_policy(), 16)
    seconds = iter(range(10**6))
    monkeypatch.setattr("keras_ssl.callbacks.inspector.time.perf_counter", lambda: next(seconds))

    def inspector():
        return callbacks.EmbeddingInspector(
            images,
            data.tiny_gray(),
            tmp_path / "logs",
            count=8,
            every=None if every_steps else 1,
            every_steps=every_steps,
        )

    saved = tmp_path / "model.keras"
    first = inspector()
    with pytest.raises(KeyboardInterrupt):
        train(images, views, first, _Stop(2, saved), epochs=1)
    first.log.close()
    before = read_events(tmp_path / "logs").scalars["rank/embeddings"]
    model = keras.models.load_model(saved)
    second = inspector()
    model.fit(views, epochs=1, initial_step=2, verbose=0, callbacks=[second])
    after = read_events(tmp_path / "logs").scalars["rank/embeddings"]
    assert second.steps == 3 and after[: len(before)] == before
    assert [x for x, _ in after] == ([0, 1, 2, 3] if every_steps else [0, 1])
    # One step of 16 images was done since. The clock ticks when it is asked, at both its ends.
    ((_, rate),) = read_events(tmp_path / "logs").scalars["training/images_per_second"]
    assert rate == 16


def test_a_layer_that_is_thawed_is_seen_so():
    """A graph keeps whether batch normalization is frozen."""
    views = tuple(np.random.RandomState(0).uniform(size=(2, 8, 8, 8, 1)).astype("float32"))
    encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
    encoder.add(keras.layers.BatchNormalization())
    model, sample = models.VICReg(encoder, keras.layers.Dense(3)), Sample.of(views)
    encoder.trainable = False
    frozen = sample.inspect(model).representations[0]
    encoder.trainable = True
    thawed = sample.inspect(model).representations[0]
    assert abs(frozen.mean()) > 0.1 > abs(thawed.mean())


def test_a_criterion_of_whole_groups_takes_a_sample_of_any_number():
    views = tuple(np.random.RandomState(0).uniform(size=(2, 20, 8, 8, 1)).astype("float32"))
    model = models.WMSE(tiny_encoder(), keras.layers.Dense(3), losses.WMSELoss(8))
    seen = Sample.of(views).inspect(model)
    again = np.r_[:20, :4]
    wanted = model.criterion(*(z[again] for z in seen.embeddings))
    assert seen.terms["distance"] == pytest.approx(float(wanted))


def test_figures_are_those_of_the_paper(run, events):
    _, inspector, model = run
    last = {tag: points[-1][1] for tag, points in events.scalars.items()}
    z = inspector.latest.embeddings[0]
    view = inspector.sample.views[0]
    as_in_training = model.projector(model.encoder(view, training=True), training=True)
    np.testing.assert_allclose(z, as_in_training, rtol=1e-4, atol=1e-5)
    sides = duality.theorem_3_3(z)
    moments = duality.negative_pair_moments(z)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    by_dimension = z / np.linalg.norm(z, axis=0)
    for tag, value in {
        "duality/l_c": duality.sample_contrastive_energy(z),
        "duality/l_nc": duality.dimension_contrastive_energy(z),
        "duality/theorem_3_3_samples": sides.samples,
        "duality/theorem_3_3_dimensions": sides.dimensions,
        "bounds/dimension_norms_over_lower": np.sum(np.sum(unit**2, axis=0) ** 2) * 6 / 16**2,
        "bounds/sample_norms_over_lower": np.sum(np.sum(by_dimension**2, axis=1) ** 2) * 16 / 6**2,
        "pairs/negative_mean": moments.mean,
        "pairs/negative_variance": moments.variance,
        "pairs/negative_variance_uniform": 1 / 6,
        "rank/embeddings": evaluation.rankme(z),
        "spread/std_of_unit_embeddings": unit.std(axis=0).mean(),
        **{
            f"sample_terms/{k}": v
            for k, v in model.criterion.measure(
                *map(tf.constant, inspector.latest.embeddings)
            ).items()
        },
    }.items():
        assert last[tag] == pytest.approx(float(value), rel=1e-5, abs=1e-6), tag
    assert last["duality/theorem_3_3_residual"] < 1e-12
    for name in ("dimension_norms", "sample_norms"):
        assert 0 <= last[f"bounds/{name}_position"] <= 1
    shares = [value for tag, value in last.items() if tag.startswith("gradient_share/")]
    assert sum(shares) == pytest.approx(1)


def test_pictures_histograms_options_graph_and_projector(run, events):
    folder, inspector, _ = run
    assert set(events.images) == {
        *("views/image_and_views", "matrices/gram", "matrices/correlation"),
        *("rank/spectrum", "classes/pca_of_representations"),
    }
    # Before training, at the second look after, and at the end.
    assert [step for step, _ in events.images["matrices/gram"]] == [0, 2]
    assert {"batch size", "learning rate", "epochs", "projector", "replicas"} <= set(events.hparams)
    for _, picture in events.images["matrices/gram"]:
        assert tf.io.decode_png(picture).shape[2] == 3
    assert events.hparams["a name"] == "[1, 2]" and "nothing" not in events.hparams
    assert events.hparams["method"] == "VICReg" and events.hparams["embedding dimension"] == "6.0"
    assert [text for _, text in events.texts["doctor/diagnosis"]]
    content = b"".join(file.read_bytes() for file in folder.rglob("events*"))
    assert b"pairs/negative_cosines" in content
    (part,) = {file.parent for file in folder.rglob("events*")}
    accumulator = EventAccumulator(str(part)).Reload()
    assert accumulator.Tags()["graph"]
    assert any("conv" in node.name for node in accumulator.Graph().node)
    written = folder / "train"
    assert np.loadtxt(written / "embeddings.tsv").shape == (16, 6)
    assert (written / "labels.tsv").read_text().split() == [
        str(label) for label in inspector.sample.labels
    ]
    config = (written / "projector_config.pbtxt").read_text()
    assert "embeddings.tsv" in config and "sprites.png" in config


def test_as_many_looks_as_keep_it_cheap(images):
    def every(count, total):
        pixels = np.zeros((total, 2, 2, 1), "uint8")
        return callbacks.EmbeddingInspector(
            data.from_arrays(pixels), data.TwoViews(data.RandomFlip()), count=count
        ).every

    assert every(15, 1000) == 1
    assert every(30, 1000) == 2
    assert every(256, 100) == 67  # all of them, in every 67th epoch


@pytest.mark.long
def test_steps_count_where_asked(images, views, one_picture, tmp_path):
    inspector = callbacks.EmbeddingInspector(
        images, data.tiny_gray(), tmp_path, every_steps=2, count=8
    )
    train(images, views, inspector)
    scalars = read_events(tmp_path).scalars
    assert [step for step, _ in scalars["rank/embeddings"]] == [0, 2, 4, 6]
    assert [step for step, _ in scalars["training/loss"]] == [3, 6]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"every": 0}, ValueError, "`every`"),
        ({"every": 1, "every_steps": 1}, ValueError, "`every` .epochs. and `every_steps`"),
        ({"count": 1}, ValueError, "`count` must be at least 2"),
        ({"pictures_every": 0}, ValueError, "`pictures_every`"),
        ({"images": np.zeros((4, 2, 2, 1))}, TypeError, "`images`.*ImageSet.*ndarray"),
        ({"images": data.from_arrays(np.zeros((1, 8, 8, 1), "uint8"))}, ValueError, "at least 2"),
        ({"policy": None}, TypeError, "`policy` must be a keras_ssl.data.Views.*NoneType"),
        ({"policy": "weak"}, TypeError, "`policy` must be a keras_ssl.data.Views.*str"),
        ({"log_dir": 5}, TypeError, "`log_dir` must be a folder's path.*5"),
        ({"hparams": ["a"]}, TypeError, "`hparams` must be a dictionary"),
        ({"every": 1.5}, ValueError, "`every` must be a whole number"),
        ({"every_steps": -1}, ValueError, "`every_steps`"),
        ({"count": "8"}, ValueError, "`count`"),
        ({"seed": 0.5}, ValueError, "`seed` must be a whole number"),
        ({"seed": -1}, ValueError, "`seed` must be a whole number"),
    ],
)
def test_bad_arguments(images, arguments, error, message):
    with pytest.raises(error, match=message):
        callbacks.EmbeddingInspector(**{"images": images, "policy": data.tiny_gray(), **arguments})


def test_numpy_numbers(images):
    inspector = callbacks.EmbeddingInspector(
        images, data.tiny_gray(), every=np.int64(2), count=np.int32(8), seed=np.uint8(3)
    )
    assert inspector.every == 2 and len(inspector.sample.images) == 8


class TestFaults:
    @pytest.mark.long
    def test_a_folder_that_cannot_be_written(self, images, views, one_picture, tmp_path):
        (tmp_path / "file").write_text("in the way")
        inspector = callbacks.EmbeddingInspector(
            images, data.tiny_gray(), tmp_path / "file" / "logs", every=1, count=8
        )
        with pytest.warns(EventLogWarning, match="can no longer be written.*training goes on"):
            model = train(images, views, inspector)
        assert model.optimizer.iterations == 6
        assert inspector.latest is not None  # It still looks: for the doctor, say.

    @pytest.mark.slow
    def test_a_full_disk(self, tmp_path):
        """Files of this process may not grow beyond 20 kB."""
        program = f"""
import resource, signal, warnings, pathlib
import numpy as np, keras
from keras_ssl import callbacks, data, models
from tests.conftest import tiny_encoder
folder = pathlib.Path({str(tmp_path)!r})
images = data.from_arrays(np.random.RandomState(0).randint(0, 255, (32, 8, 8, 1)).astype("uint8"))
model = models.VICReg(tiny_encoder(), "256-256")
model.compile("sgd")
policy, logs = data.tiny_gray(), folder / "logs"
inspector = callbacks.EmbeddingInspector(images, policy, logs, every=1, count=8)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model.fit(data.make_views(images, data.tiny_gray(), 16), steps_per_epoch=2, epochs=3,
        verbose=0, callbacks=[inspector, callbacks.EpochCheckpoint(folder / "checkpoints")])
print(int(model.optimizer.iterations), *sorted({{w.category.__name__ for w in caught}}))
"""
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        iterations, *names = done.stdout.split()
        assert iterations == "6"
        assert {"EventLogWarning", "CheckpointWarning"} <= set(names)
        assert not list(tmp_path.glob("checkpoints/*"))  # nothing half written is left

    def test_a_file_that_was_cut_short(self, run, tmp_path):
        (file,) = run[0].rglob("events*")
        whole = file.read_bytes()
        (tmp_path / file.name).write_bytes(whole[: len(whole) // 2])
        cut = read_events(tmp_path)
        assert (
            cut.scalars["rank/embeddings"][0] == read_events(run[0]).scalars["rank/embeddings"][0]
        )

    def test_two_runs_in_one_folder(self, tmp_path):
        EventLog(tmp_path).close()
        # Another run holds its lock, but takes less time to start.
        program = "import fcntl; f = open(input(), 'w'); fcntl.flock(f, fcntl.LOCK_EX)\n"
        program += "print('open', flush=True); input()"
        command = [sys.executable, "-c", program]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, text=True, **pipes) as other:
            other.stdin.write(f"{tmp_path / 'train' / LOCK}\n")
            other.stdin.flush()
            assert other.stdout.readline() == "open\n"
            with pytest.warns(EventLogWarning, match="Another run is writing.*train-2"):
                log = EventLog(tmp_path)
            log.write(0, lambda: summaries.scalar("x", 2.0))
            log.close()
            other.kill()
        assert read_events(tmp_path / "train-2").scalars == {"x": [(0, 2.0)]}
        # The other was killed, and its folder is free again, as for a run that is resumed.
        log = EventLog(tmp_path)
        assert log.path == tmp_path / "train"
        log.close()

    @pytest.mark.slow
    def test_an_interrupted_fit_is_no_other_run(self, images, views, tmp_path):
        inspector = callbacks.EmbeddingInspector(images, data.tiny_gray(), tmp_path, 1, count=8)
        broken = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(images, views, inspector, broken, epochs=1)
        again = callbacks.EmbeddingInspector(images, data.tiny_gray(), tmp_path, 1, count=8)
        train(images, views, again, epochs=1)
        train(images, views, inspector, epochs=1)
        assert [path.name for path in tmp_path.iterdir()] == ["train"]

    @pytest.mark.long
    def test_an_error_in_a_picture(self, images, views, tmp_path, monkeypatch):
        """It is said once, by name, and everything else is written to the end."""
        monkeypatch.setattr(pictures, "spectrum", lambda inspection: 1 / 0)
        inspector = callbacks.EmbeddingInspector(
            images, data.tiny_gray(), tmp_path, 1, count=8, pictures_every=1
        )
        with pytest.warns(EventLogWarning, match="'rank/spectrum'.*ZeroDivisionError") as said:
            model = train(images, views, inspector)
        assert model.optimizer.iterations == 6
        assert [warning.category for warning in said].count(EventLogWarning) == 1
        found = read_events(tmp_path)
        assert [step for step, _ in found.scalars["rank/embeddings"]] == [0, 1, 2]
        assert [step for step, _ in found.images["matrices/gram"]] == [0, 1, 2]
        assert "rank/spectrum" not in found.images and (tmp_path / "train/labels.tsv").is_file()

    @pytest.mark.long
    def test_a_log_that_is_no_number(self, images, views, one_picture, tmp_path):
        class Strange(keras.callbacks.Callback):
            def on_epoch_end(self, epoch, logs):
                logs["a$strange"] = "text"

        inspector = callbacks.EmbeddingInspector(images, data.tiny_gray(), tmp_path, 1, count=8)
        with pytest.warns(EventLogWarning, match="'criterion/a.strange'.*ValueError") as said:
            train(images, views, Strange(), inspector)
        assert [warning.category for warning in said].count(EventLogWarning) == 1
        scalars = read_events(tmp_path).scalars
        assert [step for step, _ in scalars["training/learning_rate"]] == [1, 2]

    @pytest.mark.long
    def test_names_of_any_kind(self, views, tmp_path):
        """Of classes, options and the folder: no warning, and all is there."""
        names = list(NAMES.values())
        pixels = np.random.RandomState(0).randint(0, 255, (48, 8, 8, 1)).astype("uint8")
        images = data.from_arrays(pixels, np.arange(48) % len(names), names)
        logs = tmp_path / "a$_$b" / "_<i>"
        inspector = callbacks.EmbeddingInspector(
            images, data.tiny_gray(), logs, 5, count=48, hparams={name: name for name in names}
        )
        train(images, views.map(lambda pair, label: (pair, label * 0)), inspector)
        found = read_events(logs)
        assert len(found.images["classes/pca_of_representations"]) == 2
        assert found.hparams["_old"] == "_old" and found.hparams["(no name)"] == "(no name)"
        lines = (logs / "train" / "labels.tsv").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 48 and all(lines)

    def test_messages_of_tensorflow_and_what_is_none(self, tmp_path):
        """Contents may come from either package; another is left out by name."""
        log = EventLog(tmp_path)
        value = tf.compat.v1.Summary.Value(tag="y", simple_value=3.0)
        log.write(0, lambda: tf.compat.v1.Summary(value=[value]))
        log.write(1, lambda: tf.compat.v1.Event(summary=tf.compat.v1.Summary(value=[value])))
        log.write(0, lambda: summaries.scalar("x", 2.0))
        with pytest.warns(EventLogWarning, match="'mine'.*`content` must return.*NoneType"):
            log.write(0, lambda: None, "mine")
        log.close()
        accumulator = EventAccumulator(str(tmp_path / "train"))
        accumulator.Reload()
        assert [(e.step, e.value) for e in accumulator.Scalars("y")] == [(0, 3.0), (1, 3.0)]
        assert read_events(tmp_path).scalars["x"] == [(0, 2.0)]

    def test_a_folder_whose_name_is_no_text(self, tmp_path):
        log = EventLog(tmp_path / "\udcff")
        log.write(0, lambda: summaries.scalar("x", 2.0))
        log.close()
        assert list((tmp_path / "\udcff" / "train").glob("events*"))


@pytest.mark.long
def test_a_run_that_stops_early_is_looked_at_once_more(images, views, one_picture, tmp_path):
    inspector = callbacks.EmbeddingInspector(images, data.tiny_gray(), tmp_path, every=5, count=8)
    doctor = callbacks.CollapseDoctor(inspector)
    stop = keras.callbacks.EarlyStopping("loss", min_delta=1e9, patience=1)
    train(images, views, inspector, doctor, stop, epochs=4)
    found = read_events(tmp_path)
    assert [step for step, _ in found.scalars["rank/embeddings"]] == [0, 2]
    assert [step for step, _ in found.images["matrices/gram"]] == [0, 2]
    assert [step for step, _ in found.texts["doctor/diagnosis"]] == [0, 2]
    embeddings = np.loadtxt(tmp_path / "train" / "embeddings.tsv")
    np.testing.assert_allclose(embeddings, inspector.latest.embeddings[0], rtol=1e-3, atol=1e-4)


def test_the_first_step_waits_for_no_pictures(images, views, one_picture, tmp_path, monkeypatch):
    """They are of the model before it, and stand at 0."""
    inspector = callbacks.EmbeddingInspector(images, data.tiny_gray(), tmp_path, every=5, count=8)
    drawn, gram_matrix = [], pictures.gram_matrix

    def drawn_gram(inspection, labels):
        drawn.append((int(inspector.model.optimizer.iterations), inspection))
        return gram_matrix(inspection, labels)

    monkeypatch.setattr(pictures, "gram_matrix", drawn_gram)
    first = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: first.append(inspector.latest)
    )
    train(images, views, inspector, note, epochs=1)
    assert [done for done, _ in drawn] == [1, 3]
    assert drawn[0][1] is first[0]
    assert [step for step, _ in read_events(tmp_path).images["matrices/gram"]] == [0, 1]


def test_views_of_another_size(images, views, tmp_path):
    policy = data.weak(size=(12, 12))
    sample = Sample(images, policy, 8)
    assert pictures.view_grid(sample).ndim == 3


def test_labels_may_be_a_list():
    view = np.zeros((3, 2))
    assert Sample.of((view, view), [0, 1, 1], "ab").captions == ["a", "b", "b"]


def test_a_sample_without_labels(images):
    sample = Sample(images.without_labels(), data.tiny_gray(), 8)
    assert sample.labels is None and sample.images.shape == (8, 8, 8, 1)
    assert sample.captions == [f"image {place}" for place in range(0, 48, 6)]


def test_the_grid_says_what_it_shows(images, monkeypatch):
    """Twelve images over all of the sample, in two blocks, each with its captions."""
    blocks, draw = [], pictures.mosaic
    monkeypatch.setattr(pictures, "mosaic", lambda *args: blocks.append(args) or draw(*args))
    sample = Sample(images, data.tiny_gray(), 48)
    pictures.view_grid(sample)
    assert [len(columns) for columns, _, _ in blocks] == [3, 3]
    assert all(titles == ["image", "view 1", "view 2"] for _, titles, _ in blocks)
    assert [name for _, _, names in blocks for name in names] == sample.captions[::4]
    np.testing.assert_array_equal(
        np.concatenate([columns[0] for columns, _, _ in blocks]), sample.images[::4]
    )
    pictures.view_grid(Sample.of(sample.views))
    assert blocks[-1][1] == ["view 1", "view 2"] and blocks[-1][2][0] == "image 24"


@pytest.mark.long
def test_stock_callbacks_monitor_what_needs_no_label(images, views, tmp_path):
    path = tmp_path / "best.keras"
    model = train(
        images,
        views,
        callbacks.EvaluationCallback(images.without_labels(), policy=data.tiny_gray()),
        keras.callbacks.ModelCheckpoint(path, "val_lidar", mode="max", save_best_only=True),
        keras.callbacks.EarlyStopping("val_uniformity", mode="min", patience=1),
    )
    assert {"val_rankme", "val_lidar", "val_alpha_req", "val_uniformity"} <= set(
        model.history.history
    )
    assert pathlib.Path(path).is_file()
