"""Runs the scripts beside this file as notebooks, and keeps each with its output.

    python examples/notebooks/execute.py                 # all of them
    PHOTOS=path/to/photos python examples/notebooks/execute.py photos

Each runs in an empty folder. What goes to the standard error, such as TensorFlow's greetings, is
left out; an error ends the program.
"""

import configparser
import os
import pathlib
import sys
import tempfile

import jupytext
import nbclient
import nbformat

HERE = pathlib.Path(__file__).parent
SCRIPTS = {path.stem: path for path in sorted(HERE.glob("*.py")) if path.stem != "execute"}
# The first cell of code, which is not in the scripts.
SETUP = """\
# Where the package is missing, as in Colab, it is installed first.
import importlib.util

if importlib.util.find_spec("keras_ssl") is None:
    %pip install -q "keras_ssl[studies] @ git+{address}"\
"""


def execute(script: pathlib.Path) -> nbformat.NotebookNode:
    """Runs a script in an empty folder, and returns it as a notebook with its output."""
    config = configparser.ConfigParser()
    config.read(HERE.parents[1] / "setup.cfg")
    notebook = jupytext.read(script)
    setup = nbformat.v4.new_code_cell(SETUP.format(address=config["metadata"]["url"]))
    notebook.cells.insert(1, setup)
    notebook.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    with tempfile.TemporaryDirectory() as folder:
        nbclient.NotebookClient(
            notebook,
            timeout=None,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        ).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = str(number)  # jupytext's are random: a new run would change every cell.
        cell.metadata.clear()  # The times of each cell.
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if "PHOTOS" in os.environ:  # The notebook runs elsewhere.
        os.environ["PHOTOS"] = os.path.abspath(os.environ["PHOTOS"])
    names = sys.argv[1:] or list(SCRIPTS)
    if strange := set(names) - set(SCRIPTS):
        sys.exit(f"error: there are {', '.join(SCRIPTS)}. Received: {', '.join(strange)}")
    for script in map(SCRIPTS.get, names):
        nbformat.write(execute(script), script.with_suffix(".ipynb"))
        print(script.with_suffix(".ipynb"))
