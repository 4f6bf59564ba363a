"""Studies: a search over several methods with keras-tuner that survives being killed."""

from keras_ssl.studies.plots import draw_arms, draw_curves, draw_path, draw_search
from keras_ssl.studies.report import (
    arms_table,
    chance_limit,
    difference,
    spread,
    write_report,
)
from keras_ssl.studies.results import ArmResult, Results
from keras_ssl.studies.setup import setup_of
from keras_ssl.studies.study import Study, StudyFolderError
from keras_ssl.studies.workers import run_with_workers

__all__ = [
    "ArmResult",
    "Results",
    "Study",
    "StudyFolderError",
    "arms_table",
    "chance_limit",
    "difference",
    "draw_arms",
    "draw_curves",
    "draw_path",
    "draw_search",
    "run_with_workers",
    "setup_of",
    "spread",
    "write_report",
]
