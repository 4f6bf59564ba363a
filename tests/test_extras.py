"""What the plain install lacks is named when it is asked for, and everything else works."""

import importlib.util
import subprocess
import sys

import pytest

from keras_ssl import data

# A program in which packages cannot be imported, as if they were not installed.
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({names}));"


def run(code, *names):
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(names=names) + code],
        capture_output=True,
        text=True,
        check=False,
    )


def test_tensorflow_datasets(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec",
        lambda name: None if name == "tensorflow_datasets" else find(name),
    )
    with pytest.raises(ValueError, match=r"a folder .*pip install .*Received: source='phtoos'"):
        data.load("phtoos")


@pytest.mark.long
@pytest.mark.parametrize("name", ["hypermodels", "studies"])
def test_keras_tuner(name):
    done = run(f"import keras_ssl; keras_ssl.{name}", "keras_tuner")
    assert done.returncode and "pip install keras-tuner" in done.stderr


@pytest.mark.long
def test_the_rest_needs_neither(tmp_path):
    arguments = ["pretrain", "digits", "--smoke", "--out", str(tmp_path / "run")]
    code = f"from keras_ssl import cli; sys.argv[1:] = {arguments}; cli.main()"
    done = run(code, "keras_tuner", "tensorflow_datasets")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "encoder.keras").is_file()
    assert "Tunes methods" in run("from keras_ssl import cli; cli.main()", "keras_tuner").stdout
    code = "from keras_ssl import cli; sys.argv[1:] = ['study', 'digits']; sys.exit(cli.main())"
    done = run(code, "keras_tuner")
    assert done.returncode == 2 and "error: Studies need keras-tuner" in done.stderr
