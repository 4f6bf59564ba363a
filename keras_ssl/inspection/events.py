"""Reads what a run wrote for TensorBoard."""

import dataclasses
import json
import os
import pathlib
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util.tensor_util import make_ndarray

from keras_ssl._files import LOCK
from keras_ssl.inspection.event_log import figure_name
from keras_ssl.inspection.summaries import RECORDS

_EVERYTHING = {"tensors": 0}
_SESSION_START = "_hparams_/session_start_info"


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
    files = sorted(pathlib.Path(folder).rglob("events.out.tfevents.*"))
    files = [file for file in files if file.is_file()]
    if not files:
        raise ValueError(f"`folder` holds no TensorBoard events. Received: folder={str(folder)!r}")
    parts = list(dict.fromkeys(file.parent for file in files))
    return [part for part in parts if (part / LOCK).exists()] or parts


def read_events(folder: str | os.PathLike[str]) -> Events:
    """Reads the event files of one run, but skips a last record that a killed run left unfinished.

    If a run was interrupted and went on, the later one counts of a step that was done twice.

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
    scalars: dict[str, dict[int, float]] = {}
    images: dict[str, dict[int, bytes]] = {}
    texts: dict[str, dict[int, str]] = {}
    records: dict[str, dict[int, Any]] = {}
    hparams: dict[str, str] = {}
    for part in parts:
        accumulator = EventAccumulator(str(part), _EVERYTHING)
        accumulator.Reload()
        for tag in accumulator.Tags()["tensors"]:
            metadata = accumulator.SummaryMetadata(tag)
            plugin, name = metadata.plugin_data.plugin_name, figure_name(tag)
            for event in accumulator.Tensors(tag):
                if plugin == "scalars":
                    value = float(make_ndarray(event.tensor_proto))
                    scalars.setdefault(name, {})[event.step] = value
                elif plugin == "images":  # width, height, and the pictures
                    images.setdefault(name, {})[event.step] = event.tensor_proto.string_val[2]
                elif plugin == "text":
                    text = event.tensor_proto.string_val[0].decode(errors="replace")
                    texts.setdefault(name, {})[event.step] = text
                elif plugin == RECORDS:
                    content = json.loads(event.tensor_proto.string_val[0])
                    records.setdefault(name, {})[event.step] = content
        if _SESSION_START in accumulator.Tags()["tensors"]:
            content = accumulator.SummaryMetadata(_SESSION_START).plugin_data.content
            start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
            for option, value in start.hparams.items():
                hparams[option] = str(getattr(value, value.WhichOneof("kind") or "string_value"))
    return Events(
        {tag: sorted(values.items()) for tag, values in scalars.items()},
        {tag: sorted(values.items()) for tag, values in images.items()},
        {tag: sorted(values.items()) for tag, values in texts.items()},
        # Sorted by step alone: dictionaries have no order.
        {tag: [(step, values[step]) for step in sorted(values)] for tag, values in records.items()},
        dict(sorted(hparams.items())),
    )
