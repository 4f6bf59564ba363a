"""Writes the folder of an exported encoder, checked against Keras, whole or not at all."""

import contextlib
import json
import logging
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np

from keras_ssl._files import whole_folder
from keras_ssl._validation import check_positive
from keras_ssl.encoders import merged_encoder
from keras_ssl.encoders.exported import CONTRACT
from keras_ssl.exporting.contract import Contract
from keras_ssl.exporting.formats import Format, check_format, represent
from keras_ssl.exporting.model_card import CARD, Training, model_card
from keras_ssl.exporting.precision import in_float32
from keras_ssl.runs import versions


class Exported(NamedTuple):
    """What was written.

    Attributes:
        path: The exported file, or its folder.
        contract: What contract.json holds: input, output and how it was checked.
        difference: The largest difference from Keras, as a part of the largest representation.

    Example:
        `write_folder` returns one. This encoder returns the pixels, the same in both.

        >>> import tempfile
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten()])
        >>> images = np.ones((2, 8, 8, 1), "float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = write_folder(encoder, folder, "saved_model", images, "white images")
        >>> exported.path.name, exported.contract["output"]["shape"], exported.difference
        ('saved_model', ['batch', 64], 0.0)
    """

    path: pathlib.Path
    contract: dict[str, Any]
    difference: float


def check_out(out: str | os.PathLike[str]) -> pathlib.Path:
    """Returns the path of a folder that may be written, or raises if it holds anything."""
    if not isinstance(out, (str, os.PathLike)) or not str(out).strip():
        raise ValueError(f"`out` must be the path of a new folder. Received: out={out!r}")
    path = pathlib.Path(os.fspath(out)).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        what = "a folder with files in it" if path.is_dir() else "a file"
        raise ValueError(f"`out` must be a new folder. Received: out={str(out)!r}, {what}")
    return path


def write_folder(
    encoder: keras.Model,
    out: str | os.PathLike[str],
    format: str,
    images: np.ndarray,
    described: str,
    tolerance: float = 1e-4,
    training: Training | None = None,
    numbers: Any = None,
) -> Exported:
    """Exports an encoder to a new folder, after comparing it with Keras on images.

    The folder holds the exported file, contract.json and README.md, a model card. The exported
    encoder computes in float32, and its LoRA is merged into its matrices. The comparison takes all
    images at once, then one alone, and, where the encoder takes any size, images of another height.

    Args:
        encoder: An encoder of images, see `keras_ssl.encoders.load_encoder`.
        out: The folder; it must be new or empty.
        format: One of `FORMATS`.
        images: float32 (N, height, width, channels) in [0, 1], to compare on.
        described: What these images are, for the reader of the card.
        tolerance: Largest difference that is accepted, as a part of the largest representation.
        training: What the card says of the training; see `read_training`.
        numbers: For measurements, the numbers that became 0 and 1; see `runs.scaling_of`.

    Raises:
        ValueError: if the encoder does not take images or its representations are not finite, if
            the format cannot hold it, if the folder exists, a package is missing, or the exported
            file differs from Keras. Nothing is then left behind.

    Example:
        An encoder that gives NaN is refused, and nothing is written.

        >>> import tempfile
        >>> layers = [keras.layers.Flatten(), keras.layers.Rescaling(float("nan"))]
        >>> encoder = keras.Sequential([keras.Input((8, 8, 1)), *layers])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     try:
        ...         write_folder(encoder, folder, "saved_model", np.ones((2, 8, 8, 1)), "ones")
        ...     except ValueError as error:
        ...         print(str(error).split(".")[0], list(pathlib.Path(folder).iterdir()))
        `encoder` must give finite representations to be exported []
    """
    path = check_out(out)
    tolerance = check_positive("tolerance", tolerance)
    format_ = check_format(format)
    check_takes_images(encoder)
    format_.check(encoder)
    merged = merged_encoder(encoder)
    exported = in_float32(merged)
    batches = _batches(exported, np.asarray(images, np.float32))
    # A LoRA is compared as it was, before it was merged.
    reference = encoder if exported is merged else exported
    wanted = [represent(reference, batch) for batch in batches]
    if not all(np.isfinite(values).all() for values in wanted):
        raise ValueError(
            "`encoder` must give finite representations to be exported. "
            f"Received: encoder={encoder.name!r}, which gives NaN or infinity on {described}"
        )
    contract = format_.describe(Contract.of(exported, wanted[0], numbers or None))
    with whole_folder(path) as partial:
        difference = _write_and_compare(format_, exported, partial, contract, batches, wanted)
        if not difference <= tolerance:
            raise ValueError(
                f"`encoder` must give the same as {format_.title} as in Keras. Received: "
                f"representations that differ by {difference:.1e} of the largest on {described}, "
                f"tolerance={tolerance:g}; nothing was written"
            )
        content = {
            "format": format_.title,
            "file": format_.file,
            **contract.as_dict(),
            "check": {
                "against": f"Keras {keras.__version__}, float32, on a CPU",
                "images": described,
                "largest_difference": difference,
                "relative_to": "the largest absolute value of a representation",
                "tolerance": tolerance,
            },
            **versions(),
        }
        if exported is not merged:
            mixed = _difference([represent(encoder, batch) for batch in batches], wanted)
            content["check"]["difference_to_the_precision_of_training"] = mixed
        (partial / CONTRACT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        card = model_card(encoder.name, format_, content, training)
        (partial / CARD).write_text(card, encoding="utf-8")
    return Exported(path / format_.file, content, difference)


def check_takes_images(encoder: keras.Model) -> None:
    """Raises a `ValueError` unless an encoder knows that it takes one batch of images."""
    inputs = getattr(encoder, "inputs", None)
    if not inputs or len(inputs) != 1 or len(inputs[0].shape) != 4:
        shapes = [tuple(one.shape) for one in inputs or ()] or "unknown"
        raise ValueError(
            "`encoder` must take images (N, height, width, channels). "
            f"Received: encoder={encoder.name!r} with inputs of shape {shapes}"
        )


def _batches(encoder: keras.Model, images: np.ndarray) -> list[np.ndarray]:
    """Images of every kind that the contract promises: many, one, and another size."""
    batches = [images, images[:1]]
    if encoder.input_shape[1] is None:
        batches.append(np.ascontiguousarray(images[:2, : -(-3 * images.shape[1] // 4)]))
    return batches


def _write_and_compare(
    format_: Format,
    encoder: keras.Model,
    folder: pathlib.Path,
    contract: Contract,
    batches: list[np.ndarray],
    wanted: list[np.ndarray],
) -> float:
    try:
        with _quiet():
            format_.write(encoder, folder, contract)
            got = [format_.run(encoder, folder, batch) for batch in batches]
    except Exception as error:  # Each converter has errors of its own.
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(
            f"`encoder` must be one that {format_.title} can hold and run. Received: "
            f"encoder={encoder.name!r}, {type(error).__name__}: {reason}"
        ) from error
    return _difference(got, wanted)


def _difference(got: list[np.ndarray], wanted: list[np.ndarray]) -> float:
    """The largest difference, as a part of the largest absolute value."""
    if any(a.shape != b.shape for a, b in zip(got, wanted, strict=True)):
        return float("inf")
    largest = max(float(np.max(np.abs(b))) for b in wanted)
    # NumPy's maximum is NaN if any is; Python's need not be.
    apart = np.max([np.max(np.abs(a - b)) for a, b in zip(got, wanted, strict=True)])
    return float(apart) / max(largest, float(np.finfo(np.float32).tiny))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """A scope that hides what converters warn of and log: the comparison judges their work."""
    root, converter = logging.getLogger(), logging.getLogger("tf2onnx")
    handlers, level = list(root.handlers), converter.level
    converter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.handlers[:] = handlers  # Logging before it is set up adds one.
        converter.setLevel(level)
