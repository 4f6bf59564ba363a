"""Which trial comes next: the plan of a study, as a keras-tuner oracle that survives SIGKILL."""

import dataclasses
import json
import math
import pathlib
import shutil
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np

from keras_ssl._files import DamagedFileError, damaged, read_json, write_whole
from keras_ssl._keras import project_folder, record_values, retry_queue, trial_folder
from keras_ssl.hypermodels import PretrainingHyperModel

# Values of a trial that are no hyperparameters: which arm it is of, what it is for, whose settings
# it has (the number of a draw, 0 being the defaults), and its seed.
ARM, STAGE, DRAW, SEED = "arm", "stage", "draw", "seed"
SEARCH, CONFIRM, FINAL = "search", "confirm", "final"
# Stage of what has the number of a trial whose file is damaged. It is of no arm, and not planned.
LOST = "lost"

# In the folder of a trial: why it failed, by the process that ran it.
REASON = "reason.txt"
# A damaged trial.json is kept under this name.
_ASIDE = "trial.json.damaged"
# A byte for every start of the trial by a process that died in it.
STARTS = "starts"

_FINISHED = ("COMPLETED", "FAILED")
# While a worker waits for the last trials of a search, seconds between its questions.
_PATIENCE = 0.5
# From an arm's seed to the first of those that choose among finalists: far from the final ones,
# of which more may be asked for.
_TO_CONFIRM = 1000


@dataclasses.dataclass(frozen=True)
class Step:
    """One trial of the plan."""

    arm: str
    stage: str
    draw: int
    seed: int


def trial_step(trial: Any) -> Step:
    """The step of the plan that a trial is."""
    values = trial.hyperparameters.values
    return Step(values[ARM], values[STAGE], int(values[DRAW]), int(values[SEED]))


class StudyOracle(keras_tuner.Oracle):
    """Deals out a study's trials: every arm's search, its arms in turn, then the last words.

    Draw 0 of an arm has the default settings, the others are drawn by `search`. When all draws of
    an arm have ended, its best ones, the finalists, are run with other seeds, and the best of them
    and the defaults with yet others, the final ones.

    What has been done is known from the trials' own files alone, each written whole or not at all:
    whenever the process is killed, the next one runs what is not finished, and nothing else. The
    plan can grow (more trials, seeds or finalists) from one process to the next.

    Args:
        arms: Hypermodels by name.
        spaces: Their hyperparameters, see `searched`.
        trials: Draws per arm, the defaults included.
        seeds: Final runs per arm of each of its two settings; runs of each finalist.
        finalists: Draws per arm that are confirmed, the best of the search; 1: none is.
        search: What proposes settings: from (objective, seed) to a keras-tuner oracle that needs
            no other past than the trials that have ended, as random and Bayesian search do not.
        objective: See `keras_tuner.Oracle`.
        seed: Seed of the draws.
        on_change: Called after every trial that ended.
        retry_failed: Whether trials that failed in an earlier process are run again.
    """

    def __init__(
        self,
        arms: Mapping[str, PretrainingHyperModel],
        spaces: Mapping[str, keras_tuner.HyperParameters],
        trials: int,
        seeds: int,
        finalists: int,
        search: Callable[..., keras_tuner.Oracle],
        objective: keras_tuner.Objective,
        seed: int,
        on_change: Callable[[Any], None],
        retry_failed: bool = False,
    ) -> None:
        super().__init__(
            objective=objective,
            # A night goes on, whatever fails.
            max_consecutive_failed_trials=np.inf,
        )
        self.arms, self.draws, self.seeds, self.finalists = arms, trials, seeds, finalists
        # Not `seed`, which keras-tuner draws at random where it is 0.
        self.draw_seed = seed + 1
        self.search, self.on_change, self.retry_failed = search, on_change, retry_failed
        self.spaces = spaces
        self._exhausted: dict[str, int] = {}  # By arm, draws after which the space held no more.

    # --- The plan ------------------------------------------------------------------------------

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values of the next trial; IDLE while it is not known, STOPPED at the end."""
        taken = {trial_step(trial) for trial in self.trials.values()}
        for step in self._search_steps():
            if step not in taken:
                values = self._draw(step)
                if values is not None:
                    return {"status": "RUNNING", "values": values}
        for later in self._later_steps():
            if later is None:
                # Not a later one first: trials have the same numbers in any company. And the chief
                # has a single thread, so that whoever ends a trial waits as long.
                time.sleep(_PATIENCE)
                return {"status": "IDLE"}
            if later not in taken:
                return {"status": "RUNNING", "values": self._values(later, self._settings(later))}
        return {"status": "STOPPED"}

    def _search_steps(self) -> list[Step]:
        """Draw by draw, arms in turn: a study that is stopped has as much of each."""
        return [
            Step(arm, SEARCH, draw, self.arms[arm].seed)
            for draw in range(self.draws)
            for arm in self.arms
            if draw < self._exhausted.get(arm, self.draws)
        ]

    def _later_steps(self) -> list[Step | None]:
        """What follows the search: `None` where that hangs on trials that have not ended."""
        steps: list[Step | None] = []
        for arm in self.arms:
            steps += self._final_steps(arm, 0)  # The defaults, for they are known.
        confirmed = {arm: self._confirm_steps(arm) for arm in self.arms}
        for runs in confirmed.values():
            steps += [None] if runs is None else runs
        for arm, runs in confirmed.items():
            if runs is None or not self._have_ended(runs):
                steps.append(None)
            elif best := self.best_draw(arm):
                steps += self._final_steps(arm, best)
        return steps

    def _confirm_steps(self, arm: str) -> list[Step] | None:
        """Runs of the finalists, that the best is chosen by; `None` while the search goes on."""
        search = [step for step in self._search_steps() if step.arm == arm]
        is_running = any(t.status not in _FINISHED for t in self.trials_of(arm, SEARCH))
        if is_running or not self._have_ended(search):
            return None
        best = finalists_of(self._scores(arm, SEARCH), self.finalists)
        first = self.arms[arm].seed + _TO_CONFIRM
        seeds = range(first, first + self.seeds)
        return [Step(arm, CONFIRM, draw, seed) for draw in best for seed in seeds]

    def _final_steps(self, arm: str, draw: int) -> list[Step]:
        """The last word on a draw, by other seeds than those whose luck it was chosen by."""
        first = self.arms[arm].seed + 1
        return [Step(arm, FINAL, draw, seed) for seed in range(first, first + self.seeds)]

    def trials_of(self, arm: str, stage: str) -> list[Any]:
        """The arm's trials of a stage."""
        steps = ((trial_step(trial), trial) for trial in self.trials.values())
        return [trial for step, trial in steps if step.arm == arm and step.stage == stage]

    def _scores(self, arm: str, stage: str) -> list[tuple[int, float]]:
        """Draw and score of each trial of the stage that ended well."""
        return [
            (trial_step(trial).draw, trial.score)
            for trial in self.trials_of(arm, stage)
            if trial.status == "COMPLETED"
        ]

    def best_draw(self, arm: str) -> int | None:
        """The draw with the best score so far; `None` where all have failed."""
        searched, confirmed = self._scores(arm, SEARCH), self._scores(arm, CONFIRM)
        return best_of(searched, mean_scores(searched, confirmed, self.finalists))

    def _ended(self) -> set[Step]:
        return {trial_step(t) for t in self.trials.values() if t.status in _FINISHED}

    def _have_ended(self, steps: Iterable[Step]) -> bool:
        return self._ended().issuperset(steps)

    def done(self) -> int:
        """Trials of the plan that have ended, whatever came of them."""
        return len(self._ended() & {*self._search_steps(), *self._later_steps()})

    def planned(self) -> int:
        """Trials in all, as far as can be known: a best draw that is the default runs once."""
        count = len(self._search_steps())
        for arm in self.arms:
            runs = self._confirm_steps(arm)
            if runs is None:
                finalists = min(self.finalists, self._exhausted.get(arm, self.draws))
                count += self.seeds * finalists if finalists > 1 else 0
            else:
                count += len(runs)
            is_known = runs is not None and self._have_ended(runs)
            count += self.seeds * (1 if is_known and not self.best_draw(arm) else 2)
        return count

    # --- Values --------------------------------------------------------------------------------

    def _draw(self, step: Step) -> dict[str, Any] | None:
        space = self.spaces[step.arm]
        if step.draw >= self._exhausted.get(step.arm, self.draws):
            return None
        if step.draw == 0:
            return self._values(step, space.values)
        # A fresh oracle for each draw, that is told what has ended: nothing of it is to be saved.
        arm_number = list(self.arms).index(step.arm)
        seed = self.draw_seed + 1000 * arm_number + 100_000 * step.draw
        oracle = self.search(objective=self.objective, seed=seed)
        oracle.hyperparameters = space.copy()
        for trial in self.trials_of(step.arm, SEARCH):
            own = space.copy()
            own.values = declared(space, trial.hyperparameters.values)
            past = keras_tuner.engine.trial.Trial(own, trial.trial_id, trial.status)
            past.score = trial.score
            oracle.trials[past.trial_id] = past
            if trial.status not in _FINISHED:
                oracle.ongoing_trials[past.trial_id] = past  # Bayesian search guesses its score.
            record_values(oracle, past)  # Not to be drawn again.
        answer = oracle.populate_space(str(step.draw))
        if answer["status"] != "RUNNING":
            self._exhausted.setdefault(step.arm, step.draw)
            return None
        return self._values(step, answer["values"])

    def _settings(self, step: Step) -> dict[str, Any]:
        """The values that the draw of a later step had."""
        if step.draw == 0:
            return self.spaces[step.arm].values
        trial = next(t for t in self.trials_of(step.arm, SEARCH) if trial_step(t).draw == step.draw)
        return settings_of(trial)

    def _values(self, step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
        # Keras-tuner sends numbers in single precision between processes: here too then, so that
        # one process and several run the same trials. (In random search: what a Bayesian one draws
        # depends on what has ended.)
        rounded = {
            name: float(np.float32(value)) if isinstance(value, float) else value
            for name, value in settings.items()
        }
        return {**rounded, **dataclasses.asdict(step)}

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Nothing: arms have spaces of their own, in which one name may have several ranges."""

    # --- What lasts ----------------------------------------------------------------------------

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:  # noqa: D102
        # A worker that outlived its chief may have ended what the new chief meant to run again.
        queue = retry_queue(self)
        queue[:] = [i for i in queue if self.trials[i].status not in _FINISHED]
        return super().create_trial(tuner_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:  # noqa: D102
        reason = pathlib.Path(trial_folder(self, trial.trial_id)) / REASON
        if trial.message is None and reason.is_file():
            # Keras-tuner does not send it.
            trial.message = reason.read_text(encoding="utf-8", errors="replace")
        super().end_trial(trial)
        self.on_change(self.trials[trial.trial_id])

    def _save_trial(self, trial: Any) -> None:
        path = pathlib.Path(trial_folder(self, trial.trial_id)) / "trial.json"
        write_whole(path, json.dumps(trial.get_state()))

    def save(self) -> None:
        """Nothing: the trials' files are all there is to save."""

    def reload(self) -> None:
        """Takes up the trials found in the folder; those that were running are run again.

        One whose file is damaged is run again under a new number, with a warning; its own number
        stays that of a failed trial, and its file is kept.

        Raises:
            ValueError: if one of them is missing, whose number another would get, or cannot be
                read.
        """
        files = self._trial_files()
        for number, file_number in enumerate(files):
            if file_number != number:
                raise ValueError(
                    f"`folder` must hold all of the study's trials: {project_folder(self)} lacks "
                    f"number {number}. To run failed trials again, use `run(retry_failed=True)`"
                )
        for file in files.values():
            trial = self._load(file)
            is_lost = trial_step(trial).stage == LOST
            if trial.status == "FAILED" and self.retry_failed and not is_lost:
                trial.status, trial.message = "INVALID", None
                for name in (REASON, STARTS):
                    file = pathlib.Path(trial_folder(self, trial.trial_id)) / name
                    file.unlink(missing_ok=True)
            self.trials[trial.trial_id] = trial
            self.start_order.append(trial.trial_id)
            if trial.status in _FINISHED:
                self.end_order.append(trial.trial_id)
            else:
                trial.metrics = type(trial.metrics)()
                retry_queue(self).insert(0, trial.trial_id)  # It is taken from the end.

    def _trial_files(self) -> dict[int, pathlib.Path]:
        """The trials' files by number, in order. A copy with another name is passed over."""
        folders = pathlib.Path(project_folder(self)).glob("trial_*")
        numbers = {folder: folder.name.removeprefix("trial_") for folder in folders}
        found = {
            int(number): folder / "trial.json"
            for folder, number in numbers.items()
            if number.isdecimal() and (folder / "trial.json").exists()
        }
        return dict(sorted(found.items()))

    def _load(self, path: pathlib.Path) -> Any:
        """The trial of a file; one that stands in its place where the file is damaged."""
        trial_id = path.parent.name.removeprefix("trial_")
        try:
            return self._read(path, trial_id)
        except DamagedFileError as error:
            warnings.warn(str(error), stacklevel=2)
            shutil.copy2(path, path.with_name(_ASIDE))
            hyperparameters = keras_tuner.HyperParameters()
            hyperparameters.values = dataclasses.asdict(Step("", LOST, 0, 0))
            trial = keras_tuner.engine.trial.Trial(hyperparameters, trial_id, "FAILED")
            trial.message = str(error)
            self._save_trial(trial)
            return trial

    def _read(self, path: pathlib.Path, trial_id: str) -> Any:
        remedy = f"The trial is run again under a new number, and the file is kept as {_ASIDE}."
        state = read_json(path, remedy)
        try:
            trial = keras_tuner.engine.trial.Trial.from_state(state)
            step = trial_step(trial)
            has_ended_well = trial.status == "COMPLETED"
            is_whole = (
                trial.trial_id == trial_id
                and (step.arm in self.arms or step.stage == LOST)
                and trial.status in (*_FINISHED, "RUNNING", "INVALID")
                and not (has_ended_well and math.isnan(float(trial.score)))
                and not (has_ended_well and not trial.metrics.exists(self.objective.name))
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise damaged(path, remedy, repr(error)) from error
        if not is_whole:
            raise damaged(path, remedy, "a trial that is not whole, or not of this study")
        return trial


# A draw and its score, of each trial of an arm and a stage that ended well.
Scores = Sequence[tuple[int, float]]


def finalists_of(searched: Scores, count: int) -> list[int]:
    """The `count` best draws of a search, best first; none where that leaves no choice."""
    best = [draw for draw, _ in sorted(searched, key=lambda one: one[1], reverse=True)[:count]]
    return best if len(best) > 1 else []


def mean_scores(searched: Scores, confirmed: Scores, count: int) -> dict[int, float]:
    """The finalists' mean scores by draw, of those that were confirmed.

    Draws that were finalists of a shorter search do not count, nor those of which more runs failed
    than of others: a mean of few is lucky more easily.
    """
    finalists = finalists_of(searched, count)
    by_draw: dict[int, list[float]] = {}
    for draw, score in confirmed:
        if draw in finalists:
            by_draw.setdefault(draw, []).append(score)
    most = max(map(len, by_draw.values()), default=0)
    return {draw: float(np.mean(runs)) for draw, runs in by_draw.items() if len(runs) == most}


def best_of(searched: Scores, confirmed: Mapping[int, float]) -> int | None:
    """The best draw, by the mean scores of finalists where there are any, else by the search.

    Args:
        searched: The search's scores.
        confirmed: See `mean_scores`.

    Returns:
        The draw; `None` where nothing ended well.
    """
    scores = confirmed or dict(searched)
    return max(scores, key=scores.__getitem__, default=None)


def settings_of(trial: Any) -> dict[str, Any]:
    """The values of a trial's hyperparameters, without what makes it a step of the plan."""
    plan = {field.name for field in dataclasses.fields(Step)}
    return {k: v for k, v in trial.hyperparameters.values.items() if k not in plan}


def declared(space: keras_tuner.HyperParameters, values: Mapping[str, Any]) -> dict[str, Any]:
    """Values that were rounded on their way as those that the space has; no others."""
    parameters = keras_tuner.engine.hyperparameters
    found = {}
    for parameter in space.space:
        if parameter.name not in values:
            continue
        value = values[parameter.name]
        is_listed = isinstance(parameter, parameters.Choice) or (
            isinstance(parameter, parameters.Float) and parameter.step is not None
        )
        if isinstance(value, float) and is_listed:
            value = min((abs(own - value), own) for own in parameter.values)[1]
        found[parameter.name] = value
    return found


def searched(hypermodel: PretrainingHyperModel) -> keras_tuner.HyperParameters:
    """The hyperparameters of a hypermodel's space, with their defaults as values."""
    hp = keras_tuner.HyperParameters()
    hypermodel.trial_recipe(hp)
    if not isinstance(hypermodel.encoder, str):
        hypermodel.build_encoder(hp)
    return hp


def file_name(arm: str) -> str:
    """A file's name for an arm's: "VICReg, M = 64" is "vicreg-m-64".

    Letters and digits of any language, and hyphens; a long name ends in a checksum.
    """
    words = "".join(c if c.isalnum() else " " for c in arm.lower()).split()
    name = "-".join(words)
    # File systems take 255 bytes, and a character may have four.
    return name if len(name) <= 50 else f"{name[:40]}-{zlib.crc32(arm.encode()):08x}"
