"""Says what is wrong with a run while it trains."""

import dataclasses
import logging
import os
import pathlib
from typing import Any

import keras

from keras_ssl._validation import check_count
from keras_ssl.callbacks.checkpoint import save_model
from keras_ssl.callbacks.inspector import EmbeddingInspector
from keras_ssl.inspection import Course, Diagnosis, EventLog, diagnose, summaries
from keras_ssl.inspection.diagnosis import RECORD, TEXT

_logger = logging.getLogger("keras_ssl")


class CollapseDoctor(keras.callbacks.Callback):
    """Says in plain words whether a run has collapsed, and why: in the log and in TensorBoard.

    It reads what an `EmbeddingInspector` has seen, and checks that the logs of every step are
    finite. It finds complete and dimensional collapse, views that are identical or share nothing,
    learning undone, batch normalization on the projector's last layer, a term that dominates, a
    learning rate that is too high, values that are not finite, and a probe that never saw labels;
    each with figures and a remedy (`keras_ssl.inspection.CHECKS`). The log gets each diagnosis
    once; TensorBoard gets all of them at every look, in the text `doctor/diagnosis`.

    The doctor stands behind its inspector in the list of callbacks. Several doctors can share one
    inspector, and both can be used in several calls of `fit`.

        inspector = EmbeddingInspector(images, policy, "logs")
        doctor = CollapseDoctor(inspector, stop=True)
        model.fit(views, callbacks=[inspector, doctor], ...)

    Args:
        inspector: The inspector, which must be in the list of callbacks before the doctor.
        stop: Whether to stop training at an illness that training does not heal
            (`Diagnosis.heals`), such as a collapse. Values that are not finite stop it at once.
        patience: Looks in a row that must find such an illness before training stops.
        checkpoint: A `.keras` file. Every look that finds no such illness, except the one before
            training, saves the whole model to it; if the run falls ill, the file holds the last
            healthy model.

    Attributes:
        diagnoses: `keras_ssl.inspection.Diagnosis`es of the latest look, empty if it is healthy.
        history: All diagnoses so far, by name, each as it was first made.

    Raises:
        TypeError: for an inspector or a path of another type.
        ValueError: for a patience below 1, a checkpoint that does not end in ".keras", or, when
            `fit` begins, an inspector that is not before the doctor in the list of callbacks.

    Example:
        >>> import numpy as np
        >>> from keras_ssl import inspection, models
        >>> encoder = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8)])
        >>> model = models.VICReg(encoder, projector="4")
        >>> model.compile("adamw", run_eagerly=True)
        >>> view = np.random.RandomState(0).rand(16, 8).astype("float32")
        >>> inspector = EmbeddingInspector(inspection.Sample.of((view, view)))
        >>> doctor = CollapseDoctor(inspector)
        >>> history = model.fit((view, view), verbose=0, callbacks=[inspector, doctor])
        >>> "identical views" in doctor.history
        True
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
        self._course: Course | None = None
        self._log: EventLog | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Forgets an earlier run."""
        self._close()  # An error has ended the last run.
        self.diagnoses, self.history = [], {}
        self._course, self._in_a_row, self._is_finite = None, 0, True
        # An inspector before this one has forgotten what it saw in an earlier run.
        self._seen_before = self.inspector.latest

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Examines the model before its first epoch."""
        if self._course is None:
            latest = self.inspector.latest
            if latest is None or latest is self._seen_before:
                raise ValueError(
                    "`inspector` must be in the list of callbacks, before its doctor: "
                    "callbacks=[inspector, doctor]. Received: an inspector that has not looked at "
                    "the model yet"
                )
            self._course = Course(self.model, latest, latest)
            if self.inspector.log is not None:
                self._log = self.inspector.log.share()
            if epoch == 0 and not self.params.get("initial_step"):
                self._examine(self._course)
            # Otherwise the run goes on, and its log holds what was found here before.

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Examines the model if looks are counted in steps, or if a figure is not finite."""
        course = self._course
        if course is not None:
            course.logs = {name: float(value) for name, value in (logs or {}).items()}
            course.first_logs = course.first_logs or course.logs
            self._examine_if_new(course)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Examines the model if looks are counted in epochs."""
        if self._course is not None:
            self._examine_if_new(self._course)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Examines the model once more."""
        if self._course is not None:
            self._examine_if_new(self._course)
        self._close()

    def _close(self) -> None:
        if self._log is not None:
            self._log.close()
        self._log = None

    def _examine_if_new(self, course: Course) -> None:
        """Examines the model if the inspector has looked again, or a value is not finite."""
        latest = self.inspector.latest or course.latest
        has_looked = latest is not course.latest
        course.latest, course.steps = latest, self.inspector.steps
        if self._is_finite and (has_looked or not course.is_finite):
            self._examine(course)

    def _examine(self, course: Course) -> None:
        self._is_finite = course.is_finite  # If not, nothing more can be learned from the run.
        self.diagnoses = diagnose(course)
        for diagnosis in self.diagnoses:
            if diagnosis.name not in self.history:
                self.history[diagnosis.name] = diagnosis
                _logger.warning("%s", diagnosis)
        if self._log is not None:
            self._log.write_each(self.inspector.now, {TEXT: self._text, RECORD: self._record})
        is_incurable = not all(diagnosis.heals for diagnosis in self.diagnoses)
        self._in_a_row = self._in_a_row + 1 if is_incurable else 0
        if self.stop and (self._in_a_row >= self.patience or not course.is_finite):
            self.model.stop_training = True
            names = ", ".join(diagnosis.name for diagnosis in self.diagnoses)
            _logger.warning("Training stops: %s.", names)
        if self.checkpoint is not None and course.has_trained and not is_incurable:
            save_model(self.model, self.checkpoint)

    def _text(self) -> Any:
        text = "\n\n".join(
            f"**{d.name[0].upper() + d.name[1:]}.** {d.finding} {d.remedy}" for d in self.diagnoses
        )
        return summaries.text(TEXT, text or "Healthy: nothing was found.")

    def _record(self) -> Any:
        content = [dataclasses.asdict(diagnosis) for diagnosis in self.diagnoses]
        return summaries.record(RECORD, content)
