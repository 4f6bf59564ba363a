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
_INCURABLE = (
    *("not finite", "complete collapse", "dimensional collapse", "learning undone"),
    "learning rate too high",
)


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
        inspector: The inspector, which is in the list of callbacks too.
        stop: Whether to stop training at an illness that does not heal: a collapse, a learning rate
            that blows up, and figures that are not finite at once.
        patience: Looks in a row at which such an illness must be found before training stops.
        checkpoint: A `.keras` file that the whole model is saved to whenever a look, but the one
            before training, finds no such illness; the file of a run that falls ill is the last
            healthy model.

    Attributes:
        diagnoses: `keras_ssl.inspection.Diagnosis`es of the latest look, empty if it is healthy.
        history: All diagnoses so far, by name, each as it was first made.

    Raises:
        TypeError: for an inspector or a path that is none.
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
        if not isinstance(checkpoint, (str, os.PathLike, type(None))):
            raise TypeError(
                f"`checkpoint` must be a file's path, or None. Received: checkpoint={checkpoint!r}"
            )
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
        self._logs: dict[str, float] = {}
        self._in_a_row = 0
        self.inspector.on_look.append(self._on_look)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Watches for figures that are not finite."""
        self._logs = {name: float(value) for name, value in (logs or {}).items()}
        course = self._course
        if course is not None:
            course.first_logs = course.first_logs or self._logs
            if not all(map(math.isfinite, self._logs.values())):
                self._examine(course)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Makes sure that the inspector is there."""
        if self._course is None:
            raise ValueError(
                "`inspector` must be in the list of callbacks too: it has not looked at the model."
            )

    def _on_look(self) -> None:
        latest = self.inspector.latest
        if latest is None:
            return
        if self._course is None:
            self._course = Course(self.model, latest, latest)
        self._course.latest = latest
        self._examine(self._course)

    def _examine(self, course: Course) -> None:
        if "not finite" in self.history:
            return  # Nothing more is to be learned from it.
        course.logs, course.steps = self._logs, self.inspector.steps
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
        if self.checkpoint is not None and course.has_trained and not self._in_a_row:
            save_model(self.model, self.checkpoint)
