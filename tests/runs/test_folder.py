import json

import pytest

from keras_ssl import runs


def test_a_folder_is_one_processs_and_new(tmp_path):
    folder = runs.RunFolder(tmp_path / "run")
    folder.begin({"options": {}})
    with pytest.raises(ValueError, match="already holds files.*`out`.*`resume`"):
        runs.RunFolder(tmp_path / "run").begin({})
    other = runs.RunFolder(tmp_path / "run")
    config = other.read_config()
    with pytest.raises(ValueError, match="Another process is writing"):
        other.go_on(config)
    folder.close()
    other.go_on(config)
    other.close()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="must be a folder.*file"):
        runs.RunFolder(tmp_path / "file").check_new()


def test_a_folder_that_is_deleted_under_a_run_is_made_again(tmp_path):
    folder = runs.RunFolder(tmp_path / "run")
    folder.begin({"options": {"seed": 3}})
    for file in folder.path.iterdir():
        file.unlink()
    folder.path.rmdir()
    with pytest.warns(runs.RunWarning, match="was deleted; it is made again"):
        folder.write_json("results.json", {"knn": 0.5})
    assert runs.RunFolder(folder.path).read_config() == {"options": {"seed": 3}}
    assert folder.read_json("results.json") == {"knn": 0.5}
    assert folder.read_json("baselines.json") is None
    folder.close()


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "results.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(ValueError, match="results.json is damaged"):
        runs.RunFolder(tmp_path).read_json("results.json")


class TestMetricsLog:
    def test_a_figure_of_a_later_epoch_gets_its_column(self, tmp_path):
        log = runs.MetricsLog(tmp_path / "new" / "metrics.csv")
        log.on_epoch_end(0, {"loss": 1.5})
        log.on_epoch_end(1, {"loss": 1.25, "val_knn": 0.5})
        text = (tmp_path / "new" / "metrics.csv").read_text()
        assert text == "epoch,loss,val_knn\n0,1.5,NA\n1,1.25,0.5\n"
        again = runs.MetricsLog(tmp_path / "new" / "metrics.csv", first_epoch=1)
        again.on_epoch_end(1, {"loss": 1.25, "val_knn": 0.5})
        assert (tmp_path / "new" / "metrics.csv").read_text() == text

    def test_a_full_disk_costs_a_row_at_most(self, tmp_path):
        (tmp_path / "metrics.csv").mkdir()  # nothing can be written there
        with pytest.warns(runs.RunWarning, match="metrics.csv could not be written"):
            runs.MetricsLog(tmp_path / "metrics.csv").on_epoch_end(0, {"loss": 1.5})

    @pytest.mark.parametrize(
        "text", ["", "epoch,loss\n", "epoch,loss\n0,1", "lo\0ss", "a,b\n1,2\n"]
    )
    def test_whatever_is_left_is_read(self, tmp_path, text):
        path = tmp_path / "metrics.csv"
        path.write_text(text)
        assert len(runs.read_metrics(path)) == (1 if text.endswith("0,1") else 0)
        assert runs.draw_curves(path, tmp_path / "curves.png") == text.endswith("0,1")
        path.unlink()
        assert runs.read_metrics(path) == []


def test_a_picture_that_cannot_be_drawn_leaves_the_one_before(tmp_path, monkeypatch):
    log = runs.MetricsLog(tmp_path / "metrics.csv")
    log.on_epoch_end(0, {"loss": 1.5})
    picture = tmp_path / "curves.png"
    picture.write_bytes(b"before")

    def fail(self, path, **kwargs):
        path.write_bytes(b"half a picture")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(OSError, match="No space left"):
        runs.draw_curves(tmp_path / "metrics.csv", picture)
    assert picture.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 2


def test_curves_take_names_as_text(tmp_path):
    log = runs.MetricsLog(tmp_path / "metrics.csv")
    log.on_epoch_end(0, {"loss": 1.5, "$a^b_{": 0.5, "val_knn": 0.5})
    assert runs.draw_curves(tmp_path / "metrics.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


def test_versions_are_plain_json():
    versions = runs.versions()
    assert json.loads(json.dumps(versions)) == versions and "keras" in versions["versions"]


def test_runs_of_the_same_second_get_folders_of_their_own(tmp_path):
    folders = [runs.RunFolder(tmp_path / "runs" / "now") for _ in range(3)]
    for folder in folders:
        folder.take(may_be_renamed=True)
    assert [folder.path.name for folder in folders] == ["now", "now-2", "now-3"]
    folders[1].begin({"options": {}})
    for folder in folders:
        folder.leave()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["now-2"]


def test_a_folder_that_cannot_be_made_is_known_at_once(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError):
        runs.RunFolder(tmp_path / "file" / "run").take()
    with pytest.raises(ValueError, match="already holds files"):
        runs.RunFolder(tmp_path).take()
    folder = runs.RunFolder(tmp_path / "new" / "run")
    folder.take()
    folder.leave()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_relative_paths_are_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "a" / "photos").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    options = {"source": "photos", "encoder": "resnet8", "evaluate_on": None}
    folder = runs.RunFolder(tmp_path / "run")
    folder.begin({"options": options, "directory": str(tmp_path / "a")})
    folder.close()
    assert folder.read_config()["options"] == options
    monkeypatch.chdir(tmp_path / "b")
    there = {**options, "source": str(tmp_path / "a" / "photos")}
    assert folder.read_config()["options"] == there
