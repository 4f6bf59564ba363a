"""The layers of a method other than the encoder."""

from keras_ssl.layers.gram_anchor import GramAnchor
from keras_ssl.layers.moving_average import MovingAverage
from keras_ssl.layers.online_probe import OnlineProbe
from keras_ssl.layers.predictor import Predictor
from keras_ssl.layers.projector import Projector

__all__ = ["GramAnchor", "MovingAverage", "OnlineProbe", "Predictor", "Projector"]
