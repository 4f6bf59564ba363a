"""The contract of an exported encoder: which images it takes and what it returns."""

import dataclasses
import json
from typing import Any

import keras
import numpy as np

from keras_ssl.encoders import UNIT_INPUT, describe_range

# The names of the input and the output in formats that have names for them.
INPUT = UNIT_INPUT
OUTPUT = "representations"
# Rows of float32 whose norm is 1 up to this are l2-normalized: rounding changes a norm by 1e-7,
# while no unnormalized encoder has all norms so close to 1.
_NORM_TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class Contract:
    """What an encoder takes and returns.

    Attributes:
        height: Height of the images in pixels; `None` if any fits.
        width: Width of the images in pixels; `None` if any fits.
        channels: Number of channels, the last axis.
        dimension: D of the representations (N, D).
        l2_normalized: Whether every representation has length one.
        scaling: The range that the network itself wants, and what scales to it; see
            `keras_ssl.encoders.describe_range`.
        numbers: For measurements, the numbers (low, high) that became 0 and 1, a pair for each
            channel or one for all; `None` for photos, whose bytes were divided by 255.
        note: What else must be known to use the file; empty if nothing.
    """

    height: int | None
    width: int | None
    channels: int
    dimension: int
    l2_normalized: bool
    scaling: str
    numbers: Any = None
    note: str = ""

    @classmethod
    def of(
        cls, encoder: keras.Model, representations: np.ndarray, numbers: Any = None
    ) -> "Contract":
        """Reads the contract from an encoder and some of its representations, (N, D)."""
        _, height, width, channels = encoder.input_shape
        norms = np.linalg.norm(representations.astype("float64"), axis=-1)
        return cls(
            height=height,
            width=width,
            channels=channels,
            dimension=representations.shape[-1],
            l2_normalized=bool(np.all(np.abs(norms - 1) < _NORM_TOLERANCE)),
            scaling=describe_range(encoder),
            numbers=numbers,
        )

    def as_dict(self) -> dict[str, Any]:
        """The contract in JSON's types, as contract.json holds it."""
        meanings = {1: "gray", 3: "red, green, blue", 4: "red, green, blue, alpha"}
        contract: dict[str, Any] = {
            "input": {
                "name": INPUT,
                "shape": ["batch", self.height or "any", self.width or "any", self.channels],
                "layout": "NHWC",
                "dtype": "float32",
                "range": [0.0, 1.0],
                "channels": meanings.get(self.channels, f"{self.channels} channels"),
                "scaling_inside": self.scaling,
            },
            "output": {
                "name": OUTPUT,
                "shape": ["batch", self.dimension],
                "dtype": "float32",
                "l2_normalized": self.l2_normalized,
            },
        }
        if self.numbers:
            contract["input"]["numbers_that_became_0_and_1"] = self.numbers
        return {**contract, "note": self.note} if self.note else contract

    def as_json(self) -> str:
        """The contract as one JSON text, for the places that formats have for it."""
        return json.dumps(self.as_dict(), indent=2)
