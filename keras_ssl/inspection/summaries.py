"""What TensorBoard shows, as its own messages: numbers, pictures, histograms, texts and graphs.

TensorBoard's own package makes the messages, so that no backend of Keras is needed for them.
"""

import io
import json
from typing import Any

import numpy as np

from keras_ssl._tensors import Tensor

# The plugin name that marks JSON among the events. TensorBoard has no plugin of this name, and so
# does not show them.
RECORDS = "keras_ssl_records"


def scalar(tag: str, value: float) -> Any:
    """Returns a summary of one number."""
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb

    return scalar_pb(tag, float(value))


def histogram(tag: str, values: Tensor) -> Any:
    """Returns a summary of an array of numbers, of any shape, in 30 buckets."""
    from tensorboard.plugins.histogram.summary_v2 import histogram_pb

    return histogram_pb(tag, values)


def text(tag: str, markdown: str) -> Any:
    """Returns a summary of a text in Markdown."""
    from tensorboard.plugins.text.summary_v2 import text_pb

    return text_pb(tag, markdown)


def image(tag: str, pixels: np.ndarray) -> Any:
    """Returns a summary of a picture, uint8 (height, width, 3)."""
    from PIL import Image
    from tensorboard.plugins.image.metadata import create_summary_metadata

    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "png")
    height, width, _ = pixels.shape
    strings = [str(width).encode(), str(height).encode(), png.getvalue()]
    return _summary(tag, strings, create_summary_metadata(display_name=None, description=None))


def record(tag: str, content: Any) -> Any:
    """Returns a summary of JSON content; `keras_ssl.inspection.events.read_events` reads it."""
    from tensorboard.compat.proto.summary_pb2 import SummaryMetadata

    metadata = SummaryMetadata()
    metadata.plugin_data.plugin_name = RECORDS
    return _summary(tag, json.dumps(content).encode(), metadata)


def graph(graph: Any) -> Any:
    """Returns an event of a `tf.Graph`."""
    from tensorboard.compat.proto.event_pb2 import Event

    return Event(graph_def=graph.as_graph_def(add_shapes=True).SerializeToString())


def _summary(tag: str, strings: bytes | list[bytes], metadata: Any) -> Any:
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.util.tensor_util import make_tensor_proto

    tensor = make_tensor_proto(strings, dtype=np.object_)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])
