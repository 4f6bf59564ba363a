"""Tests the scripts, shrunk to seconds, as a user would run them."""

import argparse
import csv
import functools
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
from PIL import Image

from keras_ssl import callbacks, data, encoders, models, runs
from keras_ssl.pretraining import defaults
from keras_ssl.pretraining import options as options_
from tests.conftest import tensorboard_server
from tests.programs import evaluate, parse, pretrain

pytestmark = pytest.mark.usefixtures("eagerly")

WITHOUT_LABELS = {"rankme", "alpha_req", "uniformity", "lidar"}
ROOT = pathlib.Path(__file__).parents[2]


def _load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The second of the three epochs is not judged: its row must not shift the columns.
@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "vicreg"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options_, "SMOKE_EPOCHS", 3)
        return pretrain(["--smoke", "--out", str(folder)])


@pytest.mark.long
def test_views_made_on_the_device_train_the_same(run, tmp_path, monkeypatch):
    """And a run goes on without a word about where its views are made."""
    monkeypatch.setattr(options_, "SMOKE_EPOCHS", 3)
    device = pretrain(["--smoke", "--views", "device", "--out", str(tmp_path / "device")])
    tables = [(folder / "metrics.csv").read_text().splitlines() for folder in (run, device)]
    losses = [[float(row["loss"]) for row in csv.DictReader(table)] for table in tables]
    np.testing.assert_allclose(*losses, rtol=1e-3)
    model = keras.models.load_model(callbacks.latest_checkpoint(device / "checkpoints"))
    assert isinstance(model.views, data.Views)
    assert pretrain(["--resume", str(device)]) == device


@pytest.mark.long
def test_small_color_images_take_settings_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(defaults, "has_accelerator", lambda: False)
    narrow = functools.partial(encoders.resnet8, width=2, stem="strided", stages=3)
    monkeypatch.setitem(encoders.ENCODERS, "resnet8-wide", narrow)
    draw = np.random.default_rng(0).integers
    arrays = {
        f"{part}_{split}": draw(0, high, (count, *shape), dtype="uint8")
        for split, count in (("train", 64), ("test", 16))
        for part, high, shape in (("x", 255, (32, 32, 3)), ("y", 2, ()))
    }
    np.savez(tmp_path / "colors.npz", **arrays)
    folder = pretrain([str(tmp_path / "colors.npz"), "--smoke", "--out", str(tmp_path / "run")])
    config = json.loads((folder / "config.json").read_text())
    assert (config["options"]["method"], config["encoder"]) == ("color-32px", "resnet8-wide")
    assert (config["recipe"]["view_size"], config["recipe"]["policy"]) == (24, "simsiam_cifar")
    model = keras.models.load_model(callbacks.latest_checkpoint(folder / "checkpoints"))
    assert isinstance(model, models.SimCLR) and model.encoder.input_shape == (None, None, None, 3)
    assert pretrain(["--resume", str(folder)]) == folder


@pytest.mark.parametrize(
    "given",
    [{"encoder": "vit_tiny"}, {"policy": "weak"}, {"criterion": "covariance_weight=4"}, {}],
    ids=str,
)
def test_what_is_tuned_together_is_taken_together(given):
    open_ones = dict.fromkeys(("encoder", "policy", "projector", "temperature", "criterion"))
    options = argparse.Namespace(**{**open_ones, **given})
    assert options_.may_be_tuned(options) == (not given)


@pytest.mark.parametrize("value", [0.5, 3, ["conv"], None])
def test_in_python_freeze_is_what_it_is(value):
    assert options_.parse_freeze(value) == value


def test_lists_of_python_are_stored(run):
    options = parse(["--method", "simclr"])
    options.freeze, options.input_range = ["stem"], (0, 255)
    kept = json.loads(json.dumps(options_.stored(options)))
    assert (kept["freeze"], kept["input_range"]) == (["stem"], [0, 255])


def test_two_temperatures_are_refused():
    options = parse(["--method", "simclr", "--temperature", "0.1"])
    options.criterion = "temperature=0.5"
    with pytest.raises(ValueError, match="both give a temperature"):
        options_.make_recipe(options, (8, 8, 1))


def test_the_config_of_a_run_brings_what_made_its_encoder(run, tmp_path):
    config = json.loads((run / "config.json").read_text())
    config["encoder"] = "resnet8"
    config["options"] |= {"freeze": "2", "layer_decay": 0.7, "micro_batch_size": 256}
    config["options"] |= {"input_range": {"python": "builtins.object"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for words, freeze in (([], "2"), (["--freeze", "1"], "1"), (["--encoder", "resnet18"], None)):
        options = parse(["--config", str(tmp_path / "config.json"), *words])
        options_.take_from_config(options)
        assert (options.freeze, options.layer_decay) == (freeze, 0.7)
        assert options.input_range is None and options.micro_batch_size is None


def test_pretrain_leaves_a_run_folder(run):
    for name in ("views.png", "curves.png"):
        with Image.open(run / name) as picture:
            assert min(picture.size) > 100
    config = json.loads((run / "config.json").read_text())
    assert config["replicas"] == 1
    assert config["options"]["seed"] == 0 and "tensorflow" in config["versions"]
    results = json.loads((run / "results.json").read_text())
    assert list(results) == ["raw pixels", "untrained", "trained"]
    header, *rows = (run / "metrics.csv").read_text().splitlines()
    assert {"loss", "invariance", "val_knn", "probe_accuracy"} <= set(header.split(","))
    assert len(rows) == 3
    assert list((run / "tensorboard").rglob("events.*"))
    checkpoint = callbacks.latest_checkpoint(run / "checkpoints")
    assert isinstance(keras.models.load_model(checkpoint), models.VICReg)


@pytest.mark.slow
def test_tensorboard_shows_the_run(run):
    """TensorBoard is asked as its own page asks it."""
    with tensorboard_server(run) as ask:
        _check_tensorboard(ask)


def _check_tensorboard(ask):
    name = "tensorboard/train"
    scalars = ask("scalars/tags")
    sections = sorted({tag.partition("/")[0] for tag in scalars[name]})
    assert len(sections) <= 12 and sections[:2] == ["1_training", "2_evaluation"]
    assert {
        *("1_training/loss", "1_training/learning_rate", "1_training/probe_accuracy"),
        *("2_evaluation/knn", "2_evaluation/lidar", "criterion/invariance"),
        *("duality/l_c", "duality/theorem_3_3_residual"),
        *("bounds/sample_norms_position", "pairs/negative_variance", "hypersphere/uniformity"),
        *("spread/dead_dimensions", "rank/representations", "gradient_share/variance"),
    } <= set(scalars[name])
    values = ask(f"scalars/scalars?run={name}&tag=rank/embeddings")
    assert [step for _, step, _ in values] == [0, 3]
    assert {"views/image_and_views", "matrices/gram", "rank/spectrum"} <= set(
        ask("images/tags")[name]
    )
    assert {"pairs/negative_cosines", "rank/singular_values"} <= set(ask("histograms/tags")[name])
    assert "doctor/diagnosis" in ask("text/tags")[name]
    experiment = ask("hparams/experiment", {"experimentName": ""})
    options = {option["name"] for option in experiment["hparamInfos"]}
    assert {"method", "base learning rate", "batch size", "policy", "seed"} <= options
    assert not {"out", "checkpoint minutes"} & options  # They change no figure.
    metrics = {metric["displayName"] for metric in experiment["metricInfos"]}
    assert {"linear accuracy", "RankMe"} <= metrics


def test_a_run_with_a_budget_goes_on(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    config = json.loads((folder / "config.json").read_text())
    config["options"]["budget"] = "10min"
    (folder / "config.json").write_text(json.dumps(config))
    assert pretrain(["--resume", str(folder)]) == folder


def test_a_config_gives_the_settings(run, tmp_path):
    settings = run / "config.json"
    given = parse(["--config", str(settings), "--criterion", "covariance_weight=3"])
    recipe = options_.make_recipe(given, (8, 8, 1))
    assert (recipe.model, recipe.projector, recipe.epochs) == (models.VICReg, "32-32", 3)
    assert recipe.criterion["covariance_weight"] == 3  # --criterion changes the setting.
    assert options_.read_config(given)["encoder"] == "resnet8"
    with pytest.raises(ValueError, match="`config` already has a method"):
        pretrain(["--config", str(settings), "--method", "simclr"])
    for content in ("{}", "[]", "nothing", '{"recipe": {"model": "VICReg", "x": 1}}'):
        (tmp_path / "bad.json").write_text(content)
        bad = parse(["--config", str(tmp_path / "bad.json")])
        with pytest.raises(ValueError, match="`config` must be best/NAME.json"):
            options_.make_recipe(bad, (8, 8, 1))


def test_the_encoder_is_plain_keras(run):
    with zipfile.ZipFile(run / "encoder.keras") as archive:
        assert b"keras_ssl" not in archive.read("config.json")
    encoder = keras.models.load_model(run / "encoder.keras")
    assert encoder.predict(np.zeros((2, 8, 8, 1), "float32"), verbose=0).shape == (2, 64)


def test_an_existing_run_folder_is_not_overwritten(run):
    before = (run / "results.json").read_bytes()
    with pytest.raises(ValueError, match="already holds files.*`out`.*`resume`"):
        pretrain(["--smoke", "--out", str(run)])
    assert (run / "results.json").read_bytes() == before


@pytest.mark.slow  # A fast test below shows the same in the middle of an epoch.
def test_an_interrupted_run_goes_on_as_if_it_had_not_been(run, tmp_path, monkeypatch):
    folder = tmp_path / "interrupted"
    monkeypatch.setattr(options_, "SMOKE_EPOCHS", 3)

    class Killed(callbacks.EpochCheckpoint):
        def on_epoch_end(self, epoch, logs=None):
            super().on_epoch_end(epoch, logs)
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(callbacks, "EpochCheckpoint", Killed)
        with pytest.raises(KeyboardInterrupt):
            pretrain(["--smoke", "--out", str(folder)])
    assert not (folder / "results.json").exists()
    pretrain(["--resume", str(folder)])
    whole, resumed = (keras.models.load_model(f / "encoder.keras") for f in (run, folder))
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("results.json", "metrics.csv"):
        assert (run / name).read_text() == (folder / name).read_text()


@pytest.mark.slow  # tests/callbacks/test_checkpoint.py shows it of `fit`, `TestResume` of a run.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_in_two_lines_with_the_command_to_go_on(
    run, number, tmp_path, monkeypatch, capsys
):
    """The signal comes in the middle of an epoch; the resumed run ends like `run`."""
    folder = tmp_path / "interrupted"
    monkeypatch.setattr(options_, "SMOKE_EPOCHS", 3)

    class Signaled(runs.Progress):
        def on_train_batch_end(self, batch, logs=None):
            super().on_train_batch_end(batch, logs)
            if (self._epoch, batch) == (1, 1):
                os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "Progress", Signaled)
        with pytest.raises(callbacks.Stopped) as error:
            pretrain(["--smoke", "--out", str(folder)])
    assert error.value.signal == number
    stopped, going_on = capsys.readouterr().err.strip().splitlines()[-2:]
    assert stopped == f"Stopped. The encoder so far is {folder / 'encoder.keras'}"
    assert going_on.endswith(f"--resume {folder}")
    keras.models.load_model(folder / "encoder.keras")
    pretrain(["--resume", str(folder)])
    assert "going on after 1 epochs and 2 steps" in capsys.readouterr().out
    whole, resumed = (keras.models.load_model(f / "encoder.keras") for f in (run, folder))
    for a, b in zip(whole.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for name in ("results.json", "metrics.csv"):
        assert (run / name).read_text() == (folder / name).read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_real_process_ends_so_too(number, tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "keras_ssl", "pretrain", "--out", str(folder)]
    command += ["--epochs", "500"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        for line in process.stdout:
            if line.startswith("Epoch 2/"):
                break
        process.send_signal(number)
        errors = process.communicate(timeout=60)[1].strip().splitlines()
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert errors[0].startswith("Stopping after this step") and errors[2].startswith("Stopped.")
    assert len(errors) == 4 and errors[3].endswith(f"--resume {folder}")
    assert (folder / "encoder.keras").is_file()


class TestResume:
    """Resumes a finished run after all the kinds of damage that were found."""

    @pytest.fixture
    def copy(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(options_, "SMOKE_EPOCHS", 3)
        return pathlib.Path(shutil.copytree(run, tmp_path / "copy"))

    def _resume(self, folder):
        return pretrain(["--resume", str(folder)])

    def test_another_process_has_the_folder(self, copy):
        other = runs.RunFolder(copy)
        other.go_on(other.read_config())
        with pytest.raises(ValueError, match=f"Another process is writing to .*{copy.name}"):
            self._resume(copy)
        other.close()

    def test_other_images(self, copy):
        config = json.loads((copy / "config.json").read_text())
        assert config["data"]["training"].startswith("256 of 8x8x1, ")
        config["data"]["training"] = "200 of 8x8x1, 12345678"
        (copy / "config.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match="began with: its training images were 200 .*: 256 of"):
            self._resume(copy)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (None, "is not the folder of a run: it has no config.json; it holds other files"),
            (
                "",
                "config.json is damaged. Repair it, or start another run. Received: an empty file",
            ),
            ('{"options": ', "config.json is damaged.*Expecting value"),
            ("[]", "config.json is damaged.*a list"),
            ('{"recipe": {}}', r"config.json is damaged.*no options, but \['recipe'\]"),
            ('{"options": {"lamp": 1}}', r"that this version does not know: \['lamp'\]"),
        ],
    )
    def test_a_damaged_config(self, copy, content, message):
        (copy / "config.json").unlink()
        if content is not None:
            (copy / "config.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            self._resume(copy)

    @pytest.mark.long
    def test_the_config_says_where_the_run_went_on_and_on_what(self, copy):
        before = json.loads((copy / "config.json").read_text())
        self._resume(copy)
        self._resume(copy)
        after = json.loads((copy / "config.json").read_text())
        continued = after.pop("continued")
        assert after == before
        assert [entry.pop("at") for entry in continued] == ["epoch 3, step 0"] * 2
        assert continued == [runs.versions()] * 2

    @pytest.mark.long
    def test_what_the_encoder_was_loaded_from_is_gone(self, run, tmp_path, monkeypatch):
        """The checkpoint has it."""
        monkeypatch.setattr(options_, "SMOKE_EPOCHS", 2)
        shutil.copy(run / "encoder.keras", tmp_path / "mine.keras")
        words = ["--smoke", "--encoder", str(tmp_path / "mine.keras")]
        folder = pretrain([*words, "--out", str(tmp_path / "run")])
        (tmp_path / "mine.keras").unlink()
        assert self._resume(folder) == folder

    def test_a_run_that_was_stopped_before_it_had_begun(self, tmp_path):
        (tmp_path / "config.json.123.partial").write_text("{")
        with pytest.raises(ValueError, match="stopped before it began: start it again"):
            self._resume(tmp_path)
        runs.RunFolder(tmp_path).check_new()  # A new run may begin there.
        with pytest.raises(ValueError, match="The run folder .*nowhere does not exist"):
            self._resume(tmp_path / "nowhere")

    @pytest.mark.long
    @pytest.mark.parametrize(
        "rows", [*(pytest.param(n, marks=pytest.mark.slow) for n in (None, 0)), 2]
    )
    def test_lost_rows_and_a_damaged_checkpoint(self, run, copy, rows):
        lines = (copy / "metrics.csv").read_text().splitlines(keepends=True)
        (copy / "metrics.csv").unlink()
        if rows is not None:
            (copy / "metrics.csv").write_text("".join(lines[:rows]) + ("1,0.5" if rows else ""))
        last = callbacks.latest_checkpoint(copy / "checkpoints")
        last.write_bytes(last.read_bytes()[:1000])
        with (
            pytest.warns(callbacks.CheckpointWarning, match="00003.keras is damaged"),
            pytest.warns(
                runs.RunWarning, match=f"has the figures of {rows // 2 if rows else 0} of"
            ),
        ):
            self._resume(copy)
        assert (copy / "results.json").read_text() == (run / "results.json").read_text()
        left = (copy / "metrics.csv").read_text().splitlines(keepends=True)
        assert left[-1] == lines[-1] and len(left) == (3 if rows else 2)

    @pytest.mark.slow
    def test_a_full_disk_at_the_end_costs_nothing(self, run, copy, monkeypatch):
        (copy / "results.json").unlink()

        def full(self, encoder):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(runs.RunFolder, "save_encoder", full)
            with pytest.raises(OSError, match="No space left") as error:
                self._resume(copy)
            assert (
                "Make room" in error.value.__notes__[0] and "--resume" in error.value.__notes__[0]
            )
        self._resume(copy)
        assert (copy / "results.json").read_text() == (run / "results.json").read_text()


@pytest.mark.slow
def test_unlabeled_images_judged_on_others(tmp_path, in_graphs):
    """Most people have photographs without labels, and a few with labels."""
    rng = np.random.RandomState(0)
    for i in range(80):
        path = tmp_path / "photos" / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.randint(0, 255, (20 + i % 5, 24, 3), "uint8")).save(path)
    labels = np.arange(60) % 3
    images = rng.randint(0, 80, (60, 16, 16, 3)) + 80 * labels[:, None, None, None]
    np.savez(tmp_path / "labeled.npz", images=images.astype("uint8"), labels=labels)
    arguments = f"--smoke --method simclr --source {tmp_path}/photos --image-size 16"
    folder = pretrain(
        [
            *arguments.split(),
            *f"--evaluate-on {tmp_path}/labeled.npz --out {tmp_path}/run".split(),
        ]
    )
    assert set(json.loads((folder / "results.json").read_text())["trained"]) == {
        *("knn", "linear"),
        *WITHOUT_LABELS,
    }
    assert "probe_accuracy" in (folder / "metrics.csv").read_text()


@pytest.mark.slow
def test_labels_left_aside(tmp_path):
    folder = pretrain(["--smoke", "--no-labels", "--out", str(tmp_path / "run")])
    assert set(json.loads((folder / "results.json").read_text())["trained"]) == WITHOUT_LABELS
    assert "probe_accuracy" not in (folder / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--method simclear", "`method` must be one of.*simclr.*'simclear'"),
        ("--source=", "`source` must name something: is a variable not set"),
        ("--source nowhere", "`source`.*'nowhere'"),
        ("--policy strong", "`policy`.*byol.*'strong'"),
        ("--encoder resnet7", "`encoder`.*resnet18.*'resnet7'"),
        ("--projector 8-x", "`widths`.*'8-x'"),
        ("--optimizer adagrad", "`optimizer` must be one of.*lars.*'adagrad'"),
        ("--temperature 0.1", "`temperature` has no meaning for vicreg.*covariance_weight"),
        ("--criterion tau=1", "`criterion` takes NAME=VALUE.*covariance_weight.*'tau=1'"),
        ("--criterion covariance_weight", "`criterion` takes NAME=VALUE"),
        ("--criterion covariance_weight=-1", "`covariance_weight`.*-1"),
        ("--batch-size 0", "`batch_size`.*=0"),
        ("--epochs 0", "`epochs`"),
        ("--strategy horovod", "`name`.*mirrored.*horovod"),
        ("--micro-batch-size 0", "`micro_batch_size`"),
        ("--base-learning-rate 0", "`base_learning_rate`"),
        ("--evaluate-every 0", "`evaluate_every`"),
        ("--batch-size 5000", "`batch_size`.*1437 images.*5000"),
        ("--batch-size 1", "`batch_size` must be at least 2.*: 1"),
        ("--micro-batch-size 7", "`micro_batch_size` must divide.*128.*: 7"),
        ("--projector 64-1", "at least 2 dimensions"),
        ("--inspect-every 0", "`inspect_every`"),
        ("--epochs -3", "`epochs` must be a whole number above zero.*-3"),
        ("--weight-decay -1", "`weight_decay` must be zero or a positive number.*-1"),
        ("--weight-decay nan", "`weight_decay`.*nan"),
        ("--checkpoint-minutes 0", "`checkpoint_minutes` must be a positive number"),
        ("--profile x", "`profile`"),
        ("--precision float8", "`precision` must be one of.*mixed_bfloat16.*'float8'"),
        ("--seed -1", "`seed`.*-1"),
        ("--budget soon", "`budget` must be a time.*'soon'"),
        ("--budget 1h --epochs 3", "`budget` and `epochs`"),
    ],
)
def test_bad_options_leave_nothing_behind(arguments, message, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises((ValueError, TypeError), match=message):
        pretrain([*arguments.split(), "--out", str(folder)])
    assert not folder.exists()


@pytest.mark.long
def test_a_diverging_run_stops_and_says_why(tmp_path, capsys):
    with pytest.raises(
        callbacks.NonFiniteLossError, match="Not finite at step .* epoch 1"
    ) as error:
        pretrain(
            [
                "--smoke",
                "--optimizer",
                "sgd",
                "--base-learning-rate",
                "1e30",
                "--out",
                str(tmp_path / "run"),
            ]
        )
    assert error.value.__notes__ == ["No epoch was finished"]


@pytest.mark.long
def test_evaluate(run, capsys):
    rows = evaluate([str(run / "encoder.keras"), "--knn-grid"])
    assert set(rows["trained"]) == {"knn", "linear", "rankme"}
    assert "best kNN" in capsys.readouterr().out and rows["best kNN"]["k"] > 0
    checkpoint = callbacks.latest_checkpoint(run / "checkpoints")
    assert evaluate([str(checkpoint)])["trained"] == pytest.approx(rows["trained"])


def test_evaluate_bad_input(run, tmp_path):
    with pytest.raises(ValueError, match="`encoder` must be .*nowhere"):
        evaluate([str(tmp_path / "nowhere.keras")])
    np.savez(tmp_path / "a.npz", images=np.zeros((9, 8, 8), "uint8"))
    with pytest.raises(ValueError, match="must have labels and a test part.*without labels"):
        evaluate([str(run / "encoder.keras"), str(tmp_path / "a.npz")])
    np.savez(tmp_path / "b.npz", images=np.zeros((9, 8, 8, 2), "uint8"), labels=np.arange(9) // 5)
    with pytest.raises(ValueError, match="`channels` must be 2 for these images.*channels=1"):
        evaluate([str(run / "encoder.keras"), str(tmp_path / "b.npz")])


@pytest.mark.slow  # The README's block, which the fast tests run, is nearly the same.
def test_quickstart(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["quickstart.py", "--smoke"])
    _load("quickstart")
    assert "rankme" in capsys.readouterr().out
