"""What a study prints while it runs."""

import time
from typing import Any

from keras_ssl import _log
from keras_ssl.studies.oracle import StudyOracle
from keras_ssl.studies.plan import ARM, DRAW, SEARCH, SEED, STAGE, scores_of
from keras_ssl.studies.results import reason_of


class Progress:
    """Prints one line per trial: its number, its score, the best score so far, the time left.

    Args:
        score: Name of the figure by which trials are compared.
    """

    def __init__(self, score: str) -> None:
        self.score = score
        self._start = time.monotonic()
        self._done_before = 0

    def begin(self, oracle: StudyOracle) -> None:
        """Prints how many trials there are, and how many are done."""
        self._start = time.monotonic()
        self._done_before = oracle.done()
        of_before = f", {self._done_before} of them done already" if self._done_before else ""
        _say(f"study: {oracle.planned()} trials{of_before}")

    def say(self, oracle: StudyOracle, trial: Any) -> None:
        """Prints the line of a trial that has ended."""
        values = trial.hyperparameters.values
        draw, arm = values[DRAW], values[ARM]
        what = "defaults" if draw == 0 else f"draw {draw}"
        if values[STAGE] != SEARCH:
            what = f"{values[STAGE]}, {what}, seed {values[SEED]}"
        if trial.status == "COMPLETED":
            found = f"{self.score} {trial.score:.4f}"
        else:
            found = f"FAILED, {reason_of(trial.message)[:200]}"
        scores = [score for _, score in scores_of(oracle.records(), arm, SEARCH)]
        so_far = f" (best of it {max(scores):.4f})" if scores else ""
        done, planned = oracle.done(), oracle.planned()
        seconds = (time.monotonic() - self._start) / max(done - self._done_before, 1)
        left = _log.duration(seconds * max(planned - done, 0))
        _say(f"trial {done} of {planned} | {arm}: {what} | {found}{so_far} | {left} left")


def _say(text: str) -> None:
    with _log.shown():  # A study speaks in a program to which nobody else does.
        _log.say(text)
