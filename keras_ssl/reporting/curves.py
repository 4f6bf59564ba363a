"""The curves of all figures, section by section."""

import io
import math
from collections.abc import Mapping
from typing import Any

from keras_ssl._text import drawing, legend, short
from keras_ssl.inspection.events import Events
from keras_ssl.reporting.markup import escape, image

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
# The figure to compare a figure with, which is drawn dotted beside it.
_REFERENCES = {
    "pairs/negative_variance": "pairs/negative_variance_uniform",
    "spread/std_of_unit_embeddings": "spread/std_uniform",
    "rank/embeddings": "rank/embeddings_highest",
}


def tags_of(events: Mapping[str, Events]) -> list[str]:
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
def curves_section(events: Mapping[str, Events]) -> str:
    """A picture for each section, with a panel for each figure and a line for each run."""
    from matplotlib.figure import Figure

    sections: dict[str, list[str]] = {}
    for tag in tags_of(events):
        if tag not in _REFERENCES.values():
            sections.setdefault(tag.partition("/")[0], []).append(tag)
    parts = ["<h2>Curves</h2>"]
    for section, tags in sections.items():
        columns = 5
        rows = -(-len(tags) // columns)
        figure = Figure(figsize=(15, 2.6 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        lines: dict[str, Any] = {}
        for axis, tag in zip(axes.flat, tags, strict=False):
            lines |= _draw(axis, tag, events)
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
            names = [name for name in events if name in lines]
            handles = [lines[name] for name in names]
            legend(figure, handles, names, loc="outside lower center", ncols=3, fontsize=8)
        title = _SECTIONS.get(section, section.replace("_", " "))
        picture = image(_svg(figure), "svg+xml", title)
        parts.append(f'<h3>{escape(title)}</h3><div class="curves">{picture}</div>')
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
