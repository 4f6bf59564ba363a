"""Reads what a run wrote for TensorBoard."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from keras_ssl._files import LOCK
from keras_ssl.inspection.event_log import figure_name
from keras_ssl.inspection.summaries import RECORDS

_FILES = "events.out.tfevents.*"
_EVERYTHING = {"tensors": 0}
_SESSION_START = "_hparams_/session_start_info"

# What is read of an event, by the plugin of TensorBoard that shows it.
_CONTENT: dict[str, Callable[[Any], Any]] = {
    "scalars": lambda tensor: float(make_ndarray(tensor)),
    "images": lambda tensor: tensor.string_val[2],  # after width and height: the first picture
    "text": lambda tensor: tensor.string_val[0].decode(errors="replace"),
    RECORDS: lambda tensor: json.loads(tensor.string_val[0]),
}
_Figures = dict[tuple[str, str], dict[int, Any]]  # by plugin and name, by step


@dataclasses.dataclass(frozen=True, repr=False)
class Events:
    """The events of a run, by name: `event_log.figure_name` of their TensorBoard tags.

    Args:
        scalars: By name, a list of (step, value), in order.
        images: By name, a list of (step, PNG).
        texts: By name, a list of (step, Markdown).
        records: By name, a list of (step, content of `summaries.record`).
        hparams: Options of the run.
    """

    scalars: dict[str, list[tuple[int, float]]]
    images: dict[str, list[tuple[int, bytes]]]
    texts: dict[str, list[tuple[int, str]]]
    records: dict[str, list[tuple[int, Any]]]
    hparams: dict[str, str]

    def __repr__(self) -> str:
        # Without the pictures' bytes.
        counts = {field.name: len(getattr(self, field.name)) for field in dataclasses.fields(self)}
        return f"<Events: {', '.join(f'{count} {name}' for name, count in counts.items())}>"


def find_runs(folder: str | os.PathLike[str]) -> list[pathlib.Path]:
    """Finds the folders of event files at or below a folder.

    If an inspector wrote any of them, only those are returned: Keras' own callback also writes to
    others (`validation`, a profile).

    Raises:
        ValueError: if there are no event files, or the folder's name is not in UTF-8.
    """
    try:
        os.fspath(folder).encode()
    except UnicodeEncodeError:
        raise ValueError(
            "`folder` must have a name in UTF-8: TensorBoard cannot read others. Rename it. "
            f"Received: folder={str(folder)!r}"
        ) from None
    files = sorted(pathlib.Path(folder).rglob(_FILES))
    files = [file for file in files if file.is_file()]
    if not files:
        raise ValueError(f"`folder` holds no TensorBoard events. Received: folder={str(folder)!r}")
    parts = list(dict.fromkeys(file.parent for file in files))
    return [part for part in parts if (part / LOCK).exists()] or parts


def read_events(folder: str | os.PathLike[str]) -> Events:
    """Reads the event files of one run, but skips a last record that a killed run left unfinished.

    What the run wrote last counts. If it was interrupted and went on, that is the later event of a
    step that was done twice. If it began again, as a second `fit` does that has the same `log_dir`,
    its earlier events are left out.

    Args:
        folder: The folder of a run, or the `log_dir` of its `EmbeddingInspector`.

    Raises:
        ValueError: if there are no event files, or those of several runs.
    """
    parts = find_runs(folder)
    if len(parts) > 1 and (parts[0] / LOCK).exists():
        raise ValueError(
            f"`folder` must hold one run. Received: folder={str(folder)!r}, with "
            f"{[str(part.relative_to(folder)) for part in parts]}"
        )
    merged: _Figures = {}
    hparams: dict[str, str] = {}
    for part in parts:
        files: list[_Figures] = []
        for path in sorted(path for path in part.glob(_FILES) if path.is_file()):
            accumulator = EventAccumulator(str(path), _EVERYTHING)
            accumulator.Reload()
            hparams.update(_hparams(accumulator))
            figures = _figures(accumulator)
            files = [*(_without_what_was_done_again(file, figures) for file in files), figures]
        for file in files:
            for key, values in file.items():
                merged.setdefault(key, {}).update(values)
    content: dict[str, dict[str, Any]] = {plugin: {} for plugin in _CONTENT}
    for (plugin, name), values in merged.items():
        content[plugin][name] = [(step, values[step]) for step in sorted(values)]
    return Events(
        content["scalars"],
        content["images"],
        content["text"],
        content[RECORDS],
        dict(sorted(hparams.items())),
    )


def _figures(accumulator: EventAccumulator) -> _Figures:
    """Returns the events of a file."""
    figures: _Figures = {}
    for tag in accumulator.Tags()["tensors"]:
        plugin = accumulator.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin in _CONTENT:
            values = figures.setdefault((plugin, figure_name(tag)), {})
            for event in accumulator.Tensors(tag):
                values[event.step] = _CONTENT[plugin](event.tensor_proto)
    return figures


def _without_what_was_done_again(earlier: _Figures, later: _Figures) -> _Figures:
    """Returns the events of an earlier file, up to the first step of a later one.

    All of them, if the files have no name in common: `keras.callbacks.TensorBoard` writes other
    names than the inspector, to a file of its own. The first step itself stays: a resumed run goes
    on there, and may not judge the encoder again.
    """
    if earlier.keys().isdisjoint(later):
        return earlier
    first = min(min(values) for values in later.values())
    return {
        name: kept
        for name, values in earlier.items()
        if (kept := {step: value for step, value in values.items() if step <= first})
    }


def _hparams(accumulator: EventAccumulator) -> dict[str, str]:
    """Returns the options in a file for the HParams tab."""
    if _SESSION_START not in accumulator.Tags()["tensors"]:
        return {}
    content = accumulator.SummaryMetadata(_SESSION_START).plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    return {
        option: str(getattr(value, value.WhichOneof("kind") or "string_value"))
        for option, value in start.hparams.items()
    }
