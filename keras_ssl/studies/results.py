"""What a study found: a row per trial, and for each arm its defaults beside its best draw."""

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
from keras_ssl.hypermodels import ACCURACIES
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

# First columns of the table, in this order; then settings, then figures.
_FIRST = ("trial", STAGE, ARM, DRAW, SEED, "status", "reason")

# Scores for people.
LABELS = {
    "knn": "kNN accuracy",
    "linear": "linear probe's accuracy",
    "probe": "online probe's accuracy",
    "rankme": "RankMe",
    "lidar": "LiDAR",
}


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
            # In single precision, as keras-tuner sends them: 0.15, not 0.15000000596046448.
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
        final: The figure of the final runs by "default" and "tuned", then by seed; those that did
            not fail. Where no draw was better than the defaults, tuned is default.
        settings: The best draw's settings.
        best_draw: The draw that was chosen, 0 being the defaults; `None` where all have failed.
        searched: Scores of the search's trials by draw, those that did not fail.
        confirmed: Mean scores of the finalists by draw, with seeds of their own; empty where there
            was one.
        failed: Trials that failed, of all stages.
        figures: All figures of the final runs by name, then by "default" or "tuned".
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
        """The final figure with the default settings, one per seed."""
        return np.array(list(self.final["default"].values()))

    @property
    def tuned(self) -> np.ndarray:
        """The final figure with the best draw's settings, one per seed."""
        return np.array(list(self.final["tuned"].values()))

    @property
    def gains(self) -> np.ndarray:
        """Tuned minus default, one per seed that both have."""
        default, tuned = self.final["default"], self.final["tuned"]
        return np.array([tuned[seed] - default[seed] for seed in tuned if seed in default])

    @property
    def gain(self) -> float:
        """Mean of `gains`; NaN where there are none."""
        return float(np.mean(self.gains)) if len(self.gains) else float("nan")

    @property
    def gain_error(self) -> float:
        """Standard error of `gain`; NaN for fewer than two seeds."""
        gains = self.gains
        if len(gains) < 2:
            return float("nan")
        return float(np.std(gains, ddof=1) / np.sqrt(len(gains)))


class Results:
    """The rows of a study, and what they say of each arm.

    Args:
        rows: See `rows_of`.
        score: Name of the figure that trials were compared by, such as "knn".
        arms: Names of all arms.
        has_test: Whether there are test images. Without, the final figures are of the images that
            settings were chosen by, with other seeds.
        finalists: Draws among which more runs have decided; see `Study`.

    Raises:
        ValueError: for an unknown score.
    """

    def __init__(
        self,
        rows: list[dict[str, Any]],
        score: str,
        arms: list[str],
        has_test: bool = True,
        finalists: int = 1,
    ) -> None:
        check_choice("score", score, LABELS)
        self.rows, self.score, self.finalists = rows, score, finalists
        self.split = "test" if has_test else "val"
        self.arms = {name: self._arm(name) for name in arms}

    @property
    def label(self) -> str:
        """The score for people, with its unit: "kNN accuracy, %"."""
        return LABELS[self.score] + (", %" if self.scale == 100 else "")

    @property
    def scale(self) -> float:
        """What figures of the score are shown times: 100 for accuracies, in per cent."""
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
