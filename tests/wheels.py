"""Builds the wheel, and runs programs outside the checkout."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]


def run(*command, **kwargs):
    """Runs a program without the checkout in its path, and returns what it prints."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        list(map(str, command)),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        **kwargs,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def build_wheel(folder):
    """Builds the wheel from a copy of the sources, and returns its path."""
    copy = folder / "source"
    copy.mkdir()
    for name in ("keras_ssl", "setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, copy)
    (built,) = folder.glob("*.whl")
    return built


def install(python, folder, requirement):
    """Makes a virtual environment, installs a requirement, and returns the environment's `bin`."""
    run(python, "-m", "venv", folder)
    programs = folder / "bin"
    run(programs / "python", "-m", "pip", "install", "-q", requirement)
    return programs
