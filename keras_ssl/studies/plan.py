"""The plan of a study: its steps, how draws are compared, and which step comes next.

Everything here is a pure function of the trials that exist, without keras-tuner, TensorFlow or
files. The plan of an arm has three stages:

1. The search runs every draw once. Draw 0 has the default settings.
2. The finalists, the best draws of the search, run again with other seeds, if there are two of them
   or more.
3. The defaults and the best draw run with seeds that no draw was chosen by.
"""

import dataclasses
import enum
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Values of a trial that are not hyperparameters: its arm, its stage, whose settings it has (the
# number of a draw), and its seed.
ARM, STAGE, DRAW, SEED = "arm", "stage", "draw", "seed"
SEARCH, CONFIRM, FINAL = "search", "confirm", "final"
# Stage of a trial whose file is damaged. It keeps its number, has no arm, and is not planned.
LOST = "lost"

# The finalists' first seed is the arm's plus this, which is far from the seeds of the final stage:
# more of those may be asked for later.
_TO_CONFIRM = 1000


@dataclasses.dataclass(frozen=True)
class Step:
    """One trial of the plan.

    Attributes:
        arm: Name of the arm.
        stage: "search", "confirm" or "final".
        draw: Whose settings the trial has, 0 being the defaults.
        seed: Seed of weights, order and augmentations.
    """

    arm: str
    stage: str
    draw: int
    seed: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Step":
        """The step that a trial with these values is."""
        return cls(values[ARM], values[STAGE], int(values[DRAW]), int(values[SEED]))


# Names that a hyperparameter cannot have.
RESERVED = frozenset(field.name for field in dataclasses.fields(Step))


def settings_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a trial's hyperparameters, without those that make it a step of the plan."""
    return {name: value for name, value in values.items() if name not in RESERVED}


@dataclasses.dataclass(frozen=True)
class Record:
    """What the plan has to know of a trial that exists.

    Attributes:
        step: The step that the trial is.
        has_ended: Whether it completed or failed.
        score: Its score, larger is better; `None` unless it completed.
    """

    step: Step
    has_ended: bool
    score: float | None = None


class Pause(enum.Enum):
    """Why there is no next step."""

    WAIT = "the next step depends on trials that are running"
    END = "every step has been taken"


# --- Statistics ----------------------------------------------------------------------------------

# Draw and score of each trial of an arm and a stage that completed.
Scores = Sequence[tuple[int, float]]


def finalists_of(searched: Scores, count: int) -> list[int]:
    """The `count` best draws of a search, best first; empty if fewer than two are left."""
    best = [draw for draw, _ in sorted(searched, key=lambda one: one[1], reverse=True)[:count]]
    return best if len(best) > 1 else []


def mean_scores(searched: Scores, confirmed: Scores, count: int) -> dict[int, float]:
    """The mean score of each finalist that was confirmed, by draw.

    Draws that were finalists of a shorter search do not count. Neither do finalists that have fewer
    scores than others because more of their runs failed: the mean of few runs is lucky more often.
    """
    finalists = finalists_of(searched, count)
    by_draw: dict[int, list[float]] = {}
    for draw, score in confirmed:
        if draw in finalists:
            by_draw.setdefault(draw, []).append(score)
    most = max(map(len, by_draw.values()), default=0)
    return {draw: float(np.mean(runs)) for draw, runs in by_draw.items() if len(runs) == most}


def best_of(searched: Scores, confirmed: Mapping[int, float]) -> int | None:
    """The best draw, by the finalists' mean scores if there are any, else by the search.

    Args:
        searched: The search's scores.
        confirmed: See `mean_scores`.

    Returns:
        The draw; `None` if no trial completed.
    """
    scores = confirmed or dict(searched)
    return max(scores, key=scores.__getitem__, default=None)


# --- The plan ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which trials a study has, in which order.

    Attributes:
        arms: Each arm's own seed, by the arm's name.
        draws: Number of draws of each arm, the defaults included, by the arm's name.
        seeds: Final runs of each of an arm's two settings; runs of each finalist.
        finalists: Draws of each arm that are confirmed. 1: no draw is confirmed.
    """

    arms: Mapping[str, int]
    draws: Mapping[str, int]
    seeds: int
    finalists: int

    def without_draws_from(self, step: Step) -> "Plan":
        """The plan if an arm's space has no settings left for this step of its search."""
        return dataclasses.replace(self, draws={**self.draws, step.arm: step.draw})

    def next_step(self, records: Sequence[Record]) -> Step | Pause:
        """The first step that no trial has taken, or why there is none.

        A step waits for those before it, so that trials have the same numbers in one process and in
        several.
        """
        taken = {record.step for record in records}
        for step in [*self._search_steps(), *self._later_steps(records)]:
            if step is None:
                return Pause.WAIT
            if step not in taken:
                return step
        return Pause.END

    def best_draw(self, arm: str, records: Iterable[Record]) -> int | None:
        """The draw with the best score so far; `None` if no trial of the search completed."""
        records = list(records)
        searched, confirmed = scores_of(records, arm, SEARCH), scores_of(records, arm, CONFIRM)
        return best_of(searched, mean_scores(searched, confirmed, self.finalists))

    def done(self, records: Sequence[Record]) -> int:
        """Number of planned trials that have ended, failed ones included."""
        return len(_ended(records) & {*self._search_steps(), *self._later_steps(records)})

    def planned(self, records: Sequence[Record]) -> int:
        """Number of trials in all, as far as it is known.

        It shrinks if the defaults turn out to be the best draw: they run only once.
        """
        count = len(self._search_steps())
        for arm in self.arms:
            runs = self._confirm_steps(arm, records)
            if runs is None:
                finalists = min(self.finalists, self.draws[arm])
                count += self.seeds * finalists if finalists > 1 else 0
            else:
                count += len(runs)
            is_known = runs is not None and _have_ended(runs, records)
            count += self.seeds * (1 if is_known and not self.best_draw(arm, records) else 2)
        return count

    def _search_steps(self) -> list[Step]:
        """Draw by draw, each arm in turn: a study that is stopped early has as many of each."""
        return [
            Step(arm, SEARCH, draw, seed)
            for draw in range(max(self.draws.values()))
            for arm, seed in self.arms.items()
            if draw < self.draws[arm]
        ]

    def _later_steps(self, records: Sequence[Record]) -> list[Step | None]:
        """What follows the search; `None` stands for steps that depend on unfinished trials."""
        steps: list[Step | None] = []
        for arm in self.arms:
            steps += self._final_steps(arm, 0)  # The defaults, which are known from the start.
        confirmed = {arm: self._confirm_steps(arm, records) for arm in self.arms}
        for runs in confirmed.values():
            steps += [None] if runs is None else runs
        for arm, runs in confirmed.items():
            if runs is None or not _have_ended(runs, records):
                steps.append(None)
            elif best := self.best_draw(arm, records):
                steps += self._final_steps(arm, best)
        return steps

    def _confirm_steps(self, arm: str, records: Sequence[Record]) -> list[Step] | None:
        """Runs of the finalists, by which the best is chosen; `None` while the search goes on."""
        search = [step for step in self._search_steps() if step.arm == arm]
        is_running = any(not record.has_ended for record in _of(records, arm, SEARCH))
        if is_running or not _have_ended(search, records):
            return None
        best = finalists_of(scores_of(records, arm, SEARCH), self.finalists)
        seeds = _seeds(self.arms[arm] + _TO_CONFIRM, self.seeds)
        return [Step(arm, CONFIRM, draw, seed) for draw in best for seed in seeds]

    def _final_steps(self, arm: str, draw: int) -> list[Step]:
        """Final runs of a draw, with seeds that played no part in choosing it."""
        return [Step(arm, FINAL, draw, seed) for seed in _seeds(self.arms[arm] + 1, self.seeds)]


def _seeds(first: int, count: int) -> list[int]:
    """Seeds one after the other, of which the largest that is allowed is followed by 0."""
    return [seed % 2**31 for seed in range(first, first + count)]


def scores_of(records: Iterable[Record], arm: str, stage: str) -> list[tuple[int, float]]:
    """Draw and score of each trial of an arm and a stage that completed."""
    return [
        (record.step.draw, record.score)
        for record in _of(records, arm, stage)
        if record.score is not None
    ]


def _of(records: Iterable[Record], arm: str, stage: str) -> list[Record]:
    return [r for r in records if r.step.arm == arm and r.step.stage == stage]


def _ended(records: Iterable[Record]) -> set[Step]:
    return {record.step for record in records if record.has_ended}


def _have_ended(steps: Iterable[Step], records: Iterable[Record]) -> bool:
    return _ended(records).issuperset(steps)


# --- Names ---------------------------------------------------------------------------------------


def file_name(arm: str) -> str:
    """A file's name for an arm's: "VICReg, M = 64" is "vicreg-m-64".

    It has letters and digits of any language, and hyphens; a long name ends in a checksum.
    """
    words = "".join(c if c.isalnum() else " " for c in arm.lower()).split()
    name = "-".join(words)
    # File systems take 255 bytes, and a character may have four.
    return name if len(name) <= 50 else f"{name[:40]}-{zlib.crc32(arm.encode()):08x}"
