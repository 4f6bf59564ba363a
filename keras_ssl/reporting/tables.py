"""Figures as tables: the evaluation, the last values, the options."""

import contextlib
import pathlib
from collections.abc import Mapping

from keras_ssl._files import damaged, read_json
from keras_ssl.evaluation.figures import FIGURES
from keras_ssl.inspection.events import Events
from keras_ssl.reporting.curves import tags_of
from keras_ssl.reporting.markup import escape, number, table

_JUDGE_AGAIN = "Judge the encoder again (keras-ssl evaluate), or delete the file."


def results_section(folders: Mapping[str, pathlib.Path]) -> str:
    """The evaluation tables that keras-ssl pretrain leaves."""
    parts = []
    for name, folder in folders.items():
        file = folder / "results.json"
        if file.is_file():
            parts.append(f"<h3>{escape(name)}</h3>{_results_table(file)}")
    return f"<h2>Evaluation</h2>{''.join(parts)}" if parts else ""


def _results_table(file: pathlib.Path) -> str:
    try:
        rows = read_json(file, _JUDGE_AGAIN)
        for name, figures in rows.items():
            if not isinstance(figures, dict):
                raise damaged(file, _JUDGE_AGAIN, f"{name}: {figures!r}")
    except ValueError as error:
        return f'<div class="ill">{escape(str(error))}</div>'
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = {
        row: [number(figures.get(column)) for column in columns] for row, figures in rows.items()
    }
    heads = [f"{c} ({FIGURES[c].best})" if c in FIGURES else c for c in columns]
    return table(cells, heads, numbers=True)


def not_better(folders: Mapping[str, pathlib.Path]) -> tuple[str, ...]:
    """Names of the runs whose trained encoder has no better kNN than the untrained one."""
    names = []
    for name, folder in folders.items():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            results = read_json(folder / "results.json", _JUDGE_AGAIN)
            if results["trained"]["knn"] <= results["untrained"]["knn"]:
                names.append(name)
    return tuple(names)


def latest_section(events: Mapping[str, Events]) -> str:
    """The last value of every scalar."""
    tags = tags_of(events)
    rows = {
        tag: [
            number(run.scalars[tag][-1][1]) if tag in run.scalars else "–"
            for run in events.values()
        ]
        for tag in tags
    }
    values = table(rows, list(events), numbers=True)
    return f"<h2>Last values</h2><details><summary>{len(rows)} figures</summary>{values}</details>"


def options_section(events: Mapping[str, Events]) -> str:
    """The options of every run, side by side."""
    names = list(dict.fromkeys(name for run in events.values() for name in run.hparams))
    rows = {name: [run.hparams.get(name, "–") for run in events.values()] for name in sorted(names)}
    note = "<p>Options that differ are marked.</p>" if len(events) > 1 else ""
    return f"<h2>Options</h2>{note}{table(rows, list(events), numbers=False)}"
