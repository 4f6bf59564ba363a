"""A study's plan as a keras-tuner oracle, whose state survives SIGKILL."""

import dataclasses
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras_tuner
import numpy as np

from keras_ssl._keras import project_folder, record_values, retry_queue, trial_folder
from keras_ssl.hypermodels import PretrainingHyperModel
from keras_ssl.studies.plan import LOST, SEARCH, Pause, Plan, Record, Step, settings_of
from keras_ssl.studies.settings import declared
from keras_ssl.studies.trial_files import (
    FINISHED,
    REASON,
    STARTS,
    read_trial,
    step_of,
    trial_folders,
    write_trial,
)

# Seconds between a worker's questions while it waits for the last trials of a search.
_PATIENCE = 0.5


class StudyOracle(keras_tuner.Oracle):
    """Hands out the trials of a study, as its plan orders them.

    See `keras_ssl.studies.plan`. Draw 0 of an arm has the default settings, `search` proposes the
    others.

    The trials' own files are the whole state, and each is written whole or not at all. Whenever the
    process is killed, the next one runs only the unfinished trials. The plan can grow (more trials,
    seeds or finalists) from one process to the next.

    Args:
        arms: Hypermodels by name.
        spaces: Their hyperparameters, see `keras_ssl.studies.settings.space_of`.
        trials: Draws per arm, the defaults included.
        seeds: Final runs per arm of each of its two settings; runs of each finalist.
        finalists: Draws per arm that are confirmed, the best of the search. 1: no
            draw is confirmed.
        search: A function from (objective, seed) to the keras-tuner oracle that proposes settings.
            The oracle must need no state besides the trials that have ended, like random and
            Bayesian search.
        objective: See `keras_tuner.Oracle`.
        seed: Seed of the draws.
        on_change: Called with every trial that has ended.
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
            # A study goes on, however many trials fail.
            max_consecutive_failed_trials=np.inf,
        )
        own_seeds = {name: arm.seed for name, arm in arms.items()}
        self.plan = Plan(own_seeds, dict.fromkeys(arms, trials), seeds, finalists)
        # Not `seed`, which keras-tuner draws at random where it is 0.
        self.draw_seed = seed + 1
        self.search, self.on_change, self.retry_failed = search, on_change, retry_failed
        self.spaces = spaces

    # --- The plan ------------------------------------------------------------------------------

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values of the next trial; IDLE while it is not known, STOPPED at the end."""
        while isinstance(step := self.plan.next_step(self.records()), Step):
            settings = self._settings(step)
            if settings is not None:
                return {"status": "RUNNING", "values": self._values(step, settings)}
            self.plan = self.plan.without_draws_from(step)
        if step is Pause.END:
            return {"status": "STOPPED"}
        # The chief has a single thread, so that a process that ends a trial waits as long.
        time.sleep(_PATIENCE)
        return {"status": "IDLE"}

    def records(self) -> list[Record]:
        """The trials that exist, as the plan sees them."""
        return [
            Record(
                step_of(trial),
                trial.status in FINISHED,
                trial.score if trial.status == "COMPLETED" else None,
            )
            for trial in self.trials.values()
        ]

    def best_draw(self, arm: str) -> int | None:
        """The draw with the best score so far; `None` if all have failed."""
        return self.plan.best_draw(arm, self.records())

    def done(self) -> int:
        """Number of planned trials that have ended, failed ones included."""
        return self.plan.done(self.records())

    def planned(self) -> int:
        """Number of trials in all, as far as it is known."""
        return self.plan.planned(self.records())

    # --- Values --------------------------------------------------------------------------------

    def _settings(self, step: Step) -> dict[str, Any] | None:
        """The hyperparameters' values for a step; `None` if the space has none left to draw."""
        if step.draw == 0:
            return self.spaces[step.arm].values
        if step.stage == SEARCH:
            return self._draw(step)
        trial = next(t for t in self._searched(step.arm) if step_of(t).draw == step.draw)
        return settings_of(trial.hyperparameters.values)

    def _draw(self, step: Step) -> dict[str, Any] | None:
        space = self.spaces[step.arm]
        # Each draw gets a new oracle and the trials that exist, so that no oracle has to be saved.
        arm_number = list(self.plan.arms).index(step.arm)
        seed = self.draw_seed + 1000 * arm_number + 100_000 * step.draw
        oracle = self.search(objective=self.objective, seed=seed)
        oracle.hyperparameters = space.copy()
        for trial in self._searched(step.arm):
            own = space.copy()
            own.values = declared(space, trial.hyperparameters.values)
            past = keras_tuner.engine.trial.Trial(own, trial.trial_id, trial.status)
            past.score = trial.score
            oracle.trials[past.trial_id] = past
            if trial.status not in FINISHED:
                oracle.ongoing_trials[past.trial_id] = past  # Bayesian search guesses its score.
            record_values(oracle, past)  # Not to be drawn again.
        answer = oracle.populate_space(str(step.draw))
        return answer["values"] if answer["status"] == "RUNNING" else None

    def _searched(self, arm: str) -> list[Any]:
        """The trials of an arm's search."""
        steps = ((step_of(trial), trial) for trial in self.trials.values())
        return [trial for step, trial in steps if step.arm == arm and step.stage == SEARCH]

    def _values(self, step: Step, settings: Mapping[str, Any]) -> dict[str, Any]:
        # Keras-tuner sends numbers in single precision between processes. They are rounded here
        # too, so that one process and several run the same trials. (In random search: the draws of
        # a Bayesian one depend on which trials have ended.)
        rounded = {
            name: float(np.float32(value)) if isinstance(value, float) else value
            for name, value in settings.items()
        }
        return {**rounded, **dataclasses.asdict(step)}

    def update_space(self, hyperparameters: keras_tuner.HyperParameters) -> None:
        """Does nothing: arms have their own spaces, in which one name may have several ranges."""

    # --- Saved state ---------------------------------------------------------------------------

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> Any:  # noqa: D102
        # A worker that outlived its chief may have ended a trial that the new chief would repeat.
        queue = retry_queue(self)
        queue[:] = [i for i in queue if self.trials[i].status not in FINISHED]
        return super().create_trial(tuner_id)

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:  # noqa: D102
        reason = self._folder_of(trial) / REASON
        if trial.message is None and reason.is_file():
            # Keras-tuner does not send it.
            trial.message = reason.read_text(encoding="utf-8", errors="replace")
        super().end_trial(trial)
        self.on_change(self.trials[trial.trial_id])

    def _folder_of(self, trial: Any) -> pathlib.Path:
        return pathlib.Path(trial_folder(self, trial.trial_id))

    def _save_trial(self, trial: Any) -> None:
        write_trial(trial, self._folder_of(trial))

    def save(self) -> None:
        """Does nothing: the trials' files are the whole state."""

    def reload(self) -> None:
        """Reads the trials found in the folder; those that were running are run again.

        A trial whose file is damaged is run again under a new number, with a warning; its own
        number stays that of a failed trial, and its file is kept.

        Raises:
            ValueError: if a trial is missing, so that another would get its number, or if a trial
                cannot be read.
        """
        folders = trial_folders(pathlib.Path(project_folder(self)))
        for number, found in enumerate(folders):
            if found != number:
                raise ValueError(
                    f"`folder` must hold all of the study's trials: {project_folder(self)} lacks "
                    f"number {number}. To run failed trials again, use `run(retry_failed=True)`"
                )
        for folder in folders.values():
            trial = read_trial(folder, self.plan.arms, self.objective.name)
            is_lost = step_of(trial).stage == LOST
            if trial.status == "FAILED" and self.retry_failed and not is_lost:
                trial.status, trial.message = "INVALID", None
                for name in (REASON, STARTS):
                    (folder / name).unlink(missing_ok=True)
            self.trials[trial.trial_id] = trial
            self.start_order.append(trial.trial_id)
            if trial.status in FINISHED:
                self.end_order.append(trial.trial_id)
            else:
                trial.metrics = type(trial.metrics)()
                retry_queue(self).insert(0, trial.trial_id)  # It is taken from the end.
