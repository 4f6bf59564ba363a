"""`keras-ssl report`."""

import os
import pathlib
from collections.abc import Sequence

from keras_ssl import _log
from keras_ssl._text import plain


def report(
    runs: Sequence[str] | str | os.PathLike[str],
    output: str | os.PathLike[str] | None = None,
    *,
    smoke: bool = False,
    quiet: bool = False,
) -> pathlib.Path:
    """Writes one HTML page about a run, or several side by side, to keep and to send.

    The page contains its pictures and loads nothing.

    Examples:
        keras-ssl report runs/RUN
        keras-ssl report runs/ONE runs/ANOTHER --output comparison.html

    Args:
        runs: Folders of runs, or any folders with TensorBoard events of an `EmbeddingInspector`.
        output: The page to write. Default: report.html in the run's folder; for several runs, in
            the current one.
        smoke: Changes nothing: a report takes seconds.
        quiet: Say nothing but warnings.

    Returns:
        The path of the page.

    Raises:
        ValueError: if a folder holds no run, or its files are damaged.
    """
    from keras_ssl.reporting.page import write_page

    folders = [runs] if isinstance(runs, (str, os.PathLike)) else list(runs)
    if output is None:
        output = pathlib.Path(folders[0]) / "report.html" if len(folders) == 1 else "report.html"
    with _log.shown(quiet):
        path = write_page(folders, output)
        _log.say(f"Written to {plain(path)}")
        return path
