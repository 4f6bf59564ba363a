"""What a study found: one row per trial, and each arm's best draw beside its defaults."""

import csv
import dataclasses
import io
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_ssl._files import write_whole
from keras_ssl._validation import check_choice
from keras_ssl.evaluation.figures import ACCURACIES, FIGURES
from keras_ssl.hypermodels import OBJECTIVES
from keras_ssl.studies.plan import (
    ARM,
    CONFIRM,
    DRAW,
    FINAL,
    SEARCH,
    SEED,
    STAGE,
    best_of,
    mean_scores,
)

# The first columns of the table, in this order. Settings follow, then figures.
_FIRST = ("trial", STAGE, ARM, DRAW, SEED, "status", "reason")


def rows_of(trials: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per trial, in the order of their numbers, from a keras-tuner oracle's `trials`."""
    rows = []
    for trial in sorted(trials.values(), key=lambda trial: int(trial.trial_id)):
        values = dict(trial.hyperparameters.values)
        row = {
            "trial": int(trial.trial_id),
            **{name: values.pop(name) for name in (STAGE, ARM, DRAW, SEED)},
            "status": trial.status.lower(),
            "reason": reason_of(trial.message) if trial.status == "FAILED" else "",
            # Rounded to single precision, which keras-tuner sends: 0.15, not 0.1500000059.
            "settings": {
                name: float(str(np.float32(value))) if isinstance(value, float) else value
                for name, value in values.items()
            },
            "figures": {
                name: trial.metrics.get_last_value(name)
                for name in trial.metrics.metrics
                if trial.status == "COMPLETED"
            },
        }
        rows.append(row)
    return rows


def reason_of(message: str | None) -> str:
    """The error at the end of a traceback as one line."""
    lines = (message or "The score was not a number").strip().splitlines()
    frames = [i for i, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    error = list(itertools.dropwhile(lambda line: line.startswith(" "), after)) or lines
    return " ".join(line.strip() for line in error if line.strip())


def write_csv(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes the rows as a CSV file with a column for every setting and figure in them."""
    columns = list(_FIRST)
    for part in ("settings", "figures"):
        columns += sorted({name for row in rows for name in row[part]})
    flat = [
        {**{name: row[name] for name in _FIRST}, **row["settings"], **row["figures"]}
        for row in rows
    ]
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for row in flat:
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})
    write_whole(path, text.getvalue())


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> np.ndarray:
    """Score of `a` minus score of `b`, for each seed that both have."""
    return np.array([a[seed] - b[seed] for seed in a if seed in b])


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """What a study found about one arm.

    Attributes:
        name: The arm.
        final: Score of each final run that completed, by "default" and "tuned", then by seed. If no
            draw was better than the defaults, tuned is default.
        settings: Settings of the best draw.
        best_draw: The draw that was chosen, 0 being the defaults; `None` if all trials failed.
        searched: Score of each trial of the search that completed, by draw.
        confirmed: Mean score of each finalist over its own seeds, by draw; empty if there were no
            finalists.
        failed: Number of failed trials of all stages.
        figures: All figures of the final runs by name, then by "default" or "tuned".

    Example:
        `Results` has one of each arm. Here no draw beats the defaults, so that tuned is default.

        >>> run = {"arm": "simclr", "draw": 0, "status": "completed", "settings": {}}
        >>> rows = [{**run, "stage": "search", "seed": 0, "figures": {"val_knn": 0.8}}]
        >>> for seed, score in ((1, 0.7), (2, 0.8)):
        ...     rows.append({**run, "stage": "final", "seed": seed, "figures": {"test_knn": score}})
        >>> arm = Results(rows, "knn", ["simclr"]).arms["simclr"]
        >>> arm.default.tolist(), arm.tuned.tolist(), arm.gain
        ([0.7, 0.8], [0.7, 0.8], 0.0)
    """

    name: str
    final: dict[str, dict[int, float]]
    settings: dict[str, Any]
    best_draw: int | None
    searched: dict[int, float]
    confirmed: dict[int, float]
    failed: int
    figures: dict[str, dict[str, np.ndarray]]

    @property
    def default(self) -> np.ndarray:
        """The final scores with the default settings, one per seed."""
        return np.array(list(self.final["default"].values()))

    @property
    def tuned(self) -> np.ndarray:
        """The final scores with the settings of the best draw, one per seed."""
        return np.array(list(self.final["tuned"].values()))

    @property
    def gains(self) -> np.ndarray:
        """Tuned minus default, for each seed that both have."""
        return paired(self.final["tuned"], self.final["default"])

    @property
    def gain(self) -> float:
        """Mean of `gains`; NaN if there are none."""
        return float(np.mean(self.gains)) if len(self.gains) else float("nan")

    @property
    def gain_error(self) -> float:
        """Standard error of `gain`; NaN for fewer than two seeds."""
        gains = self.gains
        if len(gains) < 2:
            return float("nan")
        return float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


class Results:
    """The rows of a study, and what they say about each arm.

    Args:
        rows: See `rows_of`.
        score: Name of the figure that trials were compared by, such as "knn".
        arms: Names of all arms.
        has_test: Whether there are test images. If not, the final scores are of the validation
            images, by which the settings were chosen, with other seeds.
        finalists: Number of finalists per arm, see `Study`.

    Raises:
        ValueError: for an unknown score.

    Example:
        Draw 1 is the best of the search. Its gain is that of the final runs, on test images.

        >>> def row(stage, draw, figures):
        ...     step = {"stage": stage, "arm": "simclr", "draw": draw, "seed": 1}
        ...     return {**step, "status": "completed", "settings": {}, "figures": figures}
        >>> rows = [row("search", 0, {"val_knn": 0.80}), row("search", 1, {"val_knn": 0.90})]
        >>> rows += [row("final", 0, {"test_knn": 0.80}), row("final", 1, {"test_knn": 0.85})]
        >>> arm = Results(rows, "knn", ["simclr"]).arms["simclr"]
        >>> arm.best_draw, f"{arm.gain:.2f}"
        (1, '0.05')
    """

    def __init__(
        self,
        rows: list[dict[str, Any]],
        score: str,
        arms: list[str],
        has_test: bool = True,
        finalists: int = 1,
    ) -> None:
        check_choice("score", score, OBJECTIVES)
        self.rows, self.score, self.finalists = rows, score, finalists
        self.split = "test" if has_test else "val"
        self.arms = {name: self._arm(name) for name in arms}

    @property
    def label(self) -> str:
        """The score in words, with its unit: "kNN accuracy, %"."""
        return FIGURES[self.score].label + (" accuracy, %" if self.scale == 100 else "")

    @property
    def scale(self) -> float:
        """Factor by which scores are shown: 100 for accuracies, which are shown in percent."""
        return 100.0 if self.score in ACCURACIES else 1.0

    def _arm(self, name: str) -> ArmResult:
        rows = [row for row in self.rows if row[ARM] == name]
        done = [row for row in rows if row["status"] == "completed"]
        searched, confirmed = (
            [
                (row[DRAW], float(row["figures"][f"val_{self.score}"]))
                for row in done
                if row[STAGE] == stage
            ]
            for stage in (SEARCH, CONFIRM)
        )
        means = mean_scores(searched, confirmed, self.finalists)
        best = best_of(searched, means)
        settings: dict[str, Any] = next((r["settings"] for r in done if r[DRAW] == best), {})
        finals = {
            kind: {
                row[SEED]: row["figures"]
                for row in done
                if row[STAGE] == FINAL and row[DRAW] == draw
            }
            for kind, draw in (("default", 0), ("tuned", best))
        }
        names = {figure for runs in finals.values() for run in runs.values() for figure in run}
        figures = {
            figure: {
                kind: np.array([run[figure] for run in runs.values() if figure in run])
                for kind, runs in finals.items()
            }
            for figure in sorted(names)
        }
        score = f"{self.split}_{self.score}"
        return ArmResult(
            name,
            {
                kind: {seed: float(run[score]) for seed, run in runs.items() if score in run}
                for kind, runs in finals.items()
            },
            settings,
            best,
            dict(searched),
            means,
            sum(row["status"] == "failed" for row in rows),
            figures,
        )
