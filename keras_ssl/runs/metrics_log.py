"""A CSV file of the figures of every epoch that survives a kill or a full disk."""

import contextlib
import csv
import io
import os
import pathlib
import warnings
from typing import Any

import keras

from keras_ssl._files import write_whole
from keras_ssl._validation import check_count
from keras_ssl.runs.folder import RunWarning

# Stands for a figure that an epoch does not have, as in Keras' own CSVLogger.
_NOTHING = "NA"


class MetricsLog(keras.callbacks.Callback):
    """Writes the logs of every epoch to a CSV file, with a row per epoch and a column per figure.

    Unlike `keras.callbacks.CSVLogger`, it writes the whole file again after every epoch. So a
    figure that the first epoch does not have gets its column too, and a kill, a deleted folder or a
    full disk costs one row at most. In a run that is resumed, it keeps the rows of earlier epochs
    that the file still has.

    Args:
        path: The file.
        first_epoch: Number of epochs that are done. Rows of later epochs are dropped, since these
            epochs are trained again.
    """

    def __init__(self, path: str | os.PathLike[str], first_epoch: int = 0) -> None:
        super().__init__()
        self.path = pathlib.Path(path)
        first_epoch = check_count("first_epoch", first_epoch) if first_epoch != 0 else 0
        rows = read_metrics(self.path) if first_epoch else []
        self.rows = [row for row in rows if int(row["epoch"]) < first_epoch]
        if len(self.rows) < first_epoch:
            warnings.warn(
                f"{self.path} has the figures of {len(self.rows)} of {first_epoch} finished "
                "epochs; the others are lost.",
                RunWarning,
                stacklevel=2,
            )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the file, and warns if that fails; the run goes on."""
        self.rows.append({"epoch": str(epoch), **{k: str(v) for k, v in (logs or {}).items()}})
        columns = sorted({name for row in self.rows for name in row} - {"epoch"})
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", *columns], _NOTHING, lineterminator="\n")
        table.writeheader()
        table.writerows(self.rows)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, text.getvalue())
        except OSError as error:
            warnings.warn(
                f"{self.path} could not be written; training goes on. "
                f"{type(error).__name__}: {error}",
                RunWarning,
                stacklevel=2,
            )


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Reads the whole rows of a file that `MetricsLog` wrote.

    Args:
        path: The file. A file that is missing or empty has no rows.

    Returns:
        The figures of each row by name, as text, without those that the epoch does not have. The
        text of "epoch" is a whole number.
    """
    rows: list[dict[str, str]] = []
    with contextlib.suppress(OSError, UnicodeDecodeError), open(path, newline="") as file:
        for row in csv.DictReader(file):
            is_whole = None not in row and None not in row.values()
            if is_whole and (row.get("epoch") or "").isdecimal():
                rows.append({name: text for name, text in row.items() if text not in ("", "NA")})
    return rows
