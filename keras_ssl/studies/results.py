"""What a study found: a row per trial, and for each arm its defaults beside its best draw."""

import csv
import dataclasses
import io
import itertools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_ssl.studies.oracle import ARM, DRAW, FINAL, SEARCH, SEED, STAGE, write_whole

# First columns of the table, in this order; then settings, then figures.
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
            # Digits that single precision, which keras-tuner sends, does not make up.
            "settings": {
                name: float(f"{value:.6g}") if isinstance(value, float) else value
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
    """The error at the end of a traceback, on one line."""
    lines = (message or "The score was not a number").strip().splitlines()
    frames = [i for i, line in enumerate(lines) if line.startswith("  File ")]
    after = lines[frames[-1] + 1 :] if frames else lines
    error = list(itertools.dropwhile(lambda line: line.startswith(" "), after)) or lines
    return " ".join(line.strip() for line in error if line.strip())


def write_csv(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes the rows, with a column for every setting and figure that any of them has."""
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


@dataclasses.dataclass(frozen=True)
class ArmResult:
    """What came of one arm.

    Attributes:
        name: The arm.
        default: Its defaults' final figure with each seed, as many as did not fail.
        tuned: The same of its best draw; `default` itself where no draw was better.
        settings: The best draw's settings.
        searched: Scores of the search's trials by draw, those that did not fail.
        failed: Trials that failed, of the search and of the final runs.
        figures: All figures of the final runs by name, then by "default" or "tuned".
    """

    name: str
    default: np.ndarray
    tuned: np.ndarray
    settings: dict[str, Any]
    searched: dict[int, float]
    failed: int
    figures: dict[str, dict[str, np.ndarray]]

    @property
    def best_draw(self) -> int | None:
        """The draw with the best score, 0 being the defaults; `None` where all have failed."""
        return max(self.searched, key=self.searched.__getitem__, default=None)

    @property
    def gain(self) -> float:
        """Mean of the tuned figure minus that of the default one; NaN where either has none."""
        if not (len(self.tuned) and len(self.default)):
            return float("nan")
        return float(np.mean(self.tuned) - np.mean(self.default))

    @property
    def gain_error(self) -> float:
        """Standard error of `gain`, from the differences seed by seed; NaN for fewer than two."""
        if len(self.tuned) != len(self.default) or len(self.tuned) < 2:
            return float("nan")
        differences = self.tuned - self.default
        return float(np.std(differences, ddof=1) / np.sqrt(len(differences)))


class Results:
    """The rows of a study, and what they say of each arm.

    Args:
        rows: See `rows_of`.
        score: Name of the figure that trials were compared by, such as "knn".
        arms: Names of all arms.
    """

    def __init__(self, rows: list[dict[str, Any]], score: str, arms: list[str]) -> None:
        self.rows, self.score = rows, score
        self.arms = {name: self._arm(name) for name in arms}

    @property
    def scale(self) -> float:
        """What figures of the score are shown times: 100 for accuracies, in per cent."""
        return 100.0 if self.score in ("knn", "linear", "probe") else 1.0

    @property
    def split(self) -> str:
        """Where the final figures are from: "test", or "val" where there is no test split."""
        names = {name for row in self.rows for name in row["figures"]}
        return "test" if f"test_{self.score}" in names else "val"

    def _arm(self, name: str) -> ArmResult:
        rows = [row for row in self.rows if row[ARM] == name]
        done = [row for row in rows if row["status"] == "completed"]
        search = [row for row in done if row[STAGE] == SEARCH]
        searched = {row[DRAW]: row["figures"][f"val_{self.score}"] for row in search}
        best = max(searched, key=searched.__getitem__, default=None)
        settings: dict[str, Any] = next(
            (row["settings"] for row in search if row[DRAW] == best), {}
        )
        finals = {
            kind: [row["figures"] for row in done if row[STAGE] == FINAL and row[DRAW] == draw]
            for kind, draw in (("default", 0), ("tuned", best))
        }
        names = sorted({figure for rows in finals.values() for row in rows for figure in row})
        figures = {
            figure: {
                kind: np.array([row[figure] for row in rows if figure in row])
                for kind, rows in finals.items()
            }
            for figure in names
        }
        nothing = {"default": np.array([]), "tuned": np.array([])}
        last = figures.get(f"{self.split}_{self.score}", nothing)
        return ArmResult(
            name,
            last["default"],
            last["tuned"],
            settings,
            searched,
            sum(row["status"] == "failed" for row in rows),
            figures,
        )
