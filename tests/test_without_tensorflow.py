"""JAX alone: what the library does where TensorFlow is not installed."""

import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

from tests.wheels import build_wheel, run

PROGRAM = pathlib.Path(__file__).with_name("without_tensorflow.py")
PAGE = PROGRAM.parents[1] / "docs" / "backends.md"


def figures(python, folder, *words):
    """What the program says, started in a folder from where it sees no checkout."""
    folder.mkdir()
    done = subprocess.run(
        [str(python), str(PROGRAM), str(folder), *words],
        env={**os.environ, "KERAS_BACKEND": "jax"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.long
@pytest.mark.skipif(not importlib.util.find_spec("jax"), reason="JAX is not installed")
def test_it_trains_exactly_what_it_trains_with_tensorflow(tmp_path):
    without = figures(sys.executable, tmp_path / "without", "hide")
    assert without.pop("tensorflow") is False
    assert without == figures(sys.executable, tmp_path / "with")


@pytest.mark.slow
def test_an_environment_of_its_own(tmp_path):
    """The page's commands make it; there, every command of `keras-ssl` works."""
    commands = re.findall(r"^    pip install (.*)$", PAGE.read_text(encoding="utf-8"), re.M)
    own, others = (words.split() for words in commands)
    assert own == ["--no-deps", "."]
    run(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "-q", "--no-deps", build_wheel(tmp_path))
    run(python, "-m", "pip", "install", "-q", *others)
    installed = run(python, "-m", "pip", "list", "--format", "freeze")
    assert "tensorflow" not in installed and "jax" in installed
    found = figures(python, tmp_path / "figures", "commands")
    assert found.pop("tensorflow") is False
    assert found == figures(sys.executable, tmp_path / "with", "commands")
