"""The folders of trials: what a trial leaves there, and how it is read again."""

import dataclasses
import json
import math
import pathlib
import shutil
import warnings
from collections.abc import Container
from typing import Any

import keras_tuner

from keras_ssl._files import DamagedFileError, damaged, read_json, write_whole
from keras_ssl.studies.plan import LOST, Step

# Keras-tuner's names of what has ended.
FINISHED = ("COMPLETED", "FAILED")

# In the folder of a trial: why the trial failed, written by the process that ran it.
REASON = "reason.txt"
# One byte for each process that started the trial and died in it.
STARTS = "starts"
_TRIAL = "trial.json"
# A damaged trial.json is kept under this name.
_ASIDE = "trial.json.damaged"


def step_of(trial: Any) -> Step:
    """The step of the plan that a trial is."""
    return Step.of(trial.hyperparameters.values)


def trial_folders(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The folders of trials by number, in order. Copies with other names are passed over."""
    numbers = {path: path.name.removeprefix("trial_") for path in folder.glob("trial_*")}
    found = {
        int(number): path
        for path, number in numbers.items()
        if number.isdecimal() and (path / _TRIAL).exists()
    }
    return dict(sorted(found.items()))


def write_trial(trial: Any, folder: pathlib.Path) -> None:
    """Writes a trial to its folder, whole or not at all."""
    write_whole(folder / _TRIAL, json.dumps(trial.get_state()))


def read_trial(folder: pathlib.Path, arms: Container[str], objective: str) -> Any:
    """The trial of a folder.

    If its file is damaged, the file is kept under another name, with a warning, and a failed trial
    of the stage "lost" takes the number.

    Args:
        folder: The trial's folder.
        arms: Names of the study's arms.
        objective: Name of the figure that every completed trial has.

    Raises:
        ValueError: if the file cannot be read; it may be intact.
    """
    try:
        return _read(folder, arms, objective)
    except DamagedFileError as error:
        warnings.warn(str(error), stacklevel=2)
        shutil.copy2(folder / _TRIAL, folder / _ASIDE)
        hyperparameters = keras_tuner.HyperParameters()
        hyperparameters.values = dataclasses.asdict(Step("", LOST, 0, 0))
        trial = keras_tuner.engine.trial.Trial(hyperparameters, _number(folder), "FAILED")
        trial.message = str(error)
        write_trial(trial, folder)
        return trial


def _read(folder: pathlib.Path, arms: Container[str], objective: str) -> Any:
    remedy = f"The trial is run again under a new number, and the file is kept as {_ASIDE}."
    path = folder / _TRIAL
    state = read_json(path, remedy)
    try:
        trial = keras_tuner.engine.trial.Trial.from_state(state)
        step = step_of(trial)
        is_completed = trial.status == "COMPLETED"
        is_whole = (
            trial.trial_id == _number(folder)
            and (step.arm in arms or step.stage == LOST)
            and trial.status in (*FINISHED, "RUNNING", "INVALID")
            and not (is_completed and math.isnan(float(trial.score)))
            and not (is_completed and not trial.metrics.exists(objective))
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(path, remedy, repr(error)) from error
    if not is_whole:
        raise damaged(path, remedy, "a trial that is not whole, or not of this study")
    return trial


def _number(folder: pathlib.Path) -> str:
    return folder.name.removeprefix("trial_")
