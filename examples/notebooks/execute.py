"""Runs the scripts beside this file as notebooks, and keeps each with its output.

    python examples/notebooks/execute.py                 # all of them
    PHOTOS=path/to/photos python examples/notebooks/execute.py photos

Each runs in an empty folder. What goes to the standard error, such as TensorFlow's greetings, is
left out; an error ends the program.
"""

import os
import pathlib
import sys
import tempfile

import jupytext
import nbclient
import nbformat

HERE = pathlib.Path(__file__).parent
SCRIPTS = sorted(path for path in HERE.glob("*.py") if path.name != pathlib.Path(__file__).name)


def execute(script: pathlib.Path) -> nbformat.NotebookNode:
    """Runs a script in an empty folder, and returns it as a notebook with its output."""
    notebook = jupytext.read(script)
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
    for script in SCRIPTS:
        if script.stem in (sys.argv[1:] or [script.stem for script in SCRIPTS]):
            nbformat.write(execute(script), script.with_suffix(".ipynb"))
            print(script.with_suffix(".ipynb"))
