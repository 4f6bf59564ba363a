"""The formats: each writes an encoder, and runs what it wrote on the format's own runtime.

A format's packages are imported by the functions that use them.
"""

import abc
import contextlib
import importlib
import json
import pathlib
import zipfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_ssl._keras import all_layers
from keras_ssl._validation import check_choice
from keras_ssl.encoders import UNIT_INPUT
from keras_ssl.encoders.exported import (
    CONFIG,
    CONTRACT,
    ORDER,
    WEIGHTS,
    load_safetensors,
    weight_names,
)
from keras_ssl.exporting.contract import INPUT, OUTPUT, Contract

# It writes these formats on every backend.
_TENSORFLOW = {"tensorflow": "tensorflow"}


class Format(abc.ABC):
    """One format: subclass it, and add an instance to `FORMATS`.

    Attributes:
        title: What people call the format.
        file: Name of the file or folder that is written.
        packages: Module names of the packages that it needs, and their names for pip.
        usage: Python that runs the file on `images`, for the model card.

    Example:
        >>> onnx = FORMATS["onnx"]
        >>> onnx.title, onnx.file, "onnxruntime" in onnx.packages
        ('ONNX', 'encoder.onnx', True)
    """

    title: str
    file: str
    packages: dict[str, str] = {}
    usage: str

    def check(self, encoder: keras.Model) -> None:  # noqa: B027 (most take all encoders)
        """Raises a `ValueError` if the format cannot hold this encoder."""

    def describe(self, contract: Contract) -> Contract:
        """Returns the contract of the file, if it is not that of the encoder."""
        return contract

    @abc.abstractmethod
    def write(self, encoder: keras.Model, folder: pathlib.Path, contract: Contract) -> None:
        """Writes `file`, with the contract inside where the format has a place for it."""

    @abc.abstractmethod
    def run(self, encoder: keras.Model, folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
        """Reads `file` and runs it on images, float32 (N, H, W, C), to representations (N, D).

        `encoder` is for the parts that the format does not hold.
        """


class _SavedModel(Format):
    title = "TensorFlow SavedModel"
    file = "saved_model"
    packages = _TENSORFLOW
    usage = """
import tensorflow as tf

encoder = tf.saved_model.load("saved_model").signatures["serving_default"]
representations = encoder(tf.constant(images))["representations"].numpy()
"""

    def write(self, encoder: keras.Model, folder: pathlib.Path, contract: Contract) -> None:
        path = folder / self.file
        _named(encoder).export(path, format="tf_saved_model", verbose=False)
        # TensorFlow's place for files that come along without being part of the graph.
        extra = path / "assets.extra"
        extra.mkdir()
        (extra / CONTRACT).write_text(contract.as_json(), encoding="utf-8")

    def run(self, encoder: keras.Model, folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
        import tensorflow as tf

        loaded = tf.saved_model.load(folder / self.file)
        with tf.device("cpu"):
            outputs = loaded.signatures["serving_default"](tf.constant(images))
        return outputs[OUTPUT].numpy()


class _Onnx(Format):
    title = "ONNX"
    file = "encoder.onnx"
    packages = {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime", **_TENSORFLOW}
    usage = """
import onnxruntime

encoder = onnxruntime.InferenceSession("encoder.onnx")
(representations,) = encoder.run(["representations"], {"images_from_0_to_1": images})
"""

    def write(self, encoder: keras.Model, folder: pathlib.Path, contract: Contract) -> None:
        import onnx

        path = folder / self.file
        with _constants_in_graph(encoder):
            _named(encoder).export(path, format="onnx", verbose=False)
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "batch"
        onnx.helper.set_model_props(model, {CONTRACT: contract.as_json()})
        onnx.checker.check_model(model)
        onnx.save(model, path)

    def run(self, encoder: keras.Model, folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
        import onnxruntime

        session = onnxruntime.InferenceSession(
            folder / self.file, providers=["CPUExecutionProvider"]
        )
        return session.run([OUTPUT], {INPUT: images})[0]


class _LiteRT(Format):
    title = "LiteRT (TensorFlow Lite)"
    file = "encoder.tflite"
    # TensorFlow converts; its own interpreter is deprecated, and also runs operations that the
    # runtime on a phone lacks.
    packages = {"ai_edge_litert": "ai-edge-litert", **_TENSORFLOW}
    usage = """
from ai_edge_litert.interpreter import Interpreter

encoder = Interpreter("encoder.tflite").get_signature_runner("serving_default")
representations = encoder(images_from_0_to_1=images)["representations"]
"""

    def write(self, encoder: keras.Model, folder: pathlib.Path, contract: Contract) -> None:
        path = folder / self.file
        _named(encoder).export(path, format="litert", verbose=False)
        # By the convention of TensorFlow Lite, associated files are a zip archive at the end.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(CONTRACT, contract.as_json())

    def run(self, encoder: keras.Model, folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
        from ai_edge_litert.interpreter import Interpreter

        runner = Interpreter(str(folder / self.file)).get_signature_runner("serving_default")
        return runner(**{INPUT: images})[OUTPUT]


class _Safetensors(Format):
    title = "safetensors"
    file = WEIGHTS
    packages = {"safetensors": "safetensors"}
    usage = """
from keras_ssl import exporting

encoder = exporting.load_safetensors(".")  # a Keras model; needs no network
representations = encoder.predict(images)
"""

    def write(self, encoder: keras.Model, folder: pathlib.Path, contract: Contract) -> None:
        from safetensors.numpy import save_file

        (folder / CONFIG).write_text(encoder.to_json(indent=2), encoding="utf-8")
        weights = {
            name: np.require(keras.ops.convert_to_numpy(weight), requirements="C")
            for name, weight in zip(weight_names(encoder), encoder.weights, strict=True)
        }
        # The file sorts the names, and a rebuilt encoder may have others: their order tells.
        metadata = {CONTRACT: contract.as_json(), ORDER: json.dumps(list(weights))}
        save_file(weights, folder / self.file, metadata=metadata)

    def run(self, encoder: keras.Model, folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
        return represent(load_safetensors(folder), images)


class _KerasHub(Format):
    title = "KerasHub preset"
    file = "preset"
    packages = {"keras_hub": "keras-hub"}
    usage = """
import keras_hub

backbone = keras_hub.models.Backbone.from_preset("preset")
features = backbone.predict(images)  # see the note above for their range, and pool the features
"""

    def check(self, encoder: keras.Model) -> None:
        if len(found := _backbones(encoder)) != 1:
            raise ValueError(
                "`format` 'keras_hub' must be given an encoder that is made of one KerasHub "
                "backbone: KerasHub rebuilds a preset from its own classes; safetensors holds any "
                f"Keras model. Received: encoder={encoder.name!r} with {len(found)} backbones"
            )

    def describe(self, contract: Contract) -> Contract:
        return Contract(
            **{
                **vars(contract),
                "note": "The preset holds the backbone alone, without the layers around it: "
                f"images must be brought to the range that it wants, {contract.scaling}, and "
                "feature maps averaged over height and width, by you. Input and output are "
                "described for the whole encoder.",
            }
        )

    def write(self, encoder: keras.Model, folder: pathlib.Path, contract: Contract) -> None:
        (backbone,) = _backbones(encoder)
        path = folder / self.file
        backbone.save_to_preset(str(path))
        (path / CONTRACT).write_text(contract.as_json(), encoding="utf-8")

    def run(self, encoder: keras.Model, folder: pathlib.Path, images: np.ndarray) -> np.ndarray:
        import keras_hub

        (backbone,) = _backbones(encoder)
        loaded = keras_hub.models.Backbone.from_preset(str(folder / self.file))
        whole = keras.models.clone_model(
            encoder, clone_function=lambda layer: loaded if layer is backbone else layer
        )
        return represent(whole, images)


FORMATS: dict[str, Format] = {
    "saved_model": _SavedModel(),
    "onnx": _Onnx(),
    "litert": _LiteRT(),
    "safetensors": _Safetensors(),
    "keras_hub": _KerasHub(),
}
"""The formats of `export`, by name."""


def check_format(name: Any) -> Format:
    """Returns the format of that name.

    Raises:
        ValueError: if it is unknown, or a package that it needs is not installed.
    """
    format_ = FORMATS[check_choice("format", name, FORMATS)]
    missing = [pip for module, pip in format_.packages.items() if not _is_there(module)]
    if missing:
        raise ValueError(
            f"`format` {name!r} must have its packages installed: pip install "
            f"{' '.join(format_.packages.values())}. Received: format={name!r}, without "
            f"{', '.join(missing)}"
        )
    return format_


def represent(encoder: keras.Model, images: np.ndarray) -> np.ndarray:
    """Returns Keras' own representations, float32 (N, D), computed on the CPU.

    A GPU may round the factors of its products to ten bits.
    """
    with keras.device("cpu"):
        return np.asarray(keras.ops.convert_to_numpy(encoder(images, training=False)), np.float32)


def _named(encoder: keras.Model) -> keras.Model:
    """The encoder with names for its input and its output, which the formats keep."""
    images = keras.layers.Input(encoder.input_shape[1:], name=UNIT_INPUT, dtype="float32")
    model = keras.Model(images, {OUTPUT: encoder(images)}, name=encoder.name)
    model(images)  # Keras exports to ONNX only what was called.
    return model


def _backbones(encoder: keras.Model) -> list[keras.layers.Layer]:
    import keras_hub

    return [layer for layer in encoder.layers if isinstance(layer, keras_hub.models.Backbone)]


def _is_there(module: str) -> bool:
    """Whether a package can be imported, which takes its own packages, too."""
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


@contextlib.contextmanager
def _constants_in_graph(encoder: keras.Model) -> Iterator[None]:
    """A scope in which `Normalization` holds its constants as arrays, not as tensors.

    A graph takes tensors that were made before it as inputs, and tf2onnx leaves them so.
    """
    layers = [one for one in all_layers(encoder) if isinstance(one, keras.layers.Normalization)]
    before = [{name: vars(one).get(name) for name in ("mean", "variance")} for one in layers]
    try:
        for layer, tensors in zip(layers, before, strict=True):
            for name, value in tensors.items():
                if value is not None:
                    vars(layer)[name] = keras.ops.convert_to_numpy(value)
        yield
    finally:
        for layer, tensors in zip(layers, before, strict=True):
            vars(layer).update(tensors)
