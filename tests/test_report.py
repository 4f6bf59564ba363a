"""The report holds what a run left, and compares runs."""

import re

import pytest
import tensorflow as tf

from keras_ssl import report
from keras_ssl.inspection import EventLog
from keras_ssl.inspection.events import read_events


def write(folder, loss, text, hparam):
    from tensorboard.plugins.hparams import api

    log = EventLog(folder)
    with log._writer.as_default():
        for step in range(3):
            tf.summary.scalar("training/loss", loss / (step + 1), step)
            tf.summary.scalar("rank/embeddings", 3.0, step)
            tf.summary.scalar("rank/embeddings_highest", 8.0, step)
            tf.summary.image("matrices/gram", tf.zeros((1, 4, 4, 3)), step)
            tf.summary.text("doctor/diagnosis", text if step == 1 else "Healthy.", step)
        api.hparams({"method": "VICReg", "temperature": hparam})
    log.close()
    return folder


@pytest.fixture
def runs(tmp_path):
    return [
        write(tmp_path / "one", 5.0, "**Complete collapse.** All is <one>. Mend it.", 0.1),
        write(tmp_path / "two", 7.0, "Healthy.", 0.2),
    ]


def test_one_page_of_two_runs(runs, tmp_path):
    (runs[0] / "results.json").write_text('{"trained": {"knn": 0.98, "rankme": 30.5}}')
    page = report.report(runs, tmp_path / "pages" / "report.html").read_text()
    assert "<h1>one, two</h1>" in page
    assert "<b>Complete collapse.</b> (first seen at 1, later gone) All is &lt;one&gt;." in page
    assert "Healthy at all 3 looks" in page
    assert "0.98" in page and "30.5" in page
    assert page.count("data:image/png") == 4  # the first and the last of each run
    assert page.count("data:image/svg+xml") == 2  # training, rank
    assert re.search(r'class="differs"><td>temperature</td><td>0.1</td><td>0.2</td>', page)
    assert re.search(r"<tr><td>method</td><td>VICReg</td><td>VICReg</td>", page)
    assert not re.search(r'(src|href)="(?!data:)', page)  # it needs nothing from anywhere


def test_the_command(runs, tmp_path, capsys):
    report.main([str(runs[0]), "--output", str(tmp_path / "one.html")])
    assert "one.html" in capsys.readouterr().out
    assert "Complete collapse" in (tmp_path / "one.html").read_text()


def test_two_runs_that_wrote_to_one_folder_are_told_apart(runs, tmp_path):
    (runs[1] / "train").rename(runs[0] / "train-2")
    page = report.report([runs[0]], tmp_path / "report.html").read_text()
    assert "<h1>one/train, one/train-2</h1>" in page
    with pytest.raises(ValueError, match="one run.*'train', 'train-2'"):
        read_events(runs[0])
    assert read_events(runs[0] / "train-2").scalars["training/loss"][0] == (0, 7.0)


def test_keras_own_events(tmp_path):
    with tf.summary.create_file_writer(str(tmp_path / "train")).as_default():
        tf.summary.scalar("epoch_loss", 1.0, 0)
    page = report.report([tmp_path], tmp_path / "report.html").read_text()
    assert "epoch loss" in page and page.count("data:image/svg+xml") == 1


@pytest.mark.parametrize(
    ("runs", "message"),
    [([], "`runs`.*none"), (["."], "holds no TensorBoard events.*'.'"), ([".", "."], "differ")],
)
def test_bad_runs(runs, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        report.report(runs)
