"""The report shows what a run left, and compares runs."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import cli
from keras_ssl.inspection import EventLog, summaries
from keras_ssl.inspection.events import read_events
from keras_ssl.reporting.page import write_page
from tests.test_text import NAMES

COLLAPSE = {"name": "complete collapse", "finding": "All is <one>.", "remedy": "Mend it."}


def write(folder, loss, diagnoses, hparam):
    from tensorboard.plugins.hparams import api

    log = EventLog(folder)
    for step in range(3):
        contents = [
            summaries.scalar("training/loss", loss / (step + 1)),
            summaries.scalar("rank/embeddings", 3.0),
            summaries.scalar("rank/embeddings_highest", 8.0),
            summaries.image("matrices/gram", np.zeros((4, 4, 3), np.uint8)),
            summaries.record("doctor/record", diagnoses if step == 1 else []),
        ]
        for content in contents:
            log.write(step, lambda content=content: content)
    log.write(0, lambda: api.hparams_pb({"method": "VICReg", "temperature": hparam}))
    log.close()
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        write(tmp_path / "one", 5.0, [COLLAPSE], 0.1),
        write(tmp_path / "two", 7.0, [], 0.2),
    ]


def test_one_page_of_two_runs(runs, tmp_path):
    (runs[0] / "results.json").write_text('{"trained": {"knn": 0.98, "rankme": 30.5}}')
    page = write_page(runs, tmp_path / "pages" / "report.html").read_text()
    assert "<h1>one, two</h1>" in page
    assert "<b>Complete collapse.</b> (first seen at 1, later gone) All is &lt;one&gt;." in page
    assert "Healthy at all 3 looks" in page
    assert "0.98" in page and "30.5" in page
    assert page.count("data:image/png") == 4  # the first and the last of each run
    assert page.count("data:image/svg+xml") == 2  # training, rank
    assert re.search(r'class="differs"><td>temperature</td><td>0.1</td><td>0.2</td>', page)
    assert re.search(r"<tr><td>method</td><td>VICReg</td><td>VICReg</td>", page)
    assert not re.search(r'(src|href)="(?!data:)', page)  # it loads nothing from elsewhere


def test_a_run_whose_diagnoses_are_text_alone(tmp_path):
    """Earlier versions wrote runs without records."""
    log = EventLog(tmp_path / "old")
    text = "**Complete collapse.** All is <one>. Mend it."
    for step, found in enumerate(["Healthy: nothing was found.", text, text]):
        log.write(step, lambda found=found: summaries.text("doctor/diagnosis", found))
        log.write(step, lambda: summaries.scalar("training/loss", 1.0))
    log.close()
    page = write_page([tmp_path / "old"], tmp_path / "report.html").read_text()
    assert "At 0: Healthy: nothing was found." in page
    assert "At 1: **Complete collapse.** All is &lt;one&gt;. Mend it." in page
    assert page.count("Mend it.") == 1


def test_a_run_with_the_tags_of_earlier_versions(tmp_path):
    """A run that began with one version and went on with another is one run."""
    log, curve = EventLog(tmp_path / "old"), [(0, 3.0), (1, 2.0)]
    pixels = np.zeros((4, 4, 3), np.uint8)
    for tags in (
        ("training/loss", "probe/accuracy"),
        ("1_training/loss", "training/probe_accuracy"),
    ):
        step, value = curve[0] if tags[0] == "training/loss" else curve[1]
        for tag in tags:
            log.write(step, lambda tag=tag, value=value: summaries.scalar(tag, value))
    log.write(0, lambda: summaries.image("views/image_and_two_views", pixels))
    log.close()
    assert read_events(tmp_path / "old").scalars == {
        "training/loss": curve,
        "training/probe_accuracy": curve,
    }
    page = write_page([tmp_path / "old"], tmp_path / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 1 and "Images and their views" in page


def test_a_run_that_is_no_better_than_untrained_is_not_called_healthy(runs, tmp_path):
    healthy = runs[1]  # Its doctor found nothing.
    figures = {"untrained": {"knn": 0.5}, "trained": {"knn": 0.4}}
    for trained, is_healthy in ((0.4, False), (0.6, True)):
        figures["trained"]["knn"] = trained
        (healthy / "results.json").write_text(json.dumps(figures))
        page = write_page([healthy], tmp_path / "page.html").read_text()
        assert ("Healthy at all" in page) == is_healthy
        assert ("no better kNN than the untrained one" in page) != is_healthy
        assert "knn (higher is better)" in page


def test_what_is_said_of_a_run_is_not_said_of_one_whose_name_goes_on(tmp_path):
    folders = [write(tmp_path / name, 5.0, [], 0.1) for name in ("vicreg", "vicreg-2")]
    for folder, knn in zip(folders, (0.4, 0.6), strict=True):
        figures = {"untrained": {"knn": 0.5}, "trained": {"knn": knn}}
        (folder / "results.json").write_text(json.dumps(figures))
    page = write_page(folders, tmp_path / "page.html").read_text()
    assert page.count("no better kNN than the untrained one") == 1
    assert page.count("Healthy at all") == 1


def test_the_command(runs, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["report", str(runs[0]), "--output", str(tmp_path / "one.html")])
    assert end.value.code == 0
    assert "one.html" in capsys.readouterr().out
    assert "Complete collapse" in (tmp_path / "one.html").read_text()


def test_two_runs_that_wrote_to_one_folder_are_told_apart(runs, tmp_path):
    (runs[1] / "train").rename(runs[0] / "train-2")
    page = write_page([runs[0]], tmp_path / "report.html").read_text()
    assert "<h1>one/train, one/train-2</h1>" in page
    with pytest.raises(ValueError, match="one run.*'train', 'train-2'"):
        read_events(runs[0])
    assert read_events(runs[0] / "train-2").scalars["training/loss"][0] == (0, 7.0)


def test_a_second_fit_in_the_same_folder(tmp_path):
    """The report is of the last one. (A resumed run is one run: it does not begin again at 0.)"""
    for values in ((5.0, 4.0, 3.0), (6.0, 2.0)):
        log = EventLog(tmp_path)
        for step, value in enumerate(values):
            log.write(step, lambda value=value: summaries.scalar("1_training/loss", value))
        text = str(len(values))
        log.write(0, lambda text=text: summaries.text("doctor/diagnosis", text))
        log.close()
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        tf.summary.scalar("epoch_loss", 9.0, 0)  # Keras' own callback; other names, another file.
    events = read_events(tmp_path)
    assert events.scalars == {"training/loss": [(0, 6.0), (1, 2.0)], "epoch_loss": [(0, 9.0)]}
    assert events.texts == {"doctor/diagnosis": [(0, "2")]}
    log = EventLog(tmp_path)  # goes on from step 1, which the killed run did judge
    log.write(1, lambda: summaries.scalar("rank/embeddings", 7.0))
    log.write(2, lambda: summaries.scalar("1_training/loss", 1.0))
    log.close()
    loss = read_events(tmp_path).scalars["training/loss"]
    assert loss == [(0, 6.0), (1, 2.0), (2, 1.0)]


def test_keras_own_events(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        tf.summary.scalar("epoch_loss", 1.0, 0)
    page = write_page([tmp_path], tmp_path / "report.html").read_text()
    assert "epoch loss" in page and page.count("data:image/svg+xml") == 1


def test_names_are_shown_and_not_run(tmp_path):
    """The names are those that a folder can have and TensorBoard can read."""
    names = [NAMES[key] for key in NAMES if key not in ("empty", "bytes", "nul")]
    names = [name.replace("/", "|") for name in names]
    runs = [write(tmp_path / name, 5.0, [], name) for name in names]
    (runs[0] / "results.json").write_text('{"<i>": {"a$_$b": 0.5}}')
    page = write_page(runs, tmp_path / "report.html").read_text()
    assert "<h3>a$_$b</h3>" in page and "<h3>two lines</h3>" in page
    assert "<h3>&lt;script&gt;alert(1)&lt;|script&gt;</h3>" in page
    assert "<script" not in page and "<i>" not in page
    assert page.count("data:image/svg+xml") == 2


def test_figures_that_are_not_finite(tmp_path):
    log = EventLog(tmp_path / "run")
    for step, value in enumerate([float("nan"), float("inf"), 1.0, 1000.0]):
        log.write(step, lambda value=value: summaries.scalar("training/loss", value))
    log.close()
    page = write_page([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert page.count("data:image/svg+xml") == 1


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"a": 5}', "\0"], ids=["empty", "cut", "list", "types", "binary"]
)
def test_damaged_results_are_named_in_the_page(content, runs, tmp_path):
    (runs[0] / "results.json").write_text(content)
    page = write_page(runs, tmp_path / "report.html").read_text()
    assert "results.json is damaged. Judge the encoder again" in page
    assert "Healthy at all 3 looks" in page  # The rest is there.
    assert (runs[0] / "results.json").read_text() == content


@pytest.mark.parametrize("kind", ["empty", "garbage", "damaged inside"])
def test_damaged_events(kind, runs, tmp_path):
    (file,) = runs[0].rglob("events*")
    content = file.read_bytes()
    broken = bytearray(content)
    broken[30] ^= 255  # In the first record: nothing after it can be read.
    file.write_bytes({"empty": b"", "garbage": b"?" * 500, "damaged inside": bytes(broken)}[kind])
    page = write_page(runs, tmp_path / "report.html").read_text()
    assert "This run holds no figures" in page and "Healthy at all 3 looks" in page


def test_a_run_without_a_finished_epoch(tmp_path):
    """The folder holds only what `keras-ssl pretrain` has written by then."""
    EventLog(tmp_path / "run").close()
    (tmp_path / "run" / "metrics.csv").touch()
    page = write_page([tmp_path / "run"], tmp_path / "report.html").read_text()
    assert "This run holds no figures" in page


@pytest.mark.parametrize(
    ("runs", "error", "message"),
    [
        ([], ValueError, "`runs`.*none"),
        (["."], ValueError, "holds no TensorBoard events.*'.'"),
        ([".", "."], ValueError, "differ"),
        (["nowhere"], ValueError, "`runs` must be folders.*nowhere.*nothing there"),
        (["file"], ValueError, "`runs` must be folders.*file.*not a folder"),
        (["\udcff"], ValueError, "`folder` must have a name in UTF-8"),
    ],
    ids=["none", "empty folder", "twice", "nowhere", "file", "bytes"],
)
def test_bad_runs(runs, error, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    (tmp_path / "\udcff").mkdir()
    with pytest.raises(error, match=message):
        write_page(runs, tmp_path / "report.html")
    if runs:
        with pytest.raises(SystemExit) as end:
            cli.main(["report", *runs])
        said = capsys.readouterr().err
        assert (
            end.value.code == 2
            and said.count("\n") == 1
            and re.match("error: (--runs|`folder`)", said)
        )
    assert not list(tmp_path.glob("*.html"))


def test_an_output_that_cannot_be_written(runs, tmp_path, capsys):
    (tmp_path / "file").touch()
    for output, message in (
        (tmp_path, "--output must be a file. Received: the folder"),
        (tmp_path / "file" / "report.html", "Not a directory|File exists"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["report", str(runs[0]), "--output", str(output)])
        assert end.value.code == 2
        assert re.search(message, capsys.readouterr().err)
