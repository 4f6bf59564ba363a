"""The wheel, installed in an empty environment outside the checkout, is the whole product."""

import shutil
import subprocess
import sys

import pytest

from tests.wheels import build_wheel, install, run

PYTHONS = ("3.11", "3.12", "3.13")


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
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.mark.slow
@pytest.mark.parametrize("version", PYTHONS)
def test_the_wheel_is_the_whole_product(wheel, version, tmp_path):
    python = interpreter(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    program = install(python, tmp_path / "venv", wheel) / "keras-ssl"

    def keras_ssl(*words):
        return run(program, *words, cwd=tmp_path)

    assert "The encoder" in keras_ssl("pretrain", "digits", "--smoke", "--out", "run")
    assert "trained" in keras_ssl("evaluate", "run", "digits", "--smoke")
    keras_ssl("embed", "run", "digits", "--out", "features.npz", "--smoke")
    keras_ssl("neighbors", "run", "digits", "--out", "neighbors", "--smoke")
    keras_ssl("export", "run", "exported", "--smoke")
    keras_ssl("report", "run")
    for path in ("features.npz", "neighbors/gallery.png", "exported", "run/report.html"):
        assert (tmp_path / path).exists()
