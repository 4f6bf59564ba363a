"""Inspects a model: a sample of images, its figures and pictures, and a diagnosis."""

from keras_ssl.inspection.diagnosis import CHECKS, Course, Diagnosis, diagnose
from keras_ssl.inspection.event_log import EventLog, EventLogWarning
from keras_ssl.inspection.sample import Inspection, Sample

__all__ = [
    "CHECKS",
    "Course",
    "Diagnosis",
    "EventLog",
    "EventLogWarning",
    "Inspection",
    "Sample",
    "diagnose",
]
