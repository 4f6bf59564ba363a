"""Where images come from: one file per source, and `load`, which knows them all."""

from keras_ssl.data.sources.arrays import from_arrays
from keras_ssl.data.sources.by_name import load
from keras_ssl.data.sources.folder import from_folder

__all__ = ["from_arrays", "from_folder", "load"]
