"""The notebooks are what their scripts are, and the scripts run."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

SCRIPTS = pathlib.Path(__file__).parents[1] / "examples" / "notebooks"
NAMES = ("photos", "duality", "study", "extend")


def _cells(script):
    """Returns the cells of a script in percent format: pairs of a type and a text."""
    parts = re.split(r"(?m)^# %%( \[markdown\])?\n", script)[1:]
    for kind, text in zip(parts[::2], parts[1::2], strict=True):
        if kind:
            yield "markdown", re.sub(r"(?m)^# ?", "", text).strip()
        else:
            yield "code", text.strip()


def test_all_scripts_are_known():
    assert {path.stem for path in SCRIPTS.glob("*.py")} == {*NAMES, "execute"}


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_its_script_with_output(name):
    """`make notebooks` makes them."""
    notebook = json.loads((SCRIPTS / f"{name}.ipynb").read_text())
    cells = [(cell["cell_type"], "".join(cell["source"]).strip()) for cell in notebook["cells"]]
    kind, setup = cells.pop(1)
    assert kind == "code" and "%pip install" in setup
    assert cells == list(_cells((SCRIPTS / f"{name}.py").read_text()))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert outputs and not any(output["output_type"] == "error" for output in outputs)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_script_runs(name, tmp_path):
    if name == "study":
        pytest.importorskip("IPython")
    random = np.random.RandomState(0)
    (tmp_path / "photos").mkdir()
    for i in range(64):
        pixels = random.randint(0, 256, (40, 48, 3)).astype("uint8")
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{i}.png")
    subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py"],
        cwd=tmp_path,
        env={
            **os.environ,
            "MPLBACKEND": "Agg",
            "PHOTOS": str(tmp_path / "photos"),
            "BUDGET": "20s",
        },
        check=True,
    )
