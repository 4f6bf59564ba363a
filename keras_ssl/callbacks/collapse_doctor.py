"""Naming what goes wrong while it does."""

import logging
import math
import os
import pathlib
from typing import Any

import keras

from keras_ssl._validation import check_count
from keras_ssl.callbacks.checkpoint import save_model
from keras_ssl.callbacks.inspector import EmbeddingInspector
from keras_ssl.inspection import Course, Diagnosis, diagnose

_logger = logging.getLogger("keras_ssl")

# Illnesses that training does not heal.
_INCURABLE = ("not finite", "complete collapse", "dimensional collapse", "learning rate too high")


class CollapseDoctor(keras.callbacks.Callback):
    """Says in plain words whether a run has collapsed, and why: in the log and in TensorBoard.

    Looks at what an `EmbeddingInspector` has seen, and at the logs of every step for figures that
    are not finite. Finds: complete and dimensional collapse, views that are identical or share
    nothing, learning undone, batch normalisation on the projector's last layer, a term that
    dominates, a learning rate that blows up, the first term that turned NaN, a probe that never saw
    labels; each with figures and a remedy (`keras_ssl.inspection.CHECKS`). What is found is said
    once, and again in the text `doctor/diagnosis` of TensorBoard at every look.

        inspector = EmbeddingInspector(images, policy, "logs")
        doctor = CollapseDoctor(inspector, stop=True)
        model.fit(views, callbacks=[inspector, doctor], ...)

    Args:
        inspector: The inspector, which comes before this callback in the list.
        stop: Whether to stop training at an illness that does not heal: a collapse, a learning rate
            that blows up, and figures that are not finite at once.
        patience: Looks in a row at which such an illness must be found before training stops.
        checkpoint: A `.keras` file that the whole model is saved to whenever a look finds it
            healthy; the file of a run that falls ill is the last healthy model.

    Attributes:
        diagnoses: `keras_ssl.inspection.Diagnosis`es of the latest look, empty if it is healthy.
        history: All diagnoses so far, by name, each as it was first made.

    Raises:
        TypeError: for an inspector that is none.
        ValueError: for a patience below 1, or a checkpoint that does not end in ".keras".
    """

    def __init__(
        self,
        inspector: EmbeddingInspector,
        stop: bool = False,
        patience: int = 2,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(inspector, EmbeddingInspector):
            raise TypeError(
                "`inspector` must be a keras_ssl.callbacks.EmbeddingInspector. "
                f"Received: {type(inspector).__name__}"
            )
        self.inspector, self.stop = inspector, stop
        self.patience = check_count("patience", patience)
        self.checkpoint = None if checkpoint is None else pathlib.Path(checkpoint)
        if self.checkpoint is not None and self.checkpoint.suffix != ".keras":
            raise ValueError(
                f'`checkpoint` must end in ".keras". Received: checkpoint={str(checkpoint)!r}'
            )
        self.diagnoses: list[Diagnosis] = []
        self.history: dict[str, Diagnosis] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forgets an earlier run."""
        self.diagnoses, self.history = [], {}
        self._course: Course | None = None
        self._steps, self._in_a_row = 0, 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the untrained model: some illnesses are there from the beginning."""
        if self._course is None and self.inspector.latest is not None:
            latest = self.inspector.latest
            self._course = Course(
                self.model, latest, latest, has_labels=self.inspector.sample.labels is not None
            )
            self._examine(self._course)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Watches for figures that are not finite; examines where the inspector has looked."""
        self._steps += 1
        course = self._course
        if course is None:
            return
        course.steps = self._steps
        course.logs = {name: float(value) for name, value in (logs or {}).items()}
        course.first_logs = course.first_logs or course.logs
        if not all(map(math.isfinite, course.logs.values())):
            self._examine(course)
        else:
            self._examine_if_new()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Examines where the inspector has looked."""
        self._examine_if_new()

    def _examine_if_new(self) -> None:
        course, latest = self._course, self.inspector.latest
        if course is not None and latest is not None and latest is not course.latest:
            course.latest = latest
            self._examine(course)

    def _examine(self, course: Course) -> None:
        if "not finite" in self.history:
            return  # Nothing more is to be learned from it.
        self.diagnoses = diagnose(course)
        for diagnosis in self.diagnoses:
            if diagnosis.name not in self.history:
                self.history[diagnosis.name] = diagnosis
                _logger.warning("%s", diagnosis)
        text = "\n\n".join(
            f"**{d.name[0].upper() + d.name[1:]}.** {d.finding} {d.remedy}" for d in self.diagnoses
        )
        self.inspector.write_text("doctor/diagnosis", text or "Healthy: nothing was found.")
        names = [diagnosis.name for diagnosis in self.diagnoses]
        self._in_a_row = self._in_a_row + 1 if set(names) & set(_INCURABLE) else 0
        if self.stop and (self._in_a_row >= self.patience or "not finite" in names):
            self.model.stop_training = True
            _logger.warning("Training stops: %s.", ", ".join(names))
        if self.checkpoint is not None and not names:
            save_model(self.model, self.checkpoint)
