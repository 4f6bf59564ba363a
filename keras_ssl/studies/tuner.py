"""Runs the trials of a study, one model at a time; a trial that fails does not end the study."""

import math
import pathlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import keras
import keras_tuner

from keras_ssl._files import write_whole
from keras_ssl.hypermodels import PretrainingHyperModel
from keras_ssl.studies.oracle import StudyOracle
from keras_ssl.studies.plan import ARM, FINAL, STAGE
from keras_ssl.studies.settings import declared
from keras_ssl.studies.starter import is_worker
from keras_ssl.studies.tensorboard import TrialLog
from keras_ssl.studies.trial_files import REASON, STARTS

# A trial is given up when so many processes have died in it.
MOST_STARTS = 3


class StudyHyperModel(keras_tuner.HyperModel):
    """The hypermodels of all arms as one; it judges the final trials on the test images.

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
        """Trains and judges the model as the arm's hypermodel does."""
        hypermodel = self.arms[hp.values[ARM]]
        figures = hypermodel.fit(hp, model, *args, **kwargs)
        test = hypermodel.images.test
        if hp.values[STAGE] == FINAL and test is not None:
            figures.update(hypermodel.judge(model, test, "test_"))
        return figures


class StudyTuner(keras_tuner.Tuner):
    """A keras-tuner `Tuner` over a `StudyOracle`.

    It differs from its base in four ways: it saves the trials' figures but no weights, which only
    `get_best_models` would need; its state is the oracle's; it gives up a trial in which the
    process has died three times; and it records the time and memory of each trial.

    Args:
        oracle: The plan.
        hypermodel: The arms.
        log_dir: Folder of the runs for TensorBoard, one below it for each trial.
        callbacks: Makes the callbacks of a trial from its hyperparameters.
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
        if not is_worker():
            self.oracle.reload()

    def save(self) -> None:
        """Does nothing: the trials' files are the whole state."""

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
                f"The process died {before} times in this trial. It may have run out of memory."
            )
        with starts.open("a") as file:
            file.write(".")
        begin = time.monotonic()
        try:
            # This frees the graphs and data sets of the trial before, and forgets the devices.
            devices = keras.distribution.distribution()
            keras.backend.clear_session()
            keras.distribution.set_distribution(devices)
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
            # The process did not die in it: it failed with an error, or was asked to stop.
            starts.unlink(missing_ok=True)
        return figures

    def on_trial_end(self, trial: Any) -> None:
        """Gives the trial back to the oracle, with the reason if it failed."""
        if trial.message is not None:
            write_whole(pathlib.Path(self.get_trial_dir(trial.trial_id)) / REASON, trial.message)
        super().on_trial_end(trial)


def memory_mib() -> float:
    """Memory that the process uses, in MiB; its peak on systems that do not tell what it is now.

    NaN on Windows.
    """
    try:
        import resource
    except ImportError:
        return math.nan
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() / 2**20
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
