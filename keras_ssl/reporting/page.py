"""The page: its sections in their order."""

import os
import pathlib
from collections.abc import Mapping, Sequence

from keras_ssl._files import LOCK, write_whole
from keras_ssl.inspection.events import Events, find_runs, read_events
from keras_ssl.reporting.curves import curves_section
from keras_ssl.reporting.diagnoses import diagnosis_section
from keras_ssl.reporting.markup import escape, image
from keras_ssl.reporting.tables import latest_section, options_section, results_section

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


def write_page(
    runs: Sequence[str | os.PathLike[str]], output: str | os.PathLike[str]
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
    """
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
        f"<h1>{escape(', '.join(events))}</h1>",
        diagnosis_section(events, folders),
        results_section(folders),
        latest_section(events),
        curves_section(events),
        *(_pictures(tag, title, events) for tag, title in _PICTURES.items()),
        options_section(events),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>keras_ssl: {escape(', '.join(events))}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(sections)}</body></html>"
    )
    output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(output, page)
    return output


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


def _pictures(tag: str, title: str, events: Mapping[str, Events]) -> str:
    """The first and the last picture of a tag, run by run."""
    cells = []
    for name, run in events.items():
        drawn = run.images.get(tag, [])
        # The views are drawn once and stay the same.
        chosen = drawn[-1:] if tag.startswith("views/") else drawn[:1] + drawn[1:][-1:]
        for step, picture in chosen:
            caption = name if tag.startswith("views/") else f"{name}, at {step}"
            cells.append(f"<div><h3>{escape(caption)}</h3>{image(picture, 'png', title)}</div>")
    return f'<h2>{title}</h2><div class="side">{"".join(cells)}</div>' if cells else ""
