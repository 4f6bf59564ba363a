"""The command line: every function of `keras_ssl.commands`, as a person would type it."""

import inspect
import re
import subprocess
import sys

import pytest

import keras_ssl
from keras_ssl import cli
from keras_ssl.callbacks import NonFiniteLossError

RUN = [sys.executable, "-m", "keras_ssl"]


def end(*words):
    """The status of a command line."""
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return ended.value.code


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_names_every_option_with_a_text(name, capsys):
    assert end(name, "--help") == 0
    text = capsys.readouterr().out
    function = cli.command(name)
    assert {"smoke", "quiet"} <= set(inspect.signature(function).parameters)
    grouped = {option for options in cli.GROUPS.values() for option in options}
    for option in inspect.signature(function).parameters:
        assert f"--{option.replace('_', '-')}" in text
        entry = re.search(rf"^        {option}: (.+)$", function.__doc__, re.M)
        assert entry, f"{name}'s docstring has no entry for {option}"
    assert grouped & set(inspect.signature(function).parameters)
    assert f"For example:\n    keras-ssl {name}" in text


def test_each_command_is_a_function_of_the_package():
    for name in cli.COMMANDS:
        assert callable(getattr(keras_ssl, name)) and name in keras_ssl.__all__


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pretrain nowhere", "`source`|--source must be .*'nowhere'"),
        ("pretrain --epochs many", "--epochs"),
        ("pretrain --epochs 1.5", "must be a whole number, and not '1.5'"),
        ("pretrain --epoch 3", "--epoch"),
        ("pretrain --budget soon", "--budget must be a time such as 90s.*'soon'"),
        ("pretrain --resume nowhere", "nowhere does not exist"),
        ("evaluate nowhere.keras digits", "--encoder must be .*nowhere.keras"),
        ("embed nowhere.keras photos", "--encoder must be .*nowhere.keras"),
        ("neighbors nowhere.npz", "nowhere.npz"),
        ("finetune nowhere digits", "--encoder must be .*nowhere"),
        ("export nowhere out", "--encoder must be .*nowhere"),
        ("report nowhere", "nowhere"),
        ("study nowhere", "nowhere"),
        ("study --methods simclear", "--methods must be some of .*simclear"),
        ("pretend", "pretend"),
        ("pretrain --import nowhere_to_be_found", "--import must be the name of a module"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert end(*words.split()) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert re.search(message, said), said
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (OSError(28, "No space left on device"), 1),
        (NonFiniteLossError("NaN"), 1),
        (ValueError("x"), 2),
        (NotADirectoryError(20, "Not a directory"), 2),
    ],
)
def test_what_the_world_did_has_another_status_than_bad_input(error, status, monkeypatch, capsys):
    def fail(words):
        raise error

    monkeypatch.setattr(cli, "call", fail)
    assert end("embed", "encoder.keras", "photos") == status
    assert capsys.readouterr().err.startswith("error: ")


def test_errors_of_a_folder_name_the_option(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert end("study", "digits", "--smoke", "--out", str(tmp_path / "file")) == 2
    assert "--out must be a folder" in capsys.readouterr().err


@pytest.mark.long
def test_a_program_that_says_only_what_it_should():
    """TensorFlow's start-up lines are hidden, and `python -m keras_ssl` is the program."""
    done = subprocess.run([*RUN, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == keras_ssl.__version__
