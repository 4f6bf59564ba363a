"""One HTML page about a run, or several side by side, to keep and to send.

    keras-ssl report RUN [RUN ...] [--output report.html]

A run is any folder with TensorBoard events of an `EmbeddingInspector`. The page shows options,
diagnosis, evaluation, curves, spectrum, matrices and views, and the results.json that
`keras-ssl pretrain` leaves beside the events. It contains its pictures and loads nothing.
"""

import base64
import contextlib
import html
import io
import math
import os
import pathlib
import sys
import types
from collections.abc import Mapping, Sequence
from typing import Any

from keras_ssl._files import LOCK, damaged, read_json, write_whole
from keras_ssl._text import drawing, legend, plain, short
from keras_ssl.inspection.diagnosis import RECORD, TEXT
from keras_ssl.inspection.events import Events, find_runs, read_events

__all__ = ["main", "report"]

_JUDGE_AGAIN = "Judge the encoder again (keras-ssl evaluate), or delete the file."

# The sections in the order in which they are shown; other sections follow.
_SECTIONS = {
    "training": "Training",
    "criterion": "Terms of the criterion, unweighted",
    "evaluation": "Evaluation",
    "rank": "Rank, on the fixed sample (the evaluation's RankMe is of the images that are judged)",
    "pairs": "Positive and negative pairs",
    "hypersphere": "Alignment and uniformity, on the fixed sample",
    "spread": "Spread",
    "gradient_share": "Share of the gradient at the embeddings, by term",
    "bounds": "Corollary 3.4.1",
    "duality": "L_c, L_nc and Theorem 3.3",
    "sample_terms": "Terms on the fixed sample, unweighted",
}
# Which direction of a figure is good. Of the last four, none could tell good encoders from bad ones
# by itself (docs/inspection.md).
_BEST = {
    "knn": "higher is better",
    "linear": "higher is better",
    "rankme": "higher uses more directions",
    "alpha_req": "1 is said to be best",
    "uniformity": "lower is more uniform",
    "lidar": "higher is said to be better",
}
# The figure to compare a figure with, which is drawn dotted beside it.
_REFERENCES = {
    "pairs/negative_variance": "pairs/negative_variance_uniform",
    "spread/std_of_unit_embeddings": "spread/std_uniform",
    "rank/embeddings": "rank/embeddings_highest",
}
_PICTURES = {
    "views/image_and_views": "Images and their views",
    "rank/spectrum": "Spectrum",
    "matrices/gram": "Gram matrices",
    "matrices/correlation": "Correlation matrices",
    "classes/pca_of_representations": "Classes",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1440px; margin: 2em auto; padding: 0 1em;
       color: #222; }
h1 { font-size: 1.7em; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
h3 { margin: 1.2em 0 .3em; font-size: 1em; }
table { border-collapse: collapse; margin: .5em 0; } td, th { padding: .25em .9em .25em 0;
       text-align: left; border-bottom: 1px solid #eee; vertical-align: top; }
td.figure { text-align: right; font-variant-numeric: tabular-nums; }
tr.differs td { background: #fff8e0; }
img { max-width: 100%; } .side { display: flex; flex-wrap: wrap; gap: 1.5em; }
.side > div { flex: 0 1 auto; max-width: 600px; }
.ill { background: #fdecea; border-left: 4px solid #c62828; padding: .5em 1em; margin: .5em 0; }
.healthy { background: #e8f5e9; border-left: 4px solid #2e7d32; padding: .5em 1em; }
/* On a phone, rows of curves and tables keep a size that can be read, and scroll. */
@media (max-width: 700px) { .curves, table { display: block; overflow-x: auto; }
       .curves img { max-width: 1100px; } }
"""


def report(
    runs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str] = "report.html"
) -> pathlib.Path:
    """Writes the page.

    Args:
        runs: Folders of runs, at least one.
        output: The HTML file to write.

    Returns:
        The file.

    Raises:
        OSError: where the file cannot be written.
        ValueError: if `runs` is empty, or holds a path that is not a folder or has no TensorBoard
            events.
        TypeError: for one folder that is not in a list.
    """
    if isinstance(runs, (str, os.PathLike)):
        raise TypeError(f"`runs` must be a list of folders. Received: runs={runs!r}")
    if not runs:
        raise ValueError("`runs` must name at least one folder. Received: none")
    output = pathlib.Path(output)
    if output.is_dir():
        raise ValueError(f"`output` must be a file. Received: the folder {str(output)!r}")
    # By run. A folder holds several runs if two wrote to it at once.
    folders: dict[str, pathlib.Path] = {}
    parts: dict[str, pathlib.Path] = {}
    for name, folder in _named(runs).items():
        found = find_runs(folder)
        if len(found) == 1 or not (found[0] / LOCK).exists():
            found = [folder]
        for part in found:
            several = f"/{part.relative_to(folder)}" if len(found) > 1 else ""
            folders[name + several], parts[name + several] = folder, part
    events = {name: read_events(part) for name, part in parts.items()}
    sections = [
        f"<h1>{_escape(', '.join(events))}</h1>",
        _diagnoses(events, _not_better(folders)),
        _results(folders),
        _latest(events),
        _curves(events),
        *(_pictures(tag, title, events) for tag, title in _PICTURES.items()),
        _options(events),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>keras_ssl: {_escape(', '.join(events))}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, page)
    return output


def _escape(text: str) -> str:
    return html.escape(plain(text))


def _named(runs: Sequence[str | os.PathLike[str]]) -> dict[str, pathlib.Path]:
    """Folders by the shortest ends of their paths that tell them apart."""
    folders = [pathlib.Path(run) for run in runs]
    for folder in folders:
        if not folder.is_dir():
            what = "not a folder" if folder.exists() else "nothing there"
            raise ValueError(f"`runs` must be folders. Received: {str(folder)!r}, {what}")
    paths = [folder.resolve().parts for folder in folders]
    if len(set(paths)) < len(paths):
        raise ValueError(f"`runs` must differ. Received: {[str(folder) for folder in folders]}")
    length = 1
    while len({path[-length:] for path in paths}) < len(paths):
        length += 1
    return {"/".join(path[-length:]): f for path, f in zip(paths, folders, strict=True)}


def _table(rows: Mapping[str, Sequence[str]], columns: Sequence[str], numbers: bool) -> str:
    kind = ' class="figure"' if numbers else ""
    head = "".join(f"<th>{_escape(column)}</th>" for column in columns)
    body = []
    for name, cells in rows.items():
        differs = ' class="differs"' if not numbers and len(set(cells)) > 1 else ""
        body.append(
            f"<tr{differs}><td>{_escape(name)}</td>"
            + "".join(f"<td{kind}>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    return f"<table><tr><th></th>{head}</tr>{''.join(body)}</table>"


def _not_better(folders: Mapping[str, pathlib.Path]) -> tuple[str, ...]:
    """Names of the runs whose trained encoder has no better kNN than the untrained one."""
    names = []
    for name, folder in folders.items():
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            results = read_json(folder / "results.json", _JUDGE_AGAIN)
            if results["trained"]["knn"] <= results["untrained"]["knn"]:
                names.append(name)
    return tuple(names)


def _diagnoses(events: Mapping[str, Events], not_better: tuple[str, ...]) -> str:
    parts = ["<h2>Diagnosis</h2>"]
    for name, run in events.items():
        parts.append(f"<h3>{_escape(name)}</h3>")
        if not run.scalars:
            parts.append(
                "<p>This run holds no figures: it ended before its first look, or its event files "
                "are damaged.</p>"
            )
        looks, texts = run.records.get(RECORD), run.texts.get(TEXT)
        if looks:
            parts.append(_illnesses(looks, name in not_better))
        elif texts:
            parts.append(_texts(texts))
        else:
            parts.append("<p>No CollapseDoctor took part in this run.</p>")
    return "".join(parts)


def _illnesses(
    looks: Sequence[tuple[int, Sequence[Mapping[str, Any]]]], is_not_better: bool
) -> str:
    """Every illness as it was first found."""
    first: dict[str, tuple[int, Mapping[str, Any]]] = {}
    for step, diagnoses in looks:
        for diagnosis in diagnoses:
            first.setdefault(diagnosis["name"], (step, diagnosis))
    if not first and is_not_better:
        return (
            f'<div class="ill">No illness at any of {len(looks)} looks, but the trained encoder '
            "has no better kNN than the untrained one: it learned nothing that tells these classes "
            "apart. Train longer, or try weaker augmentations.</div>"
        )
    if not first:
        return f'<div class="healthy">Healthy at all {len(looks)} looks.</div>'
    latest = {diagnosis["name"] for diagnosis in looks[-1][1]}
    return "".join(
        f'<div class="ill"><b>{_escape(name[0].upper() + name[1:])}.</b> (first seen at {step}'
        f"{'' if name in latest else ', later gone'}) "
        f"{_escape(diagnosis['finding'])} {_escape(diagnosis['remedy'])}</div>"
        for name, (step, diagnosis) in first.items()
    )


def _texts(texts: Sequence[tuple[int, str]]) -> str:
    """What the doctor wrote in a run before diagnoses were records: each text where it began."""
    first: dict[str, int] = {}
    for step, text in texts:
        first.setdefault(text, step)
    return "".join(f"<p>At {step}: {html.escape(text)}</p>" for text, step in first.items())


def _results(folders: Mapping[str, pathlib.Path]) -> str:
    """The evaluation tables that keras-ssl pretrain leaves."""
    parts = []
    for name, folder in folders.items():
        file = folder / "results.json"
        if file.is_file():
            parts.append(f"<h3>{_escape(name)}</h3>{_results_table(file)}")
    return f"<h2>Evaluation</h2>{''.join(parts)}" if parts else ""


def _results_table(file: pathlib.Path) -> str:
    try:
        rows = read_json(file, _JUDGE_AGAIN)
        for name, figures in rows.items():
            if not isinstance(figures, dict):
                raise damaged(file, _JUDGE_AGAIN, f"{name}: {figures!r}")
    except ValueError as error:
        return f'<div class="ill">{_escape(str(error))}</div>'
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    cells = {
        row: [_number(figures.get(column)) for column in columns] for row, figures in rows.items()
    }
    heads = [f"{column} ({_BEST[column]})" if column in _BEST else column for column in columns]
    return _table(cells, heads, numbers=True)


def _number(value: Any) -> str:
    """A figure as text. A file may hold anything in its place, which is shown as it is."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _latest(events: Mapping[str, Events]) -> str:
    """The last value of every scalar."""
    tags = _tags(events)
    rows = {
        tag: [
            _number(run.scalars[tag][-1][1]) if tag in run.scalars else "–"
            for run in events.values()
        ]
        for tag in tags
    }
    table = _table(rows, list(events), numbers=True)
    return f"<h2>Last values</h2><details><summary>{len(rows)} figures</summary>{table}</details>"


def _tags(events: Mapping[str, Events]) -> list[str]:
    """All scalars' tags, section by section."""
    tags = list(dict.fromkeys(tag for run in events.values() for tag in run.scalars))
    if any(tag.startswith("training/") for tag in tags):
        # Keras' own callback writes the same logs again, without sections.
        tags = [tag for tag in tags if not tag.startswith("epoch_")]
    order = list(_SECTIONS)

    def place(tag: str) -> tuple[int, str]:
        section = tag.partition("/")[0]
        return (order.index(section) if section in order else len(order), section)

    return sorted(tags, key=place)


@drawing()
def _curves(events: Mapping[str, Events]) -> str:
    from matplotlib.figure import Figure

    sections: dict[str, list[str]] = {}
    for tag in _tags(events):
        if tag not in _REFERENCES.values():
            sections.setdefault(tag.partition("/")[0], []).append(tag)
    parts = ["<h2>Curves</h2>"]
    for section, tags in sections.items():
        columns = 5
        rows = -(-len(tags) // columns)
        figure = Figure(figsize=(15, 2.6 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        curves: dict[str, Any] = {}
        for axis, tag in zip(axes.flat, tags, strict=False):
            curves |= _draw(axis, tag, events)
            # Ticks take most of the time: dozens of small panels have few, and a title at a fixed
            # height, which is not looked for between them.
            axis.minorticks_off()
            axis.locator_params("x", nbins=4)
            if axis.get_yscale() == "log":  # Plain numbers, for `drawing` shows no formulas.
                axis.yaxis.set_major_formatter("{x:g}")
            else:
                axis.locator_params("y", nbins=4)
        for axis in list(axes.flat)[len(tags) :]:
            axis.axis("off")
        if len(events) > 1:
            names = [name for name in events if name in curves]
            handles = [curves[name] for name in names]
            legend(figure, handles, names, loc="outside lower center", ncols=3, fontsize=8)
        title = _SECTIONS.get(section, section.replace("_", " "))
        picture = _image(_svg(figure), "svg+xml", title)
        parts.append(f'<h3>{_escape(title)}</h3><div class="curves">{picture}</div>')
    return "".join(parts)


def _draw(axis: Any, tag: str, events: Mapping[str, Events]) -> dict[str, Any]:
    """One panel; returns the line of each run."""
    lines, values = {}, []
    for i, (name, run) in enumerate(events.items()):
        points = run.scalars.get(tag, [])
        if points:
            (lines[name],) = axis.plot(
                *zip(*points, strict=True), ".-", markersize=4, color=f"C{i}"
            )
            values += [value for _, value in points]
        reference = run.scalars.get(_REFERENCES.get(tag, ""), [])
        if reference:
            axis.plot(*zip(*reference, strict=True), ":", color=f"C{i}")
    finite = [value for value in values if math.isfinite(value)]
    if finite and min(finite) > 0 and max(finite) > 10 * min(finite):
        axis.set_yscale("log")
    title = tag.partition("/")[2].replace("_", " ").replace("l nc", "L_nc").replace("l c", "L_c")
    if tag in _REFERENCES:
        title += f" (dotted: {_REFERENCES[tag].rpartition('_')[2]})"
    axis.set_title(short(title), fontsize=9, y=1)
    axis.tick_params(labelsize=8, which="both")
    axis.grid(alpha=0.3)
    return lines


def _svg(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def _image(content: bytes, kind: str, text: str) -> str:
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{_escape(text)}" src="data:image/{kind};base64,{encoded}">'


def _pictures(tag: str, title: str, events: Mapping[str, Events]) -> str:
    """The first and the last picture of a tag, run by run."""
    cells = []
    for name, run in events.items():
        drawn = run.images.get(tag, [])
        # The views are drawn once and stay the same.
        chosen = drawn[-1:] if tag.startswith("views/") else drawn[:1] + drawn[1:][-1:]
        for step, picture in chosen:
            caption = name if tag.startswith("views/") else f"{name}, at {step}"
            cells.append(f"<div><h3>{_escape(caption)}</h3>{_image(picture, 'png', title)}</div>")
    return f'<h2>{title}</h2><div class="side">{"".join(cells)}</div>' if cells else ""


def _options(events: Mapping[str, Events]) -> str:
    names = list(dict.fromkeys(name for run in events.values() for name in run.hparams))
    rows = {name: [run.hparams.get(name, "–") for run in events.values()] for name in sorted(names)}
    note = "<p>Options that differ are marked.</p>" if len(events) > 1 else ""
    return f"<h2>Options</h2>{note}{_table(rows, list(events), numbers=False)}"


class _Callable(types.ModuleType):
    """Makes `keras_ssl.report(...)` the command, although this module has the same name."""

    def __call__(self, *args: Any, **kwargs: Any) -> pathlib.Path:
        from keras_ssl.commands.report import report as command

        return command(*args, **kwargs)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs `keras-ssl report`, which `keras-ssl report` is an older name of."""
    from keras_ssl import cli

    cli.main(["report", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    main()
else:
    sys.modules[__name__].__class__ = _Callable
