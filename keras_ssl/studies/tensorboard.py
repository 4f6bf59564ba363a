"""Every trial as a run in TensorBoard, with its HParams under readable names."""

import functools
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import keras
import keras_tuner
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams_api

from keras_ssl.evaluation.figures import FIGURES
from keras_ssl.inspection import EventLog, summaries
from keras_ssl.studies.plan import ARM, CONFIRM, DRAW, FINAL, SEARCH, SEED, STAGE, file_name

# The section of a figure's tag.
_SPLITS = {"val": "validation", "test": "test"}


def figure_tag(name: str) -> str:
    """The tag of a figure: `val_knn` is "validation/kNN"."""
    split, _, figure = name.partition("_")
    if split in _SPLITS and figure in FIGURES:
        return f"{_SPLITS[split]}/{FIGURES[figure].label}"
    if name in ("seconds", "memory_mib"):
        return f"trial/{name}"
    return f"figures/{name}"


def write_columns(
    log_dir: pathlib.Path,
    spaces: Mapping[str, keras_tuner.HyperParameters],
    figures: list[str],
) -> None:
    """Writes the columns of the HParams tab, for the whole study and for each arm.

    TensorBoard's parallel coordinates leave out trials that have no value in one of the columns. So
    `log_dir`, which holds all arms, has the settings that all arms have; the folder of an arm, to
    which TensorBoard can be pointed as well, has all settings of the arm.

    Args:
        log_dir: Folder of all runs.
        spaces: Hyperparameters by arm.
        figures: Names of the figures that are shown as metrics, such as `val_knn`.
    """
    metrics = [
        hparams_api.Metric(figure_tag(name), display_name=figure_tag(name).replace("/", " "))
        for name in figures
    ]
    parameters = {arm: {p.name: p for p in space.space} for arm, space in spaces.items()}
    common = set.intersection(*(set(own) for own in parameters.values()))
    stage = hparams_api.HParam(STAGE, hparams_api.Discrete(sorted([SEARCH, CONFIRM, FINAL])))
    # TensorBoard uses the first description that it finds: a folder's own comes before those below.
    whole = [hparams_api.HParam(ARM, hparams_api.Discrete(sorted(spaces))), stage]
    for name in next(iter(parameters.values())):
        if name in common:
            same = [own[name] for own in parameters.values()]
            whole.append(hparams_api.HParam(name, _domain(same)))
    _describe(log_dir, whole, metrics)
    for arm, own in parameters.items():
        columns = [hparams_api.HParam(name, _domain([p])) for name, p in own.items()]
        _describe(arm_folder(log_dir, arm), [stage, *columns], metrics)


def _describe(folder: pathlib.Path, columns: list[Any], metrics: list[Any]) -> None:
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()  # An earlier process wrote it.
    log = EventLog(folder, run=".")
    log.write(0, lambda: hparams_api.hparams_config_pb(columns, metrics))
    log.close()


def arm_folder(log_dir: pathlib.Path, arm: str) -> pathlib.Path:
    """The folder of an arm's runs."""
    return log_dir / file_name(arm)


def _domain(parameters: list[Any]) -> Any:
    """The values that a setting may have in any arm; `None`, any, if their kinds differ."""
    if all(isinstance(p, keras_tuner.engine.hyperparameters.Choice) for p in parameters):
        values = {value for parameter in parameters for value in parameter.values}
        is_one_kind = len({type(value) for value in values}) == 1
        return hparams_api.Discrete(sorted(values)) if is_one_kind else None
    if all(isinstance(p, keras_tuner.engine.hyperparameters.Float) for p in parameters):
        low = min(parameter.min_value for parameter in parameters)
        return hparams_api.RealInterval(low, max(p.max_value for p in parameters))
    return None


def run_name(values: Mapping[str, Any]) -> str:
    """The name of a trial's run in its arm's folder; names sort as the trials do."""
    kind = "default" if values[DRAW] == 0 else f"draw {values[DRAW]:02}"
    return kind if values[STAGE] == SEARCH else f"{values[STAGE]}, {kind}, seed {values[SEED]}"


def _session_end(status: int) -> Any:
    """The summary of a trial's end, which TensorBoard itself makes only by TensorFlow."""
    info = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    content = plugin_data_pb2.HParamsPluginData(session_end_info=info)
    value = Summary.Value(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


class TrialLog(keras.callbacks.Callback):
    """Writes a trial's settings at the beginning, its logs at every epoch, its figures at the end.

    Args:
        log_dir: Folder of all runs.
        values: Values of the trial's hyperparameters.
    """

    def __init__(self, log_dir: pathlib.Path, values: Mapping[str, Any]) -> None:
        super().__init__()
        folder = arm_folder(log_dir, values[ARM])
        # After a kill the trial runs again: with the old events, its curves would go back in time.
        for old in (folder / run_name(values)).glob("events.out.tfevents.*"):
            old.unlink()
        self._log = EventLog(folder, run_name(values))
        self._epoch = 0
        self._logged: set[str] = set()
        shown = {name: value for name, value in values.items() if name not in (DRAW, SEED)}
        name = f"{values[ARM]}, {run_name(values)}"
        self._log.write(0, lambda: hparams_api.hparams_pb(shown, trial_id=name))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's logs."""
        self._epoch, self._logged = epoch + 1, set(logs or {})
        self._write({f"training/{name}": value for name, value in (logs or {}).items()})

    def finish(self, figures: Mapping[str, float], is_success: bool = True) -> None:
        """Writes the figures of the trial and closes the file."""
        # The last epoch's logs are there already.
        self._write({figure_tag(k): v for k, v in figures.items() if k not in self._logged})
        status = api_pb2.STATUS_SUCCESS if is_success else api_pb2.STATUS_FAILURE
        self._log.write(self._epoch, lambda: _session_end(status))
        self._log.close()

    def _write(self, figures: Mapping[str, float]) -> None:
        contents = {
            name: functools.partial(summaries.scalar, name, value)
            for name, value in figures.items()
        }
        self._log.write_each(self._epoch, contents)
