"""Pictures of a study, with a dot for every seed and error bars around means."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_ssl._files import save_figure
from keras_ssl._text import drawing, legend, short
from keras_ssl._validation import check_choice
from keras_ssl.studies.results import Results


def _figure(width: float, height: float) -> Any:
    """A new figure, in inches; pyplot's would change how a notebook shows other figures."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def _color(name: str, number: int) -> Any:
    """A color of one of matplotlib's sequences, which is repeated after its end."""
    from matplotlib import color_sequences

    colors = color_sequences[name]
    return colors[number % len(colors)]


def _label(results: Results) -> str:
    split = {"test": "test", "val": "validation"}[results.split]
    return f"{results.label}, {split} images"


def _save(figure: Any, path: pathlib.Path, **kwargs: Any) -> None:
    figure.tight_layout()
    # There is no date or version in it, so that the same figures make the same file.
    save_figure(figure, path, dpi=110, metadata={"Software": None}, **kwargs)


def _error_bar(axis: Any, x: float, values: np.ndarray, y: float | None, **style: Any) -> None:
    """Draws mean and standard deviation, along x in the row `y`, or along y if it is `None`."""
    if len(values) == 0:
        return
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    mean = float(np.mean(values))
    if y is None:
        axis.errorbar([x], [mean], yerr=[deviation], capsize=3, **style)
    else:
        axis.errorbar([mean], [y], xerr=[deviation], capsize=3, **style)


@drawing()
def draw_arms(results: Results, path: pathlib.Path, title: str = "") -> None:
    """Draws the default and tuned scores of every arm, one arm per row.

    Args:
        results: The results of a study.
        path: The PNG file to write.
        title: Title of the picture.

    Example:
        >>> import tempfile
        >>> run = {"stage": "final", "arm": "simclr", "draw": 0, "seed": 1, "status": "completed"}
        >>> run.update(settings={}, figures={"test_knn": 0.75})
        >>> results = Results([run], "knn", ["simclr"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_arms(results, pathlib.Path(folder, "arms.png"))
        ...     [path.name for path in pathlib.Path(folder).iterdir()]
        ['arms.png']
    """
    arms = list(results.arms.values())
    figure = _figure(7.5, 1.2 + 0.42 * len(arms))
    axis = figure.subplots()
    for row, arm in enumerate(arms):
        for kind, offset in (("default", 0.13), ("tuned", -0.13)):
            values = results.scale * getattr(arm, kind)
            color = "tab:gray" if kind == "default" else "tab:blue"
            y = len(arms) - 1 - row + offset
            axis.plot(values, np.full(len(values), y), ".", color=color, alpha=0.5)
            face = "white" if kind == "default" else color
            style = {"fmt": "o", "color": color, "mfc": face}
            _error_bar(axis, 0, values, y, label=kind if row == 0 else None, **style)
    axis.set_yticks(range(len(arms)), [short(arm.name) for arm in reversed(arms)])
    axis.set(xlabel=_label(results), title=title)
    axis.grid(axis="x", alpha=0.3)
    axis.legend(
        loc="upper left", bbox_to_anchor=(1.0, 1.0)
    )  # Beside the picture, where it covers no figure.
    _save(figure, path, bbox_inches="tight")


@drawing()
def draw_curves(
    results: Results,
    curves: Mapping[str, Mapping[float, str]],
    path: pathlib.Path,
    xlabel: str,
    title: str = "",
) -> None:
    """Draws curves over a number, with the defaults in one panel and tuned settings in another.

    Args:
        results: The results of a study.
        curves: The arm at each x, by the name of the curve.
        path: The PNG file to write.
        xlabel: Label of the x-axis.
        title: Title of the picture.

    Raises:
        ValueError: if the study does not have one of the arms.

    Example:
        A curve has an arm for each x. The study must have it.

        >>> results = Results([], "knn", ["batch 64", "batch 128"])
        >>> curves = {"SimCLR": {64: "batch 64", 256: "batch 256"}}
        >>> draw_curves(results, curves, pathlib.Path("curves.png"), "batch size")
        Traceback (most recent call last):
            ...
        ValueError: `curves` must be one of ['batch 64', 'batch 128']. Received: curves='batch 256'
    """
    for points in curves.values():
        for arm in points.values():
            check_choice("curves", arm, results.arms)
    from matplotlib.ticker import NullFormatter

    figure = _figure(10, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    for axis, kind in zip(axes, ("default", "tuned"), strict=True):
        lines = []
        for number, points in enumerate(curves.values()):
            color = _color("tab10", number)
            shift = 1 + 0.03 * (number - (len(curves) - 1) / 2)  # So that bars stand side by side.
            means = []
            for x, arm in points.items():
                values = results.scale * getattr(results.arms[arm], kind)
                axis.plot(np.full(len(values), x * shift), values, ".", color=color, alpha=0.4)
                _error_bar(axis, x * shift, values, None, fmt="o", color=color)
                means.append(np.mean(values) if len(values) else np.nan)
            lines += axis.plot([x * shift for x in points], means, color=color)
        axis.set_xscale("log", base=2)
        xs = sorted({x for points in curves.values() for x in points})
        axis.set_xticks(xs, [f"{x:g}" for x in xs])
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.set(xlabel=xlabel, title=f"{title}{', ' if title else ''}{kind}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(_label(results))
    legend(axes[1], lines, list(curves))
    _save(figure, path)


@drawing()
def draw_search(results: Results, path: pathlib.Path) -> None:
    """Draws the score of every trial of the search against each setting.

    Args:
        results: The results of a study.
        path: The PNG file to write.

    Example:
        >>> import tempfile
        >>> run = {"stage": "search", "arm": "simclr", "draw": 0, "seed": 0, "status": "completed"}
        >>> run.update(settings={"temperature": 0.15}, figures={"val_knn": 0.8})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     draw_search(Results([run], "knn", ["simclr"]), pathlib.Path(folder, "search.png"))
        ...     [path.name for path in pathlib.Path(folder).iterdir()]
        ['search.png']
    """
    rows = [row for row in results.rows if row["stage"] == "search" and row["figures"]]
    names = sorted({name for row in rows for name in row["settings"]})
    if not names:
        return
    from matplotlib import ticker

    columns = min(len(names), 3)
    lines = math.ceil(len(names) / columns)
    figure = _figure(4 * columns + 2, 3.2 * lines)
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axis, name in zip(axes.flat, names, strict=False):
        every: list[float] = []
        dots = []
        for number, arm in enumerate(results.arms):
            own = [row for row in rows if row["arm"] == arm and name in row["settings"]]
            xs = [row["settings"][name] for row in own]
            ys = [results.scale * row["figures"][f"val_{results.score}"] for row in own]
            dots += axis.plot(xs, ys, "o", ms=4, color=_color("tab20", number), alpha=0.8)
            every += [x for x in xs if isinstance(x, (int, float))]
        if every and min(every) > 0 and max(every) > 8 * min(every):
            axis.set_xscale("log")
            axis.xaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
            axis.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:g}"))
            axis.xaxis.set_minor_formatter(ticker.NullFormatter())
        axis.set_xlabel(short(name))
        axis.grid(alpha=0.3)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    for line in axes:
        line[0].set_ylabel(f"{results.label}, validation")
    beside: Any = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}
    legend(figure, dots, list(results.arms), fontsize=8, **beside)
    _save(figure, path, bbox_inches="tight")  # The legend is outside.


@drawing()
def draw_path(
    results: Results, names: Sequence[str], figures: Mapping[str, str], path: pathlib.Path
) -> None:
    """Draws figures along a path of arms, one panel per figure.

    Args:
        results: The results of a study.
        names: The arms, in the order of the path.
        figures: Title of each panel, by the name of the figure; at least one.
        path: The PNG file to write.

    Raises:
        ValueError: if the study does not have one of the arms, or no figure is named.

    Example:
        >>> import tempfile
        >>> run = {"stage": "final", "arm": "simclr", "draw": 0, "seed": 1, "status": "completed"}
        >>> run.update(settings={}, figures={"test_knn": 0.75})
        >>> results = Results([run], "knn", ["simclr"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "path.png")
        ...     draw_path(results, ["simclr"], {"test_knn": "kNN accuracy, %"}, path)
        ...     path.exists()
        True
    """
    for arm in names:
        check_choice("names", arm, results.arms)
    if not figures:
        raise ValueError("`figures` must name at least one figure. Received: none")
    figure = _figure(4.2 * len(figures), 4)
    axes = figure.subplots(1, len(figures), squeeze=False)
    for axis, (name, title) in zip(axes.flat, figures.items(), strict=True):
        for kind, color in (("default", "tab:gray"), ("tuned", "tab:blue")):
            means = []
            for x, arm in enumerate(names):
                found = results.arms[arm].figures.get(name, {}).get(kind, np.array([]))
                values = found * (100.0 if title.endswith("%") else 1.0)
                axis.plot(np.full(len(values), x), values, ".", color=color, alpha=0.4)
                _error_bar(axis, x, values, None, fmt="o", color=color)
                means.append(np.mean(values) if len(values) else np.nan)
            axis.plot(range(len(names)), means, color=color, label=kind)
        axis.set_xticks(range(len(names)), [short(name) for name in names], rotation=20, ha="right")
        axis.set_title(title)
        axis.grid(alpha=0.3)
    axes.flat[0].legend()
    _save(figure, path)
