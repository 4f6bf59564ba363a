"""CSV files of paths, whose names come back as they were."""

import csv
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

from keras_ssl._files import whole

# How such files are opened. Names of files may hold bytes that are no characters.
TEXT: Any = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def write_table(path: pathlib.Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a CSV file, whole or not at all, row by row.

    Args:
        path: The file.
        columns: The names of the columns, its first line.
        rows: The other lines.
    """
    with whole(path) as partial, open(partial, "w", **TEXT) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)
