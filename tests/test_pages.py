"""Tests that the Python of the README and of pages runs as written, each page by itself.

docs/extending.md has tests of its own.
"""

import dataclasses
import pathlib
import re

import numpy as np
import pytest
import tensorflow as tf

from keras_ssl import encoders, models, recipes
from tests.conftest import tiny_encoder

pytestmark = pytest.mark.usefixtures("eagerly")
ROOT = pathlib.Path(__file__).parents[1]


def _block(page, part):
    """Returns the one block of Python on a page that has a part in it."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if part in block)
    return block


def _run(code):
    namespace = {}
    exec(code, namespace)
    return namespace


@pytest.fixture
def quick(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(encoders, "resnet8", lambda shape: tiny_encoder())


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_in_keras(capsys):
    code = _block("README.md", "model.fit")
    # One short epoch instead of twenty.
    _run(code.replace("= 20, 256", "= 1, 512").replace("warmup_epochs=2", "warmup_epochs=0"))
    assert "knn" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_inspected(tmp_path):
    code = _block("docs/inspection.md", "model.fit")
    namespace = _run(
        code.replace("epochs=100", "epochs=10").replace("batch_size=256", "batch_size=512")
    )
    assert list(tmp_path.glob("logs/train/events*"))
    assert namespace["doctor"].history == {}
    assert (tmp_path / "healthy.keras").is_file()


def test_a_method_of_your_own(views):
    namespace = _run(_block("docs/first_method.md", "class UniformityLoss"))
    model = namespace["Uniformity"](tiny_encoder())
    assert isinstance(model, models.JointEmbeddingModel)
    model = namespace["Uniformity"](tiny_encoder(), "8-6")
    model.compile("sgd", run_eagerly=True)
    history = model.fit(views, steps_per_epoch=3, verbose=0, shuffle=False).history
    assert np.isfinite(history["uniformity"][0])
    config = model.criterion.get_config()
    assert config["uniformity_weight"] == 1.0


@pytest.mark.parametrize("zeros", [0, 1, 2, 8])
def test_its_criterion_at_embeddings_of_length_zero(zeros):
    """The distance of 0 to a unit vector counts as sqrt(2), as that to another 0."""
    namespace = _run(_block("docs/first_method.md", "class UniformityLoss"))
    z = np.random.RandomState(0).normal(size=(8, 6)).astype("float32")
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    z[:zeros] = unit[:zeros] = 0
    kernel = np.exp(4 * unit @ unit.T - 4)
    expected = np.log(np.mean(kernel[~np.eye(8, dtype=bool)]))
    variable = tf.Variable(z)
    with tf.GradientTape() as tape:
        terms = namespace["UniformityLoss"]().terms(variable, variable)
    assert float(terms["uniformity"]) == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(tape.gradient(terms["uniformity"], variable)).all()


@pytest.mark.long
@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("page", "part"),
    [("docs/devices.md", "strategy.scope"), ("docs/backends.md", "make_batches")],
)
def test_on_devices(page, part):
    code = _block(page, part)
    assert "epochs=100" in code
    model = _run(code.replace("epochs=100", "epochs=1"))["model"]
    assert float(model.optimizer.iterations) == 5  # 1,437 images, 256 at a time.


def _run_all(page):
    """Runs all blocks of a page, in its order, as one program."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    return _run("\n".join(blocks))


@pytest.mark.long
@pytest.mark.usefixtures("quick")
def test_going_on():
    assert float(_run_all("docs/resuming.md")["model"].optimizer.iterations) == 25


@pytest.mark.long
def test_arrays():
    assert float(_run_all("docs/data.md")["model"].optimizer.iterations) == 2


def test_a_criterion_in_a_method_that_exists():
    names = _run_all("docs/first_method.md")
    assert np.isfinite(float(names["loss"]))
    assert isinstance(names["model"].criterion, names["UniformityLoss"])


def test_the_duality(capsys):
    _run(_block("docs/duality.md", "theorem_3_3"))
    assert abs(float(capsys.readouterr().out)) < 1e-8


@pytest.mark.slow
def test_tuned(tmp_path, monkeypatch):
    code = _block("tuning/README.md", "tuner.search")
    monkeypatch.chdir(tmp_path)
    # One short trial of a small network instead of twenty.
    monkeypatch.setitem(encoders.ENCODERS, "resnet8", lambda shape: tiny_encoder())
    short = dataclasses.replace(recipes.SMALL["simclr"], epochs=1)
    monkeypatch.setitem(recipes.SMALL, "simclr", short)
    assert "max_trials=20" in code
    namespace = _run(code.replace("max_trials=20", "max_trials=1"))
    (trial,) = namespace["tuner"].oracle.trials.values()
    assert trial.status == "COMPLETED" and 0.3 < trial.score <= 1


def test_a_loss_of_lightly_translated():
    namespace = _run(_block("docs/coming.md", "translate"))
    assert namespace["criterion"].invariance_weight == 10
    assert (namespace["scale"], namespace["offset"]) == (1, 0)


PAGES = [
    page
    for page in sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    if not page.parts[0].startswith((".venv", "runs", "site", "build"))
]


def test_every_page_with_python_is_run_by_a_test():
    tests = "".join(path.read_text() for path in sorted((ROOT / "tests").rglob("*.py")))
    for page in PAGES:
        if "```python" in (ROOT / page).read_text():
            assert f'"{page}"' in tests or '" / "'.join(page.parts) in tests, page


def _anchors(page):
    """Returns what links to the headings of a page end with."""
    headings = re.findall(r"(?m)^#+ (.*)$", (ROOT / page).read_text())
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_to_files_pictures_and_headings(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]*)\)", text):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / path if path else ROOT / page
        assert linked.exists(), target
        assert not anchor or anchor in _anchors(linked), target
