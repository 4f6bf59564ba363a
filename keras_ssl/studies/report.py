"""The report of a study: its question, answer and figures, and how to run it again."""

import html
import math
import os
import pathlib
import platform
import shlex
import sys
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keras_ssl._backend import package_versions
from keras_ssl._files import write_whole
from keras_ssl._text import plain
from keras_ssl.evaluation import table
from keras_ssl.evaluation.figures import ACCURACIES, FIGURES
from keras_ssl.studies.plan import LOST
from keras_ssl.studies.plots import draw_arms, draw_search
from keras_ssl.studies.results import Results, paired


def spread(values: np.ndarray, scale: float = 100.0, digits: int = 1) -> str:
    """Mean and standard deviation as text: "81.2 ± 0.3"; "-" if there are no values.

    Example:
        >>> spread(np.array([0.80, 0.82, 0.84])), spread(np.array([0.82]))
        ('82.0 ± 2.0', '82.0')
    """
    if len(values) == 0:
        return "-"
    mean = f"{scale * np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {scale * np.std(values, ddof=1):.{digits}f}"


def difference(
    a: Mapping[int, float], b: Mapping[int, float], scale: float = 100.0, digits: int = 1
) -> str:
    """Mean of `a` minus mean of `b` with its standard error, as text: "+1.2 ± 0.4".

    The runs are paired by their seeds, and the error is that of their n differences, s / sqrt(n):
    arms of a study have the same seeds, and with them initial weights, orders and draws, so that a
    seed that is good for one arm is often good for another.

    Args:
        a: Score of each final run of an arm, by seed, such as `arm.final["tuned"]`.
        b: The same of another arm. Seeds that only one of them has are left out.
        scale: Factor by which the scores are shown.
        digits: Digits after the point.

    Example:
        >>> difference({1: 0.82, 2: 0.85}, {1: 0.80, 2: 0.81})
        '+3.0 ± 1.0'
    """
    pairs = scale * paired(a, b)
    if len(pairs) == 0:
        return "-"
    mean = f"{np.mean(pairs):+.{digits}f}"
    if len(pairs) < 2:
        return mean
    return f"{mean} ± {np.std(pairs, ddof=1) / np.sqrt(len(pairs)):.{digits}f}"


def chance_limit(seeds: int) -> float:
    """How many standard errors a difference over some seeds must have, not to be chance.

    Chance alone exceeds it in 5 % of cases: this is the quantile of 97.5 % of Student's t with
    `seeds - 1` degrees of freedom. It is infinite for one seed.

    Example:
        >>> [round(chance_limit(seeds), 1) for seeds in (2, 3, 5, 10)]
        [12.7, 4.3, 2.8, 2.3]
    """
    from scipy.stats import t  # It takes a second to import.

    return float(t.ppf(0.975, seeds - 1)) if seeds > 1 else math.inf


def short(settings: Mapping[str, Any]) -> str:
    """Settings as text: "temperature 0.2, base learning rate 0.006"."""
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in sorted(settings.items())
    )


def _command() -> str:
    """Returns the command of this process, for a shell."""
    program = sys.argv[0]
    is_ours = pathlib.Path(program).stem == "keras-ssl"
    return shlex.join([*(["keras-ssl"] if is_ours else ["python", program]), *sys.argv[1:]])


def _markdown(text: Any) -> str:
    """A text for a line or a cell of Markdown, with tags and bars escaped."""
    return html.escape(plain(text), quote=False).replace("|", "\\|")


def arms_table(results: Results) -> str:
    """A table with a row per arm: default, tuned, gain with standard error, and best settings.

    Example:
        >>> step = {"arm": "simclr", "draw": 0, "status": "completed", "settings": {}}
        >>> rows = [{**step, "stage": "search", "seed": 0, "figures": {"val_knn": 0.8}}]
        >>> rows += [{**step, "stage": "final", "seed": 1, "figures": {"test_knn": 0.75}}]
        >>> print(arms_table(Results(rows, "knn", ["simclr"])))
        |        | default | tuned      | gain | best settings | draws | failed |
        |--------|---------|------------|------|---------------|-------|--------|
        | simclr | 75.0    | as default | 0    | the defaults  | 1     | 0      |
    """
    scale = results.scale
    rows = {}
    for arm in results.arms.values():
        is_default = arm.best_draw == 0
        gain = "-" if math.isnan(arm.gain) else f"{scale * arm.gain:+.1f}"
        if not math.isnan(arm.gain_error):
            gain += f" ± {scale * arm.gain_error:.1f}"
        rows[_markdown(arm.name)] = {
            "default": spread(arm.default, scale),
            "tuned": "as default" if is_default else spread(arm.tuned, scale),
            "gain": "0" if is_default else gain,
            "best settings": "the defaults" if is_default else _settings(arm.settings),
            "draws": str(len(arm.searched)),
            "failed": str(arm.failed),
        }
    return table(rows)


def figures_table(results: Results) -> str:
    """A table of what the final runs have beside the score: linear accuracy, RankMe, seconds, ...

    It has the figures that all arms have, under their names in trials.csv. Two kinds are left out:
    those of the images that settings were chosen by, where there are the same of test images; and
    the loss, which means something else in each arm. Accuracies are in percent.

    Example:
        >>> figures = {"test_knn": 0.75, "test_linear": 0.8, "val_knn": 0.7, "seconds": 90.0}
        >>> run = {"stage": "final", "arm": "simclr", "draw": 0, "seed": 1, "status": "completed"}
        >>> search = {**run, "stage": "search", "settings": {}, "figures": {"val_knn": 0.7}}
        >>> rows = [search, {**run, "settings": {}, "figures": figures}]
        >>> print(figures_table(Results(rows, "knn", ["simclr"])))
        |        | seconds | test_knn | test_linear |
        |--------|---------|----------|-------------|
        | simclr | 90.0    | 75.0     | 80.0        |
    """
    runs = {}
    for arm in results.arms.values():
        kinds = ["default"] if arm.best_draw == 0 else ["default", "tuned"]
        for kind in kinds:
            name = arm.name if kind == "default" else f"{arm.name}, tuned"
            runs[name] = {f: values[kind] for f, values in arm.figures.items() if len(values[kind])}
    named = [figures for figures in runs.values() if figures]
    shared = set(named[0]).intersection(*named) if named else set()
    columns = [
        name
        for name in sorted(shared - {"loss"})
        if not (name.startswith("val_") and f"test_{name.removeprefix('val_')}" in shared)
    ]

    def cell(name: str, values: np.ndarray) -> str:
        known = FIGURES.get(name.partition("_")[2])
        scale = 100.0 if name.endswith(ACCURACIES) else 1.0
        return spread(values, scale, known.digits if known else 1)

    return table(
        {
            _markdown(name): {column: cell(column, figures[column]) for column in columns}
            for name, figures in runs.items()
            if figures
        }
    )


def _settings(settings: Mapping[str, Any]) -> str:
    return _markdown(short(settings)) if settings else "-"


def _chosen(results: Results) -> str:
    finalists = max(len(arm.confirmed) for arm in results.arms.values())
    if not finalists:
        return "the draw with the best score on the validation images"
    return (
        f"one of up to {finalists} finalists, the draws with the best scores on the validation "
        "images: the one with the best mean score there over more seeds"
    )


def write_report(
    results: Results,
    folder: Any,
    title: str,
    question: str,
    setup: Mapping[str, Any],
    answer: str,
    sections: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Writes report.md and its pictures, arms.png and search.png.

    Args:
        results: What the study found.
        folder: The study's folder.
        title: Title of the report.
        question: The question that the study asks.
        setup: What the figures depend on, by name.
        answer: The answer, with its figures.
        sections: More sections in Markdown, by title.

    Returns:
        Path of the report.

    Example:
        >>> import tempfile
        >>> run = {"stage": "final", "arm": "simclr", "draw": 0, "seed": 1, "status": "completed"}
        >>> run.update(settings={}, figures={"test_knn": 0.75})
        >>> results = Results([run], "knn", ["simclr"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = write_report(results, folder, "SimCLR", "How good is it?", {}, "75 %.")
        ...     print(path.read_text(encoding="utf-8").splitlines()[:3])
        ...     print(sorted(file.name for file in path.parent.iterdir()))
        ['# SimCLR', '', '**Question.** How good is it?']
        ['arms.png', 'report.md']
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    draw_arms(results, folder / "arms.png", title)
    draw_search(results, folder / "search.png")
    split = {
        "test": "test images",
        "val": "validation images (there are no test images; tuned settings were chosen by these)",
    }
    found = package_versions("keras-ssl", "tensorflow", "keras", "keras-tuner")
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    minutes = sum(row["figures"].get("seconds", 0) for row in results.rows) / 60
    facts = {
        **{name: _markdown(value) for name, value in setup.items()},
        "trials": str(len(results.rows)),
        "time": f"{minutes:.0f} minutes, the sum over all completed trials; workers share them",
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": f"{versions}, Python {platform.python_version()}, on {keras.backend.backend()}",
        "command": f"`{_command()}`",
    }
    failures = [row for row in results.rows if row["status"] == "failed"]
    parts = [
        f"# {title}",
        f"**Question.** {question}",
        f"**Answer.** {answer}",
        f"## {results.label}, {split[results.split]}",
        arms_table(results),
        "Mean ± standard deviation over the seeds. The gain has its standard error, from the "
        f"differences seed by seed. Tuned is {_chosen(results)}, run again with other seeds.",
        "![Default and tuned scores of each arm](arms.png)",
        "## The other figures of these runs",
        figures_table(results),
    ]
    for heading, text in (sections or {}).items():
        parts += [f"## {heading}", text]
    if any(row["settings"] and row["figures"] for row in results.rows):
        parts += [
            "## What mattered",
            "This shows every trial of the search, on the validation images:",
            "![Score against each setting](search.png)",
        ]
    if failures:
        lines = [
            f"- trial {r['trial']}, {_markdown(r['arm'] or LOST)}: {_markdown(r['reason'])}"
            for r in failures
        ]
        parts += ["## Trials that failed", "\n".join(lines)]
    parts += [
        "## Setup",
        "\n".join(f"- {name}: {' '.join(str(value).split())}" for name, value in facts.items()),
        "`trials.csv` has a row per trial. `best/` has the best settings of each arm; train "
        "with them by `keras-ssl pretrain IMAGES --config best/NAME.json`.",
    ]
    path = folder / "report.md"
    write_whole(path, "\n\n".join(parts) + "\n")
    return path
