"""The layers that every method shares."""

from keras_ssl.layers.online_probe import OnlineProbe
from keras_ssl.layers.projector import Projector

__all__ = ["OnlineProbe", "Projector"]
