"""A pretraining run from images to a judged encoder: `keras_ssl.pretrain`, and its parts.

`keras_ssl/commands/pretrain.py` has the function and its options.
"""

from keras_ssl.pretraining.run import Pretrained

__all__ = ["Pretrained"]
