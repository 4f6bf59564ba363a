"""The wheel, installed in an empty environment outside the checkout, is the whole product."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


def run(*command, **kwargs):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **kwargs
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def interpreter(version):
    """The path of a Python of this version, or `None`."""
    for name in (f"python{version}", sys.executable):
        path = shutil.which(name)
        if path is None:
            continue
        code = "import sys; print(sys.executable, '%d.%d' % sys.version_info[:2])"
        done = subprocess.run([path, "-c", code], capture_output=True, text=True, check=False)
        if done.returncode == 0 and done.stdout.split()[-1:] == [version]:
            return done.stdout.split()[0]
    return None


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    names = [name for name in ("keras_ssl", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")]
    copy.mkdir()
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy / name)
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, copy)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_is_the_whole_product(wheel, version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    run(python, "-m", "venv", tmp_path / "venv")
    program = tmp_path / "venv" / "bin" / "keras-ssl"
    run(tmp_path / "venv" / "bin" / "python", "-m", "pip", "install", "-q", wheel)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def keras_ssl(*words):
        return run(program, *words, cwd=tmp_path, env=environment)

    assert "The encoder" in keras_ssl("pretrain", "digits", "--smoke", "--out", "run")
    assert "trained" in keras_ssl("evaluate", "run", "digits", "--smoke")
    keras_ssl("embed", "run", "digits", "--out", "features.npz", "--smoke")
    keras_ssl("neighbors", "run", "digits", "--out", "neighbors", "--smoke")
    keras_ssl("export", "run", "exported", "--smoke")
    keras_ssl("report", "run")
    for path in ("features.npz", "neighbors/gallery.png", "exported", "run/report.html"):
        assert (tmp_path / path).exists()
