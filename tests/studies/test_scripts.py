"""The scripts under tuning/, shrunk to seconds, as a user would run them."""

import dataclasses
import importlib
import itertools
import json
import pathlib
import re
import sys

import keras_tuner
import numpy as np
import pytest
from PIL import Image

from keras_ssl import data, encoders, hypermodels, recipes, studies
from keras_ssl.studies import tuner
from tests.conftest import tiny_encoder

ROOT = pathlib.Path(__file__).parents[2]
# For each script: enough methods to see it run, and its own picture.
SCRIPTS = {
    "embedding_dimension": (["simclr"], "dimensions.png"),
    "tuning_gap": (["barlow-twins", "tcr"], None),
    "projector": (["vicreg"], None),
    "interpolation": (["vicreg", "simclr"], "path.png"),
    "normalization": ([], None),
}


@pytest.fixture
def script(monkeypatch):
    """Loads a script by name as a module, with an encoder that is quick to trace."""
    monkeypatch.syspath_prepend(str(ROOT / "tuning"))
    monkeypatch.setitem(encoders.ENCODERS, "resnet8", lambda shape: tiny_encoder())
    yield importlib.import_module
    for name in ("command_line", *SCRIPTS):
        sys.modules.pop(name, None)


def run(module, folder, *arguments):
    module.main(module.__doc__, module.ASK, ["--smoke", "--folder", str(folder), *arguments])


def run_trial_without_training(self, trial, **kwargs):
    """Makes up figures, after checking that the settings make a recipe."""
    values = trial.hyperparameters.values
    arm = self.hypermodel.arms[values["arm"]]
    arm.trial_recipe(trial.hyperparameters)
    rng = np.random.RandomState(int(trial.trial_id))
    names = ["val_knn", "val_linear", "seconds", *(["L_c", "L_nc"] if arm.measure else [])]
    names += ["test_knn", "test_linear"] if values["stage"] == "final" else []
    return {name: rng.uniform(0.5, 1.0) for name in names}


@pytest.mark.long
@pytest.mark.parametrize(
    "is_trained", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["quick", "trained"]
)
@pytest.mark.parametrize("name", SCRIPTS)
def test_every_script_answers(script, name, is_trained, tmp_path, monkeypatch, capsys):
    if not is_trained:
        monkeypatch.setattr(tuner.StudyTuner, "run_trial", run_trial_without_training)
    methods, picture = SCRIPTS[name]
    module = script(name)
    run(module, tmp_path, *(["--methods", *methods] if methods else []))
    assert "Written to" in capsys.readouterr().out
    report = (tmp_path / "report.md").read_text()
    answer = report.partition("**Answer.** ")[2].partition("\n")[0]
    assert any(character.isdigit() for character in answer) and "nan" not in answer
    setup = report.partition("## Setup")[2]
    assert "to choose by" in setup and "2 draws per arm, of which the first" in setup
    assert re.search(r"for comparison: raw pixels kNN \d+\.\d, linear \d+\.\d; the untr", setup)
    for file in ("trials.csv", "arms.png", "search.png", picture or "study.json"):
        assert (tmp_path / file).is_file()
    assert list((tmp_path / "best").glob("*.json"))
    text = module.__doc__
    for part in ("Question:", "Space:", "Objective:", "Budget:", "Answer:"):
        assert f"\n{part} " in text


@pytest.mark.long
@pytest.mark.parametrize(
    "name",
    [
        "interpolation",
        "tuning_gap",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("embedding_dimension", "projector")),
    ],
)
def test_a_method_of_the_users_own(script, name, tmp_path, monkeypatch):
    """With `--import` and `--methods`, it is an arm like ours."""
    monkeypatch.setattr(tuner.StudyTuner, "run_trial", run_trial_without_training)
    module = script(name)
    methods = ["simclr", "stranger>Uniformity"]
    run(module, tmp_path, "--import", "tests.stranger", "--methods", *methods)
    report = (tmp_path / "report.md").read_text()
    answer = report.partition("**Answer.** ")[2].partition("\n")[0]
    assert name == "tuning_gap" or "stranger>Uniformity" in answer
    contents = [json.loads(file.read_text()) for file in (tmp_path / "best").glob("*.json")]
    found = [recipes.Recipe.from_config(content["recipe"]) for content in contents]
    assert {recipe.model.__name__ for recipe in found} == {"SimCLR", "Uniformity"}
    assert (tmp_path / "trials.csv").read_text().count("stranger>Uniformity")


@pytest.mark.long
def test_transfer_stands_beside_what_needs_no_training(script, tmp_path, monkeypatch):
    monkeypatch.setattr(tuner.StudyTuner, "run_trial", run_trial_without_training)
    rng = np.random.RandomState(0)
    for split, name in itertools.product(("train", "test"), ("hats", "shoes")):
        folder = tmp_path / "others" / split / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.fromarray(rng.randint(0, 256, (8, 8), "uint8")).save(folder / f"{i}.png")
    run(script("normalization"), tmp_path / "study", "--transfer", str(tmp_path / "others"))
    setup = (tmp_path / "study" / "report.md").read_text().partition("## Setup")[2]
    assert re.search(r"kNN on --transfer: raw pixels \d+\.\d, the untrained encoder \d", setup)


def test_a_module_that_is_not_there(script, tmp_path):
    with pytest.raises(SystemExit, match="error: --import must be the name of a module"):
        run(script("tuning_gap"), tmp_path, "--import", "nowhere_to_be_found")


def test_energies_along_the_path(script, images):
    """They are those of Definition 3.2, of unit embeddings of the validation images."""
    held = data.hold_out(data.Splits(images, None))
    recipe = dataclasses.replace(recipes.SMALL["vicreg"], batch_size=8)
    arm = hypermodels.PretrainingHyperModel(recipe, held, encoder="resnet8")
    model = arm.build(keras_tuner.HyperParameters())
    found = script("interpolation").energies(model, held)
    pixels, _ = next(iter(held.validation.batches(len(held.validation))))
    k = model.projector(model.encoder(pixels, training=False), training=False).numpy()
    k /= np.linalg.norm(k, axis=1, keepdims=True)
    for name, products in {"L_c": k @ k.T, "L_nc": k.T @ k}.items():
        off_diagonal = products - np.diag(np.diag(products))
        assert found[name] == pytest.approx((off_diagonal**2).sum() / len(k), rel=1e-4)


@pytest.mark.slow
def test_images_without_labels(script, tmp_path):
    """Without labels, RankMe chooses."""
    pixels = np.random.RandomState(0).randint(0, 255, (120, 8, 8), "uint8")
    np.savez(tmp_path / "photos.npz", images=pixels)
    module = script("normalization")
    run(
        module,
        tmp_path / "results",
        *("--dataset", "photos.npz", "--data-dir", str(tmp_path), "--score", "rankme"),
    )
    report = (tmp_path / "results" / "report.md").read_text()
    assert "RankMe, validation images (there are no test images" in report


def test_bad_options(script, tmp_path):
    module = script("tuning_gap")
    with pytest.raises(SystemExit, match="--methods must be some of .*simclr.*Received: .'dino'"):
        run(module, tmp_path / "a", "--methods", "dino")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "photo.jpg").write_text("")
    with pytest.raises(SystemExit, match=r"error: .*has no study.json"):
        run(module, tmp_path / "b", "--methods", "simclr")
    with pytest.raises(SystemExit, match="error: .*no such|error: `source` must"):
        run(module, tmp_path / "c", "--dataset", "nowhere.npz")


def test_workers_are_started(script, tmp_path, monkeypatch):
    """The script starts the requested number with its own command line."""
    module, calls = script("normalization"), []

    def run_with_workers(command, count, folder):
        calls.append((command[2:], count, str(folder)))
        return 7

    monkeypatch.setattr(studies, "run_with_workers", run_with_workers)
    arguments = ["--smoke", "--workers", "2", "--folder", str(tmp_path / "s")]
    monkeypatch.setattr(sys, "argv", ["normalization.py", *arguments])
    with pytest.raises(SystemExit) as end:
        module.main(module.__doc__, module.ASK)
    assert end.value.code == 7 and calls == [(arguments, 2, str(tmp_path / "s"))]


@pytest.mark.slow
def test_the_readmes_question_runs(tmp_path, monkeypatch, capsys):
    """The script runs as it is, with fewer and shorter trials."""
    text = (ROOT / "tuning" / "README.md").read_text()
    code, space, _ = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(code.splitlines()) <= 22
    for long, short in (("epochs=20", "epochs=1"), ("trials=6, seeds=3", "trials=1, seeds=1")):
        assert long in code
        code = code.replace(long, short)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(encoders.ENCODERS, "resnet8", lambda shape: tiny_encoder())
    names = {}
    exec(code, names)
    exec(space, names)
    recipe = names["batch_size"](keras_tuner.HyperParameters(), recipes.SMALL["simclr"])
    assert recipe == recipes.SMALL["simclr"]
    assert "| projector 512-512-64" in capsys.readouterr().out
    assert (tmp_path / "runs" / "my_question" / "report.md").is_file()
