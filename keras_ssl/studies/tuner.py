"""Runs the trials of a study: one model at a time, counted, timed, and never fatal."""

import math
import pathlib
import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner

from keras_ssl._files import write_whole
from keras_ssl._keras import is_worker
from keras_ssl.hypermodels import PretrainingHyperModel
from keras_ssl.studies.oracle import StudyOracle
from keras_ssl.studies.plan import ARM, FINAL, STAGE
from keras_ssl.studies.settings import declared
from keras_ssl.studies.tensorboard import TrialLog
from keras_ssl.studies.trial_files import REASON, STARTS

# After as many starts by processes that died, a trial is given up.
MOST_STARTS = 3


class StudyHyperModel(keras_tuner.HyperModel):
    """The hypermodels of all arms as one; trials of the last stage are judged on the test images.

    Args:
        arms: Hypermodels by name.
        spaces: Their hyperparameters, see `keras_ssl.studies.settings.space_of`.
    """

    def __init__(
        self,
        arms: Mapping[str, PretrainingHyperModel],
        spaces: Mapping[str, keras_tuner.HyperParameters],
    ) -> None:
        super().__init__()
        self.arms, self.spaces = arms, spaces

    def build(self, hp: keras_tuner.HyperParameters) -> keras.Model:
        """The model of the trial's arm."""
        return self.arms[hp.values[ARM]].build(hp)

    def fit(
        self, hp: keras_tuner.HyperParameters, model: keras.Model, *args: Any, **kwargs: Any
    ) -> dict[str, float]:
        """Trains and judges as the arm's hypermodel does."""
        hypermodel = self.arms[hp.values[ARM]]
        figures = hypermodel.fit(hp, model, *args, **kwargs)
        test = hypermodel.images.test
        if hp.values[STAGE] == FINAL and test is not None:
            figures.update(hypermodel.judge(model, test, "test_"))
        return figures


class StudyTuner(keras_tuner.Tuner):
    """A keras-tuner `Tuner` over a `StudyOracle`.

    Differences from its base: nothing is saved but the trials' figures (no weights, which only
    `get_best_models` would need), the state is the oracle's, a trial in which the process dies
    again and again is given up, and each trial's time and memory are figures too.

    Args:
        oracle: The plan.
        hypermodel: The arms.
        log_dir: Folder of the runs for TensorBoard, one below it for each trial.
        callbacks: Makes the callbacks of a trial, from its hyperparameters.
        **kwargs: See `keras_tuner.Tuner`.
    """

    def __init__(
        self,
        oracle: StudyOracle,
        hypermodel: StudyHyperModel,
        log_dir: pathlib.Path,
        callbacks: Callable[[keras_tuner.HyperParameters], list[keras.callbacks.Callback]],
        **kwargs: Any,
    ) -> None:
        self.log_dir, self.callbacks = log_dir, callbacks
        super().__init__(oracle=oracle, hypermodel=hypermodel, **kwargs)

    def _populate_initial_space(self) -> None:
        if not is_worker(self):
            self.oracle.reload()

    def save(self) -> None:
        """Nothing: the trials' files are all there is."""

    def run_trial(self, trial: Any, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Trains and judges one model."""
        starts = pathlib.Path(self.get_trial_dir(trial.trial_id)) / STARTS
        before = starts.stat().st_size if starts.exists() else 0
        hp = trial.hyperparameters
        hp.values.update(declared(self.hypermodel.spaces[hp.values[ARM]], hp.values))
        log = TrialLog(self.log_dir, hp.values)
        if before >= MOST_STARTS:
            log.finish({}, is_success=False)
            raise keras_tuner.errors.FailedTrialError(
                f"The process died {before} times in this trial, killed: for want of memory?"
            )
        with starts.open("a") as file:
            file.write(".")
        begin = time.monotonic()
        try:
            # What the last trial left: its graphs, its datasets.
            keras.backend.clear_session()
            with keras_tuner.engine.tuner.maybe_distribute(self.distribution_strategy):
                model = self.hypermodel.build(hp)
            callbacks = [*self.callbacks(hp), log]
            figures = self.hypermodel.fit(hp, model, *args, callbacks=callbacks, **kwargs)
            figures["seconds"] = time.monotonic() - begin
            figures["memory_mib"] = memory_mib()
            log.finish(figures, not math.isnan(figures[self.oracle.objective.name]))
        except Exception:
            log.finish({}, is_success=False)
            raise
        finally:
            # It did not die: an error is recorded as such, and being told to stop is no fault.
            starts.unlink(missing_ok=True)
        return figures

    def on_trial_end(self, trial: Any) -> None:
        """Hands the trial back, with the reason if it failed."""
        if trial.message is not None:
            write_whole(pathlib.Path(self.get_trial_dir(trial.trial_id)) / REASON, trial.message)
        super().on_trial_end(trial)


def memory_mib() -> float:
    """Memory that the process holds now, in MiB; where that cannot be known, the most it held."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
