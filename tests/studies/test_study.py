import contextlib
import csv
import dataclasses
import fcntl
import functools
import io
import json
import math
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import keras_tuner
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

from keras_ssl import _log, recipes, spaces, studies
from keras_ssl.studies import oracle as oracles
from keras_ssl.studies import plan, starter
from keras_ssl.studies import report as reports
from keras_ssl.studies import results as tables
from keras_ssl.studies.settings import space_of
from keras_ssl.studies.tensorboard import write_columns
from keras_ssl.studies.trial_files import step_of
from keras_ssl.studies.tuner import MOST_STARTS, memory_mib
from tests.conftest import tensorboard_server, tiny_encoder
from tests.studies import program

pytestmark = pytest.mark.usefixtures("eagerly")

ROOT = pathlib.Path(__file__).parents[2]
NOT_RESULTS = {"seconds", "memory_mib"}  # These differ from one run to the next.


def rows_in(folder, without=NOT_RESULTS):
    with open(folder / "trials.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A study that ran: its folder, its results, and what it printed."""
    folder = tmp_path_factory.mktemp("studies") / "done"
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        studies.Study(folder, program.arms(), 3, 2).run()
    # Nothing is left to do.
    return folder, studies.Study(folder, program.arms(), 3, 2).run(), printed.getvalue()


@pytest.mark.long
class TestResults:
    def test_a_row_per_trial(self, done):
        folder, results, _ = done
        rows = rows_in(folder)
        assert [row["trial"] for row in rows] == [str(i) for i in range(len(rows))]
        search = [row for row in rows if row["stage"] == "search"]
        assert [(row["arm"], row["draw"]) for row in search] == [
            (arm, str(draw)) for draw in range(3) for arm in ("simclr", "vicreg")
        ]
        assert {row["status"] for row in rows} == {"completed"}
        # Draw 0 is the defaults; the score of the search is of the validation images alone.
        assert search[0]["temperature"] == "0.15" and search[1]["covariance weight"] == "1"
        assert {row["test_knn"] for row in search} == {""}
        finals = [row for row in rows if row["stage"] == "final"]
        assert all(row["test_knn"] and row["seed"] in "12" for row in finals)
        assert {row["seed"] for row in search} == {"0"}  # Not the seeds of the final runs.

    def test_default_and_tuned_of_each_arm(self, done):
        folder, results, _ = done
        rows = rows_in(folder)
        for name, arm in results.arms.items():
            scores = {
                int(row["draw"]): float(row["val_knn"])
                for row in rows
                if row["arm"] == name and row["stage"] == "search"
            }
            assert arm.best_draw == max(scores, key=scores.get)
            for kind, draw in (("default", 0), ("tuned", arm.best_draw)):
                found = [
                    float(row["test_knn"])
                    for row in rows
                    if (row["arm"], row["stage"], row["draw"]) == (name, "final", str(draw))
                ]
                np.testing.assert_allclose(getattr(arm, kind), found, rtol=1e-5)
                assert len(found) == 2
            # Equal to the last bit: it is defined seed by seed.
            assert arm.gain == np.mean(arm.tuned - arm.default)

    def test_the_best_settings_can_be_gone_on_with(self, done):
        folder, results, _ = done
        for name, arm in results.arms.items():
            content = json.loads((folder / "best" / f"{name}.json").read_text())
            recipe = recipes.Recipe.from_config(content["recipe"])
            assert recipe.base_learning_rate == arm.settings["base learning rate"]
            assert recipe.model is recipes.SMALL[name].model

    def test_one_line_per_trial(self, done):
        lines = done[2].splitlines()
        trials = [line for line in lines if line.startswith("trial ")]
        assert lines[0].startswith("study: 14 trials") and len(trials) == len(rows_in(done[0]))
        pattern = (
            r"trial \d+ of \d+ \| simclr: draw 1 \| knn 0\.\d+ \(best of it 0\.\d+\) \| .+ left"
        )
        assert any(re.fullmatch(pattern, line) for line in trials)
        last = re.match(r"trial (\d+) of (\d+) ", trials[-1])
        assert last[1] == last[2]

    def test_a_program_may_be_quiet(self, done, capsys):
        with _log.shown(quiet=True):
            studies.Study(done[0], program.arms(), 3, 2).run()
        assert capsys.readouterr().out == ""

    def test_again_there_is_nothing_to_do(self, done, capsys):
        folder, results, _ = done
        before = rows_in(folder, without=())
        studies.Study(folder, program.arms(), 3, 2).run()
        assert rows_in(folder, without=()) == before
        assert capsys.readouterr().out.count("trial ") == 0

    def test_the_report(self, done, tmp_path):
        _, results, _ = done
        report = studies.write_report(
            results, tmp_path, "A title", "A question?", {"images": "few"}, "An answer."
        )
        text = report.read_text()
        assert (
            "**Question.** A question?" in text and "| vicreg" in text and "- images: few" in text
        )
        curves = {"simclr": {8: "simclr"}, "vicreg": {8: "vicreg"}}
        studies.draw_curves(results, curves, tmp_path / "curves.png", "M")
        panels = {"val_knn": "kNN, %", "nothing": "not measured"}
        studies.draw_path(results, list(results.arms), panels, tmp_path / "path.png")
        for name in ("arms", "search", "curves", "path"):
            with Image.open(tmp_path / f"{name}.png") as picture:
                assert min(picture.size) > 100

    @pytest.mark.slow
    def test_tensorboard_shows_every_trial(self, done):
        """It is asked as the HParams tab asks, for the whole study and for one arm."""
        folder, results, _ = done
        found = {}
        for part in ("", "vicreg"):
            with tensorboard_server(folder / "tensorboard" / part) as ask:
                found[part] = _hparams(ask)
                tags = ask("scalars/tags")["vicreg/draw 01" if not part else "draw 01"]
            assert {"training/loss", "trial/seconds", "validation/linear probe"} <= set(tags)
        columns, metrics, groups = found[""]
        # The settings that all arms have: every trial has a line in the parallel coordinates.
        assert columns == ["arm", "base learning rate", "stage"]
        assert metrics == ["validation kNN", "validation linear probe", "trial seconds"]
        assert len(groups) == len(results.rows)
        assert all(set(columns) <= set(group["hparams"]) for group in groups.values())
        assert all(len(group["metricValues"]) == 3 for group in groups.values())
        columns, metrics, groups = found["vicreg"]
        assert columns == ["base learning rate", "covariance weight", "invariance weight", "stage"]
        rows = [row for row in results.rows if row["arm"] == "vicreg"]
        assert len(groups) == len(rows)
        values = groups["vicreg, draw 01"]["metricValues"]
        value = next(v["value"] for v in values if v["name"]["tag"] == "validation/kNN")
        ends = {session["status"] for group in groups.values() for session in group["sessions"]}
        assert ends == {"STATUS_SUCCESS"}
        row = next(row for row in rows if row["draw"] == 1)
        np.testing.assert_allclose(value, row["figures"]["val_knn"], rtol=1e-6)


def _hparams(ask):
    """Names of columns and metrics, and trials by name."""
    experiment = ask("hparams/experiment", {"experimentName": ""})
    statuses = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
    answer = ask(
        "hparams/session_groups",
        {
            "experimentName": "",
            "startIndex": 0,
            "sliceSize": 100,
            "allowedStatuses": statuses,
            "colParams": [{"metric": info["name"]} for info in experiment["metricInfos"]],
        },
    )
    return (
        sorted(info["name"] for info in experiment["hparamInfos"]),
        [info["displayName"] for info in experiment["metricInfos"]],
        {group["name"]: group for group in answer["sessionGroups"]},
    )


def _ends(folder):
    """How the trials ended, as their files for TensorBoard say."""
    ends = []
    for part in {file.parent for file in folder.rglob("events*")} - {folder}:
        written = EventAccumulator(str(part)).Reload()
        with contextlib.suppress(KeyError):  # The files of an arm only describe its columns.
            content = written.SummaryMetadata("_hparams_/session_end_info").plugin_data.content
            status = plugin_data_pb2.HParamsPluginData.FromString(content).session_end_info.status
            ends.append(api_pb2.Status.Name(status))
    return ends


def test_settings_are_those_that_were_trained_with(tmp_path):
    """They are short, and in single precision the same to the last bit."""
    trial = oracle_of(tmp_path, program.arms(), 1, 1).create_trial("tuner")
    used = {"temperature": float(np.float32(0.15)), "rate": float(np.float32(1 / 3000))}
    trial.hyperparameters.values.update(used)
    settings = tables.rows_of({"0": trial})[0]["settings"]
    assert settings["temperature"] == 0.15 and settings["rate"] != used["rate"]
    assert all(np.float32(settings[name]) == used[name] for name in used)


@pytest.mark.parametrize(
    ("program", "command"),
    [("/env/bin/keras-ssl", "keras-ssl"), ("tuning/my gap.py", "python 'tuning/my gap.py'")],
)
def test_the_command_of_a_report_is_one_for_a_shell(program, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", [program, "my photos", "--methods", "mine>Method"])
    assert reports._command() == f"{command} 'my photos' --methods 'mine>Method'"


def test_gains_are_of_seeds_that_both_have():
    final = {"default": {2: 0.50, 3: 0.60}, "tuned": {1: 0.52, 2: 0.55}}
    arm = studies.ArmResult("a", final, {}, 1, {0: 0.1, 1: 0.2}, {}, 2, {})
    assert arm.gain == pytest.approx(0.05) and np.isnan(arm.gain_error)
    assert arm.default.tolist() == [0.5, 0.6] and arm.tuned.tolist() == [0.52, 0.55]
    whole = {"default": {1: 0.5, 2: 0.6}, "tuned": {1: 0.6, 2: 0.8}}
    arm = dataclasses.replace(arm, final=whole)
    assert arm.gain == pytest.approx(0.15) and arm.gain_error == pytest.approx(0.05)


def test_differences_have_an_error():
    """That of the differences seed by seed: what a seed does to both arms cancels."""
    b = {1: 0.70, 2: 0.80, 3: 0.75}
    a = {seed: b[seed] + more for seed, more in {3: 0.02, 1: 0.03, 2: 0.04}.items()}
    assert studies.difference(a, b) == f"+3.0 ± {1 / np.sqrt(3):.1f}"
    assert studies.difference(b, {**a, 4: 0.0}) == f"-3.0 ± {1 / np.sqrt(3):.1f}"
    assert studies.difference({1: a[1]}, b) == "+3.0"
    assert studies.difference({4: 0.5}, b) == "-"
    values = np.array([0.80, 0.82, 0.84])
    assert studies.spread(values) == "82.0 ± 2.0" and studies.spread(values[:1]) == "80.0"
    assert studies.chance_limit(3) == pytest.approx(4.303, abs=1e-3)
    assert studies.chance_limit(1) == float("inf")


class TestFolder:
    @pytest.mark.long
    def test_another_study(self, done):
        folder, *_ = done
        arms = program.arms()
        arms["vicreg"].recipe = dataclasses.replace(arms["vicreg"].recipe, epochs=7)
        with pytest.raises(
            studies.StudyFolderError,
            match=r"holds another study.*arms.vicreg.recipe.epochs: 1 there, 7 asked for",
        ):
            studies.Study(folder, arms, 3, 2)

    @pytest.mark.long
    @pytest.mark.parametrize(
        "change", ["images", "space", "arms", "seed", "search", "measure", "encoder"]
    )
    def test_whatever_differs(self, done, change):
        folder, *_ = done
        arms, kwargs = program.arms(), {}
        if change == "images":
            for arm in arms.values():
                arm.images = arm.images._replace(train=arm.images.train.spread(40))
        elif change == "space":
            arms["simclr"].space = spaces.learning_rate
        elif change == "arms":
            del arms["simclr"]
        elif change == "seed":
            kwargs["seed"] = 5
        elif change == "measure":
            arms["simclr"].measure = lambda model, images: {}
        elif change == "encoder":
            arms["simclr"].encoder = functools.partial(program.build_tiny)
        else:
            kwargs["search"] = keras_tuner.oracles.BayesianOptimizationOracle
        with pytest.raises(studies.StudyFolderError, match=change):
            studies.Study(folder, arms, 3, 2, **kwargs)

    def test_a_folder_of_something_else(self, tmp_path):
        (tmp_path / "photos").mkdir()
        with pytest.raises(studies.StudyFolderError, match="has no study.json.*photos"):
            studies.Study(tmp_path, program.arms())

    def test_bad_input(self, tmp_path):
        arms = program.arms()
        with pytest.raises(ValueError, match="`arms` must be .*0 arms"):
            studies.Study(tmp_path, {})
        arms["vicreg"].score = "linear"
        with pytest.raises(ValueError, match=r"same `score`.*\['knn', 'linear'\]"):
            studies.Study(tmp_path, arms)
        with pytest.raises(ValueError, match="`trials` must be a whole number above zero"):
            studies.Study(tmp_path, program.arms(), trials=0)
        for search in (
            keras_tuner.oracles.HyperbandOracle,
            keras_tuner.oracles.GridSearchOracle,
        ):
            with pytest.raises(ValueError, match="use keras_tuner.Hyperband or .*GridSearch"):
                studies.Study(tmp_path, program.arms(), search=search)
        for names, message in (
            (("a/b", "a-b"), "names that differ in letters or digits"),
            (("+",), "names that differ in letters or digits"),
        ):
            with pytest.raises(ValueError, match=message):
                studies.Study(tmp_path, dict.fromkeys(names, program.arms()["vicreg"]))
        with pytest.raises(TypeError, match="`arms` must be .*'vicreg': str"):
            studies.Study(tmp_path, {"vicreg": "simclr"})
        arms = program.arms()
        arms["vicreg"].images = arms["vicreg"].images._replace(test=None)
        with pytest.raises(ValueError, match="`arms` must have the same images"):
            studies.Study(tmp_path, arms)
        arms = program.arms()
        arms["vicreg"].space = lambda hp, recipe: hp.Int("seed", 1, 9) and recipe
        with pytest.raises(ValueError, match=r"hyperparameters named .*'vicreg' with \['seed'\]"):
            studies.Study(tmp_path, arms)
        for message, arguments in (
            ("`folder` must be a folder's path.*5", {"folder": 5}),
            ("`arms` must be a dictionary.*list", {"arms": [program.arms()["vicreg"]]}),
            ("`arms` must be .*5: Pretraining", {"arms": {5: program.arms()["vicreg"]}}),
            ("`search` must be callable.*'random'", {"search": "random"}),
            ("`callbacks` must be callable", {"callbacks": []}),
        ):
            with pytest.raises(TypeError, match=message):
                studies.Study(**{"folder": tmp_path, "arms": program.arms(), **arguments})
        for arguments in (
            {"seeds": 0},
            {"finalists": -1},
            {"trials": 2.0},
            {"seed": 0.5},
            {"seed": -1},
        ):
            (name,) = arguments
            with pytest.raises(ValueError, match=f"`{name}` must be a whole number"):
                studies.Study(tmp_path, program.arms(), **arguments)
        for name in ("two\nlines", "nul\0", "bytes\udcff"):
            with pytest.raises(ValueError, match="names of one line"):
                studies.Study(tmp_path, {name: program.arms()["vicreg"]})
        assert not list(tmp_path.iterdir())
        (tmp_path / "file").touch()
        with pytest.raises(studies.StudyFolderError, match="must be a folder.*file"):
            studies.Study(tmp_path / "file", program.arms())
        study = studies.Study(tmp_path / "s", program.arms(), np.int64(1), np.int32(1))
        with pytest.raises(TypeError, match="`strategy` must be a tf.distribute.Strategy.*auto"):
            study.run("auto")

    @pytest.mark.long
    @pytest.mark.parametrize(
        "name",
        [
            pytest.param("../../etc/a$_$b", id="path"),
            pytest.param("<script>", id="markup"),
            pytest.param("界" * 300, id="long kanji"),
            pytest.param("_{}^\\|a", id="signs"),
        ],
    )
    def test_names_of_any_kind(self, tmp_path, name):
        """They make files in the folder, and tables and pictures show them."""
        arms = {name: program.arms()["vicreg"], "other": program.arms()["simclr"]}
        study = studies.Study(tmp_path / "s", arms, 1, 1)
        rows = [
            {
                **{"trial": trial, "arm": arm, "stage": stage, "draw": 0, "seed": trial},
                **{"status": "completed", "reason": "", "settings": {"a$_$b": 1.0 + trial}},
                "figures": {"val_knn": 0.5, "test_knn": 0.4},
            }
            for arm in arms
            for trial, stage in enumerate(["search", "final"])
        ]
        rows.append({**rows[0], "status": "failed", "figures": {}, "reason": "<b>|"})
        results = studies.Results(rows, "knn", list(arms))
        study._write_best(results, name)
        write_columns(tmp_path / "s" / "tensorboard", study.spaces, ["val_knn"])
        (best,) = (tmp_path / "s" / "best").iterdir()
        assert best.name == f"{plan.file_name(name)}.json" and len(os.fsencode(best.name)) < 230
        folders = {
            path.name for path in (tmp_path / "s" / "tensorboard").iterdir() if path.is_dir()
        }
        assert folders == {"other", plan.file_name(name)}
        assert [path.name for path in tmp_path.iterdir()] == ["s"]  # Nothing is written outside.
        report = studies.write_report(results, tmp_path / "r", "$_$", "q", {"a": "b\nc"}, "a")
        text = report.read_text(encoding="utf-8")
        assert "<script" not in text and "<b>" not in text and "- a: b c" in text
        table = text.partition("images\n\n")[2].partition("\n\n")[0].splitlines()
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
        curves = {name: {1: name, 2: "other"}, "_": {1: "other"}}
        studies.draw_curves(results, curves, tmp_path / "r" / "c.png", "$_$")
        studies.draw_path(results, [name, "other"], {"test_knn": "$_$ %"}, tmp_path / "r" / "p.png")

    @pytest.mark.parametrize("content", ["", "{", "[1]"], ids=["empty", "cut", "list"])
    def test_a_damaged_identity(self, tmp_path, content):
        studies.Study(tmp_path, program.arms())
        path = tmp_path / "study.json"
        good = path.read_text()
        path.write_text(content)
        with pytest.raises(ValueError, match=r"study.json is damaged.*study.json.asked"):
            studies.Study(tmp_path, program.arms())
        assert path.read_text() == content
        path.with_name("study.json.asked").replace(path)
        studies.Study(tmp_path, program.arms())
        assert path.read_text() == good

    def test_two_processes_do_not_run_one_study(self, tmp_path):
        study = studies.Study(tmp_path / "s", program.arms(), 1, 1)
        code = (
            "import fcntl, sys, time; lock = open(sys.argv[1] + '/.lock', 'w'); "
            "fcntl.flock(lock, fcntl.LOCK_EX); print('locked', flush=True); time.sleep(60)"
        )
        other = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path / "s")], stdout=subprocess.PIPE
        )
        try:
            other.stdout.readline()
            with pytest.raises(studies.StudyFolderError, match="another process is running"):
                study.run()
        finally:
            other.kill()
            other.communicate()


def oracle_of(
    folder,
    arms,
    trials=3,
    seeds=2,
    search=keras_tuner.oracles.RandomSearchOracle,
    retry_failed=False,
    finalists=1,
):
    objective = arms["simclr"].objective
    spaces = {name: space_of(arm) for name, arm in arms.items()}
    oracle = oracles.StudyOracle(
        arms, spaces, trials, seeds, finalists, search, objective, 0, lambda _: None, retry_failed
    )
    oracle._set_project_dir(str(folder), "trials")
    oracle.verbose = 0
    oracle.reload()
    return oracle


def run_next(oracle, score=None):
    """Runs the next trial without training; `None` at the end."""
    trial = oracle.create_trial("tuner")
    if trial.status == "STOPPED":
        return None
    step = step_of(trial)
    found = step.draw + step.seed if score is None else score(step)
    oracle.update_trial(trial.trial_id, {"val_knn": found})
    trial.status = "COMPLETED"
    oracle.end_trial(trial)
    return step


def changed(**values):
    return lambda state: json.dumps({**state, **values}).encode()


# The ways in which a trial's file may be damaged, as functions of its content.
DAMAGE = [
    ("empty", lambda state: b""),
    ("cut short", lambda state: json.dumps(state).encode()[:-20]),
    ("binary", lambda state: b"\x00\xff" * 9),
    ("list", lambda state: b"[]"),
    ("no keys", lambda state: b"{}"),
    ("another number", changed(trial_id="0001")),
    ("no status", changed(status="ALMOST")),
    ("no score", changed(score=None)),
    ("no figures", changed(metrics={"metrics": {}})),
    ("no settings", changed(hyperparameters={"space": [], "values": {}})),
    ("types", changed(hyperparameters=5)),
]


class Killed(BaseException):
    """Acts like SIGKILL: no `except Exception` catches it."""


class TestOracle:
    """The plan, with made-up scores."""

    @pytest.mark.long
    @pytest.mark.parametrize(
        "life",
        [1, 3, 8, *(pytest.param(n, marks=pytest.mark.slow) for n in (4, 5, 6, 7, 9, 10, 11))],
    )
    def test_a_kill_at_any_write_repeats_no_finished_trial(self, tmp_path, monkeypatch, life):
        """The study is killed at every `life`-th file that it writes, whole or half, until done."""
        arms, replace, writes, ended = program.arms(), os.replace, [0], []

        def kill_sometimes(source, target):
            writes[0] += 1
            if life > 1 and writes[0] % life == 0:
                # SIGKILL leaves the unfinished file, which an exception in this process removes.
                left = f"trial.json.{writes[0]}.partial.json"
                pathlib.Path(source).with_name(left).write_text("{")
                raise Killed
            replace(source, target)

        monkeypatch.setattr(os, "replace", kill_sometimes)
        for _ in range(200):
            oracle = oracle_of(tmp_path, arms, finalists=2)
            try:
                while (step := run_next(oracle)) is not None:
                    ended.append(step)
                break
            except Killed:
                continue
        else:
            pytest.fail("It never ended")
        # For each arm: three draws; two seeds of two finalists, of the best and of the defaults.
        count = 2 * (3 + 2 * 2 + 2 * 2)
        assert len(ended) <= len(oracle.trials) == count
        assert len({step_of(t) for t in oracle.trials.values()}) == count
        assert {t.status for t in oracle.trials.values()} == {"COMPLETED"}
        assert len(ended) == len(set(ended))

    def test_finalists_are_confirmed(self, tmp_path):
        """Draw 2 was lucky with the search's seed; of the three best, others prefer draw 1."""
        arms = {"simclr": program.arms()["simclr"]}
        luck = {0: 1.0, 1: 2.0, 2: 3.0, 3: 0.0}
        steps = []

        def score(step):
            return luck[step.draw] if step.stage == "search" else float(step.draw == 1)

        oracle = oracle_of(tmp_path, arms, 4, 2, finalists=3)
        assert oracle.planned() == 4 + 3 * 2 + 2 * 2
        while (step := run_next(oracle, score)) is not None:
            steps.append(step)
        assert len(steps) == oracle.planned() == oracle.done()
        confirmed = [(s.draw, s.seed) for s in steps if s.stage == "confirm"]
        assert confirmed == [(d, s) for d in (2, 1, 0) for s in (1000, 1001)]
        assert oracle.best_draw("simclr") == 1
        assert {(s.draw, s.seed) for s in steps if s.stage == "final"} == {
            (d, s) for d in (0, 1) for s in (1, 2)
        }
        rows = tables.rows_of(oracle.trials)
        for row in rows:
            row["figures"]["test_knn"] = 0.5
        found = studies.Results(rows, "knn", ["simclr"], finalists=3).arms["simclr"]
        assert found.best_draw == 1 and found.confirmed == {2: 0.0, 1: 1.0, 0: 0.0}
        assert list(found.final["tuned"]) == [1, 2]  # Not the seeds by which it was chosen.

    def test_finalists_of_a_shorter_search_do_not_count(self, tmp_path):
        """Means over fewer seeds do not count either: draw 1 was lucky once."""
        arms = {"simclr": program.arms()["simclr"]}

        def score(step):
            return step.draw if step.stage == "search" else 10.0 if step.draw == 1 else step.draw

        while run_next(oracle_of(tmp_path, arms, 2, 1, finalists=2), score) is not None:
            pass
        more = oracle_of(tmp_path, arms, 4, 2, finalists=2)
        while run_next(more, score) is not None:
            pass
        assert more.best_draw("simclr") == 3 and more.done() == more.planned()
        fewer = oracle_of(tmp_path, arms, 6, 1)  # Without finalists the search decides.
        while run_next(fewer, score) is not None:
            pass
        assert fewer.best_draw("simclr") == 5 and fewer.done() == fewer.planned()
        rows = tables.rows_of(fewer.trials)
        for finalists, best in ((1, 5), (2, 5)):
            results = studies.Results(rows, "knn", ["simclr"], False, finalists)
            assert results.arms["simclr"].best_draw == best

    @pytest.mark.parametrize(
        "search",
        [
            keras_tuner.oracles.RandomSearchOracle,
            lambda **kwargs: keras_tuner.oracles.BayesianOptimizationOracle(
                num_initial_points=2, **kwargs
            ),
        ],
        ids=["random", "bayesian"],
    )
    # Keras-tuner's Gaussian process, on made-up scores.
    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_draws_differ_and_repeat(self, tmp_path, search):
        arms = program.arms()
        settings = []
        for life in ("one", "two"):
            oracle = oracle_of(tmp_path / life, arms, 5, 1, search)
            while (step := run_next(oracle)) is not None and step.stage == "search":
                pass
            settings.append(
                [
                    [trial.hyperparameters.values[name] for name in oracle.spaces["vicreg"].values]
                    for trial in oracle.trials.values()
                    if step_of(trial).arm == "vicreg" and step_of(trial).stage == "search"
                ]
            )
        assert settings[0] == settings[1]
        assert len({tuple(values) for values in settings[0]}) == 5
        assert settings[0][0] == [25.0, 1.0, np.float32(6e-3)]

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    def test_bayesian_search_while_others_run(self, tmp_path):
        """With two workers, a guess stands for the score of a running trial."""
        arms = {"simclr": program.arms()["simclr"]}
        bayesian = functools.partial(
            keras_tuner.oracles.BayesianOptimizationOracle, num_initial_points=1
        )
        oracle = oracle_of(tmp_path, arms, 5, 1, bayesian)
        running = oracle.create_trial("one")
        for _ in range(3):
            run_next(oracle)
        assert running.status == "RUNNING"
        draws = [step_of(trial).draw for trial in oracle.trials.values()]
        assert draws == [0, 1, 2, 3]

    def test_settings_under_a_condition(self, tmp_path):
        """The final run of a draw that had them has them too."""
        arms = {"simclr": program.arms()["simclr"]}

        def space(hp, recipe):
            kind = hp.Choice("kind", ["a", "b"])
            with hp.conditional_scope("kind", ["b"]):
                width = hp.Int("width", 2, 64)
            return dataclasses.replace(recipe, projector=f"{width}-4" if kind == "b" else "8-4")

        arms["simclr"].space = space
        oracle = oracle_of(tmp_path, arms, 8, 1)
        while run_next(oracle, lambda step: 0.0 if step.draw == 0 else step.draw) is not None:
            pass
        values = [trial.hyperparameters.values for trial in oracle.trials.values()]
        assert {"width" in v for v in values if v["kind"] == "b"} == {True}
        assert {"width" in v for v in values if v["kind"] == "a"} == {False}
        best, last = values[7], values[-1]
        assert (
            plan.settings_of(oracle.trials["0007"].hyperparameters.values).items() <= last.items()
            and best
        )

    def test_failed_trials_can_be_run_again(self, tmp_path):
        arms = program.arms()
        oracle = oracle_of(tmp_path, arms, 1, 1)
        trial = oracle.create_trial("tuner")
        trial.status, trial.message = "FAILED", "the disk was full"
        oracle.end_trial(trial)
        # A failed trial does not run again by itself.
        assert run_next(oracle_of(tmp_path, arms, 1, 1)).arm == "vicreg"
        again = oracle_of(tmp_path, arms, 1, 1, retry_failed=True)
        steps = []
        while (step := run_next(again)) is not None:
            steps.append((step.arm, step.stage))
        assert steps == [("simclr", "search"), ("simclr", "final"), ("vicreg", "final")]
        assert again.done() == again.planned() == 4

    def test_a_trial_that_was_deleted_is_missed(self, tmp_path):
        arms = program.arms()
        oracle = oracle_of(tmp_path, arms, 1, 1)
        for _ in range(3):
            run_next(oracle)
        (tmp_path / "trials" / "trial_0001" / "trial.json").unlink()
        with pytest.raises(ValueError, match="lacks number 1.*retry_failed"):
            oracle_of(tmp_path, arms, 1, 1)

    @pytest.mark.parametrize("damage", DAMAGE, ids=[name for name, _ in DAMAGE])
    def test_a_damaged_trial_is_run_again(self, tmp_path, damage):
        """Only this trial is run again, and its damaged file is kept."""
        arms = program.arms()
        before = oracle_of(tmp_path, arms, 2, 1)
        for _ in range(5):
            run_next(before)
        path = tmp_path / "trials" / "trial_0002" / "trial.json"
        lost = step_of(before.trials["0002"])
        others = {file: file.read_bytes() for file in tmp_path.rglob("trial.json")}
        broken = damage[1](json.loads(others.pop(path)))
        path.write_bytes(broken)
        shutil.copytree(tmp_path / "trials" / "trial_0001", tmp_path / "trials" / "trial_0001 copy")
        with pytest.warns(UserWarning, match="trial_0002.trial.json is damaged. .*run again"):
            oracle = oracle_of(tmp_path, arms, 2, 1, retry_failed=True)
        assert path.with_name("trial.json.damaged").read_bytes() == broken
        steps = []
        while (step := run_next(oracle)) is not None:
            steps.append(step)
        assert steps[0] == lost and len(steps) == oracle.planned() - 4
        assert all(file.read_bytes() == content for file, content in others.items())
        settings = [
            plan.settings_of(o.trials[i].hyperparameters.values)
            for o, i in ((before, "0002"), (oracle, "0005"))
        ]
        assert settings[0] == settings[1]
        rows = tables.rows_of(oracle.trials)
        assert rows[2]["status"] == "failed" and "is damaged" in rows[2]["reason"]
        again = oracle_of(tmp_path, arms, 2, 1, retry_failed=True)  # There is no warning.
        assert run_next(again) is None and again.done() == again.planned()

    def test_a_trial_that_cannot_be_read_is_not_run_again(self, tmp_path):
        """It may be intact, for example if its files belong to root."""
        oracle = oracle_of(tmp_path, program.arms(), 1, 1)
        run_next(oracle)
        path = tmp_path / "trials" / "trial_0000" / "trial.json"
        path.rename(path.with_name("kept"))
        path.mkdir()
        with pytest.raises(ValueError, match="trial_0000.trial.json cannot be read"):
            oracle_of(tmp_path, program.arms(), 1, 1)

    @pytest.mark.parametrize("kind", ["choice", "steps"])
    def test_a_space_that_is_exhausted_ends(self, tmp_path, kind):
        arms = program.arms()

        def space(hp, recipe):
            if kind == "choice":
                decay = hp.Choice("weight decay", [1e-4, 1e-3])
                assert decay in (1e-4, 1e-3)
            else:
                decay = hp.Float("weight decay", 0.1, 0.2, step=0.1)
            return dataclasses.replace(recipe, weight_decay=decay)

        for arm in arms.values():
            arm.space = space
        oracle = oracle_of(tmp_path, arms, 9, 1)
        steps = []
        while (step := run_next(oracle)) is not None:
            steps.append(step)
        assert sum(step.stage == "search" for step in steps) == 2 * 2
        assert len(steps) == oracle.planned()


def build_failing(hp, image_shape):
    """Makes the encoder of a trial fail in one of several ways."""
    kind = hp.values["kind"]
    if kind == "error":
        raise OSError("the disk is on fire")
    if kind == "memory":
        tf.zeros([2**20, 2**20, 2**6])
    return tiny_encoder()


REASONS = {
    "error": "OSError: the disk is on fire",
    "nan": "NonFiniteLossError: Not finite at step 2",
    "memory": "OOM when allocating tensor",
}


class TestFailures:
    @pytest.mark.long
    @pytest.mark.parametrize(
        "kinds",
        [
            ("error", "nan"),
            # TensorFlow waits ten seconds for memory to be freed.
            pytest.param(("memory",), marks=pytest.mark.slow),
        ],
        ids="-".join,
    )
    def test_the_study_goes_on(self, tmp_path, capsys, kinds):
        def space(hp, recipe):
            kind = hp.Choice("kind", ["fine", *kinds])
            return dataclasses.replace(recipe, base_learning_rate=1e30 if kind == "nan" else 1e-3)

        arms = {"simclr": program.arms()["simclr"]}
        arms["simclr"].encoder, arms["simclr"].space = build_failing, space
        count = len(kinds)
        results = studies.Study(tmp_path / "s", arms, trials=1 + count, seeds=1).run()
        failed = [row for row in rows_in(tmp_path / "s") if row["status"] == "failed"]
        assert results.arms["simclr"].failed == count
        assert sorted(row["kind"] for row in failed) == sorted(kinds)
        assert len(results.arms["simclr"].default) == 1
        ends = _ends(tmp_path / "s" / "tensorboard")
        assert ends.count("STATUS_FAILURE") == count and ends.count("STATUS_SUCCESS") == 2
        if "memory" in kinds:  # TensorBoard, which starts slowly, shows what the files say.
            with tensorboard_server(tmp_path / "s" / "tensorboard") as ask:
                _, _, groups = _hparams(ask)
            shown = [s["status"] for group in groups.values() for s in group["sessions"]]
            assert sorted(shown) == sorted(ends)
        said = capsys.readouterr().out
        report = studies.write_report(results, tmp_path, "t", "q", {}, "a").read_text()
        assert "Trials that failed" in report
        for row in failed:
            reason = REASONS[row["kind"]]
            assert reason in row["reason"] and reason in report
            assert re.search(rf"draw {row['draw']} \| FAILED, .*{reason}", said)

    @pytest.mark.long
    def test_an_arm_that_only_fails(self, tmp_path):
        arms = {name: arm for name, arm in program.arms().items() if name == "simclr"}
        arms["simclr"].encoder = lambda hp, shape: 1 / 0
        arms["simclr"].space = spaces.temperature
        with pytest.raises(ZeroDivisionError):  # It fails already when its space is read.
            studies.Study(tmp_path / "s", arms, trials=5, seeds=1)
        # It fails in trials only.
        arms["simclr"].encoder = lambda hp, shape: 1 / ("arm" not in hp.values)
        results = studies.Study(tmp_path / "s", arms, trials=5, seeds=1).run()
        assert len(results.rows) == 6 and {row["status"] for row in results.rows} == {"failed"}
        arm = results.arms["simclr"]
        assert arm.best_draw is None and len(arm.tuned) == 0 and np.isnan(arm.gain_error)
        assert "simclr" in studies.arms_table(results)

    @pytest.mark.long
    def test_a_trial_that_kills_the_process_is_given_up(self, tmp_path):
        arms = {"simclr": program.arms()["simclr"]}
        folder = tmp_path / "s"
        studies.Study(folder, arms, trials=1, seeds=1)
        # The state after a process died in the first trial three times.
        oracle = oracle_of(folder, arms, 1, 1)
        trial = oracle.create_trial("tuner0")
        starts = folder / "trials" / f"trial_{trial.trial_id}" / "starts"
        starts.write_text("." * MOST_STARTS)
        results = studies.Study(folder, arms, trials=1, seeds=1).run()
        statuses = [(row["status"], row["reason"]) for row in results.rows]
        assert statuses[0][0] == "failed" and "died 3 times in this trial" in statuses[0][1]
        assert statuses[1][0] == "completed"


def test_told_to_stop_it_ends_as_by_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit), starter.ends_when_told():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def run_program(folder, trials=3, seeds=2, finalists=2, **environment):
    counts = [str(trials), str(seeds), str(finalists)]
    command = [sys.executable, "-m", "tests.studies.program", str(folder), *counts]
    # One thread each, so that sums of floats are the same.
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **threads, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def start_workers(command, folder):
    """Starts a chief and two workers from a separate process."""
    code = (
        "import sys; from keras_ssl.studies import run_with_workers; "
        f"sys.exit(run_with_workers([sys.executable, *{command!r}], 2, {str(folder)!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def is_locked(path):
    with open(path) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


class TestStarter:
    """Its processes end when it ends, however it ends."""

    @pytest.mark.slow
    def test_a_killed_starter_leaves_no_orphans(self, tmp_path):
        sleeper = str(ROOT / "tests" / "studies" / "sleeper.py")
        process = start_workers([sleeper, starter.__file__, str(tmp_path)], tmp_path)
        alive = [tmp_path / name for name in ("chief", "worker-1", "worker-2")]
        try:
            wait_until(lambda: all(path.exists() for path in alive), "They have not started")
            assert all(map(is_locked, alive))
        finally:
            process.kill()
            process.communicate()
        wait_until(lambda: not any(map(is_locked, alive)), "They have not ended", 30)

    @pytest.mark.parametrize(
        ("command", "count", "error", "message"),
        [
            ("python x.py", 2, TypeError, "`command` must be a list.*python x.py"),
            ([], 2, ValueError, "`command` must name a program"),
            (["python"], 0, ValueError, "`count` must be a whole number"),
            (["python"], 1.5, ValueError, "`count` must be a whole number"),
        ],
        ids=["text", "empty", "none", "fraction"],
    )
    def test_bad_input(self, tmp_path, command, count, error, message):
        with pytest.raises(error, match=message):
            studies.run_with_workers(command, count, tmp_path / "s")
        assert not (tmp_path / "s").exists()

    def test_other_programs_are_left_alone(self, monkeypatch):
        """The variable may come from elsewhere, and its descriptor may not be an open pipe."""
        before = threading.active_count()
        for descriptor in (os.open(os.devnull, os.O_RDONLY), 10_000):
            monkeypatch.setenv("KERAS_SSL_STARTER", str(descriptor))
            starter.end_with_starter()
            assert "KERAS_SSL_STARTER" not in os.environ
        assert threading.active_count() == before


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of a study that one process ran without interruption."""
    folder = tmp_path_factory.mktemp("alone") / "study"
    process = run_program(folder)
    process.communicate(timeout=300)
    assert process.returncode == 0
    return folder


@pytest.mark.slow
class TestProcesses:
    def test_a_chief_and_two_workers_give_the_same_table(self, alone, tmp_path):
        folder = tmp_path / "shared"
        code = (
            "import sys; from keras_ssl.studies import run_with_workers; "
            f"sys.exit(run_with_workers([sys.executable, '-m', 'tests.studies.program', "
            f"'{folder}', '3', '2', '2'], 2, '{folder}'))"
        )
        process = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        )
        assert process.returncode == 0, process.stderr[-2000:]
        assert rows_in(folder) == rows_in(alone)
        # Both have worked.
        logs = [(folder / f"worker-{number}.log").is_file() for number in (1, 2)]
        assert all(logs)
        assert (folder / "best" / "simclr.json").is_file()

    @pytest.mark.parametrize("after", [0, 1, 4, 9])
    def test_killed_it_goes_on_and_ends_the_same(self, alone, tmp_path, after):
        folder = tmp_path / "killed"
        process = run_program(folder)
        for _ in range(after + 1):
            process.stdout.readline()  # "study: ...", then a line per trial.
        process.send_signal(signal.SIGKILL)
        process.communicate()
        before = rows_in(folder, without=()) if after else []
        again = run_program(folder)
        output, _ = again.communicate(timeout=300)
        assert again.returncode == 0
        assert rows_in(folder) == rows_in(alone)
        # Finished trials were not run again: their seconds are the same.
        after_all = rows_in(folder, without=())
        assert [r["seconds"] for r in after_all][: len(before)] == [r["seconds"] for r in before]
        assert output.count("\ntrial ") <= len(rows_in(alone)) - after

    def test_a_worker_that_is_killed_is_started_again(self, alone, tmp_path):
        folder = tmp_path / "shared"
        program_ = f"[sys.executable, '-m', 'tests.studies.program', '{folder}', '3', '2', '2']"
        code = (
            "import sys; from keras_ssl.studies import run_with_workers; "
            f"sys.exit(run_with_workers({program_}, 2, '{folder}'))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for line in process.stdout:
            if line.startswith("trial 3"):
                break
        find = ["pgrep", "-f", f"^{sys.executable} -m tests.studies.program {folder}"]
        pids = [int(pid) for pid in subprocess.run(find, capture_output=True).stdout.split()]
        names = {
            pid: dict(
                part.split("=", 1)
                for part in pathlib.Path(f"/proc/{pid}/environ").read_text().split("\0")
                if "=" in part
            )["KERASTUNER_TUNER_ID"]
            for pid in pids
        }
        os.kill(next(pid for pid, name in names.items() if name == "worker-1"), signal.SIGKILL)
        process.communicate(timeout=300)
        assert process.returncode == 0
        assert rows_in(folder) == rows_in(alone)

    def test_a_killed_starter_takes_chief_and_workers_with_it(self, alone, tmp_path):
        """The study goes on and ends the same, and no trial counts as the cause of the kill."""
        folder = tmp_path / "shared"
        command = ["-m", "tests.studies.program", str(folder), "3", "2", "2"]
        process = start_workers(command, folder)
        for line in process.stdout:
            if line.startswith("trial 3"):
                break
        process.kill()
        process.communicate()
        wait_until(lambda: not is_locked(folder / ".lock"), "The chief has not ended")
        find = ["pgrep", "-f", f"tests.studies.program {folder} "]
        wait_until(lambda: not subprocess.run(find, capture_output=True).stdout, "A worker is left")
        assert not list(folder.rglob("starts"))
        before = rows_in(folder, without=())
        again = run_program(folder)
        again.communicate(timeout=300)
        assert again.returncode == 0 and rows_in(folder) == rows_in(alone)
        seconds = {row["trial"]: row["seconds"] for row in rows_in(folder, without=())}
        assert all(seconds[row["trial"]] == row["seconds"] for row in before if row["seconds"])

    def test_memory_does_not_grow(self, tmp_path):
        """It does not grow over 30 trials, because each frees what the one before used."""
        process = run_program(tmp_path / "study", 13, 1, 1)
        process.communicate(timeout=600)
        rows = rows_in(tmp_path / "study", without=())
        memory = [float(row["memory_mib"]) for row in rows]
        assert len(memory) >= 28
        # A trial leaves nothing behind; the first ones may, because they warm up.
        assert np.median(memory[-5:]) - np.median(memory[5:10]) < 15

    def test_trials_on_several_replicas(self, tmp_path):
        """One and two devices find the same, in a study's trials and in keras-tuner's tuner."""
        found = []
        for replicas in (1, 2):
            process = subprocess.run(
                [
                    *(sys.executable, "-m", "tests.studies.strategy_program"),
                    *(str(tmp_path / str(replicas)), str(replicas)),
                ],
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=300,
            )
            assert process.returncode == 0, process.stderr[-2000:]
            found.append(json.loads(process.stdout.splitlines()[-1]))
        one, two = found
        assert one["replicas"] == [1] and two["replicas"] == [2]
        assert set(one["reasons"]) == set(two["reasons"]) == {""}
        for part in ("losses", "tuner"):
            np.testing.assert_allclose(one[part], two[part], rtol=1e-3)


def test_where_memory_cannot_be_asked_for(monkeypatch):
    """As on Windows."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert math.isnan(memory_mib())
