"""Studies: a question asked with keras-tuner, that survives the night and can be trusted."""

from keras_ssl.studies.results import ArmResult, Results
from keras_ssl.studies.study import Study, StudyFolderError
from keras_ssl.studies.workers import run_with_workers

__all__ = ["ArmResult", "Results", "Study", "StudyFolderError", "run_with_workers"]
