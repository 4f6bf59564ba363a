"""Files of an encoder that run elsewhere: each is checked against Keras and says what it takes.

`write_folder` writes a folder with the encoder in one format, the contract of its images as JSON,
and a model card. `formats.py` has a class for each format; the dictionary `FORMATS` names them.
"""

from keras_ssl.exporting.folder import Exported, write_folder
from keras_ssl.exporting.formats import FORMATS, Format, load_safetensors
from keras_ssl.exporting.precision import in_float32

__all__ = [
    "FORMATS",
    "Exported",
    "Format",
    "in_float32",
    "load_safetensors",
    "write_folder",
]
