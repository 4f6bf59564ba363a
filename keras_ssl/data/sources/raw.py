"""Files of measurements: 16 bits a pixel, floats, or any number of channels, and their scaling.

Such numbers have no range that everybody agrees on: a satellite's reflectance ends at 10,000, a
microscope's camera at 4,095. A scaling says, for each channel, which number becomes 0 and which
becomes 1. It is a tuple of pairs (low, high), one for each channel or one for all of them.
"""

import contextlib
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_ssl.data.augmentation.pixels import LUMA
from keras_ssl.data.sources import files

Scaling = tuple[tuple[float, float], ...]

# What becomes 0 and 1 where nothing else is known: the percentiles of CSBDeep and StarDist. Pixels
# of dim images are few at the bright end, and they are what one looks at.
_PERCENTILES = (1.0, 99.8)
# The largest number of a type that has one.
_TOPS = {"uint8": 255, "uint16": 65535}
# Pixels of each file that are measured: enough for a percentile, of any number of files.
_MEASURED = 10_000

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF's tags: bits of each channel, what the file says about itself, and the number of channels.
_BITS, _DESCRIPTION, _CHANNELS = 258, 270, 277
# How ImageJ, OME and tifffile begin or mark what they say of pages that are channels.
_PAGES_ARE_CHANNELS = ("channels=", "<OME", '{"shape"')
# Axes of a TIFF that are channels: samples, channels, and those of `tifffile.imwrite(array)`. Of
# others, such as time or depth, the first place is taken.
_CHANNEL_AXES = "SCQ"


class OtherKindError(ValueError):
    """A file has another number of channels, or another type of numbers, than its set."""


class Kind(NamedTuple):
    """What the numbers of a file are: their dtype's name, and the number of channels."""

    dtype: str
    channels: int

    def __str__(self) -> str:
        return f"{self.channels} x {self.dtype}"


def kind(path: files.File) -> Kind | None:
    """What a file of measurements holds; `None` for a photo: 8 bits in 1, 3 or 4 channels.

    Raises:
        Exception: of any kind, if the file cannot be read.
    """
    with files.open_bytes(path) as file:
        start = file.read(26)
    if start[:8] == _PNG and start[24] == 16 and start[25] == 2:
        return Kind("uint16", 3)
    if start[:4] in _TIFF and _needs_tifffile(path):
        with _tiff(path) as tiff:
            series = tiff.series[0]
            return Kind(str(series.dtype), _channels(series.axes, series.shape))
    with files.open_image(path) as image:
        if image.mode == "F" or image.mode.startswith("I"):
            return Kind("uint16" if image.mode.startswith("I;16") else str(_dtype(image.mode)), 1)
    return None


def _dtype(mode: str) -> np.dtype:
    return np.dtype({"I": "int32", "F": "float32"}[mode])


def _needs_tifffile(path: files.File) -> bool:
    """Whether Pillow cannot read a TIFF, or would leave out bits or channels of it."""
    try:
        with files.open_image(path) as image:
            tags = image.tag_v2  # type: ignore[attr-defined]
            channels, bits = tags.get(_CHANNELS, 1), max(tags.get(_BITS, (1,)))
            says = str(tags.get(_DESCRIPTION, ""))
            pages = (
                getattr(image, "n_frames", 1)
                if any(mark in says for mark in _PAGES_ARE_CHANNELS)
                else 1
            )
            is_whole = len(image.getbands()) == channels and image.mode != "RGBX"
            return pages > 1 or not is_whole or (bits > 8 and channels > 1)
    except files.UNREADABLE:
        return True


@contextlib.contextmanager
def _tiff(path: files.File) -> Iterator[Any]:
    """A scope with an open `tifffile.TiffFile`."""
    try:
        import tifffile
    except ImportError as error:
        raise ImportError(
            f"{path} is a TIFF that Pillow cannot read in full: pip install tifffile imagecodecs"
        ) from error
    with files.open_bytes(path) as file, tifffile.TiffFile(file) as tiff:
        yield tiff


def _channels(axes: str, shape: Sequence[int]) -> int:
    return math.prod(n for axis, n in zip(axes, shape, strict=True) if axis in _CHANNEL_AXES)


def read_numbers(path: files.File) -> np.ndarray:
    """The numbers of a file as they are, (height, width, channels).

    Raises:
        Exception: of any kind, if the file cannot be read.
    """
    import PIL.ImageOps

    with files.open_bytes(path) as file:
        start = file.read(26)
        if start[:8] == _PNG and start[24] == 16 and start[25] == 2:
            # Pillow would drop the lower eight bits of three channels.
            return _png_of_16_bits(start + file.read())
    if start[:4] in _TIFF and _needs_tifffile(path):
        with _tiff(path) as tiff:
            series = tiff.series[0]
            return _channels_last(series.asarray(), series.axes)
    with files.open_image(path) as file:
        image = PIL.ImageOps.exif_transpose(file)
        # The numbers of a palette are not colors, and white in black and white is not 1 of 255.
        plain = {"P": "RGB", "PA": "RGB", "1": "L"}.get(image.mode)
        pixels = np.asarray(image.convert(plain) if plain else image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _png_of_16_bits(content: bytes) -> np.ndarray:
    """The red, green and blue of a PNG file, uint16 (height, width, 3)."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("The PNG file is broken")
    return pixels[..., 2::-1]  # OpenCV's order is blue, green, red, and alpha if there is any.


def _channels_last(pixels: np.ndarray, axes: str) -> np.ndarray:
    """An array with named axes as (height, width, channels)."""
    kept = "YX" + _CHANNEL_AXES
    pixels = pixels[tuple(slice(None) if axis in kept else 0 for axis in axes)]
    axes = "".join(axis for axis in axes if axis in kept)
    order = sorted(range(len(axes)), key=lambda i: "YX".find(axes[i]) % len(kept))
    pixels = pixels.transpose(order)
    return pixels.reshape(*pixels.shape[:2], -1)


def to_channels(pixels: np.ndarray, channels: int, path: files.File) -> np.ndarray:
    """Numbers of a file as float32 (height, width, channels): gray repeated, or color made gray.

    Raises:
        OtherKindError: if the file has neither these channels, nor 1, nor 3 where 1 is wanted.
    """
    own, numbers = pixels.shape[-1], pixels.astype(np.float32)
    if own == channels:
        return numbers
    if own == 1:
        return np.repeat(numbers, channels, axis=-1)
    if own == 3 and channels == 1:
        return numbers @ LUMA[:, None]
    raise OtherKindError(f"{path} has {own} channels, not {channels}")


def read(
    path: files.File, size: int, channels: int, scaling: Scaling, dtype: str | None = None
) -> np.ndarray:
    """Reads a file: scaled, resized, and cropped to the center as photos are.

    Args:
        path: The file.
        size: Height and width, in pixels.
        channels: Number of channels.
        scaling: See the module.
        dtype: Name of the type that the file's numbers must have, if not any.

    Returns:
        float32 in [0, 1], (size, size, channels). What is not a number, such as the pixels that a
        satellite did not see, is 0.
    """
    import PIL.Image
    import PIL.ImageOps

    low, high = np.array(scaling, np.float64).T
    numbers = read_numbers(path)
    if dtype is not None and numbers.dtype.name != dtype:
        raise OtherKindError(f"{path} has numbers of {numbers.dtype.name}, not {dtype}")
    numbers = to_channels(numbers, channels, path)
    scaled = np.clip((numbers - low) / (high - low), 0, 1)
    scaled = np.nan_to_num(scaled, nan=0.0).astype(np.float32)
    resized = [
        PIL.ImageOps.fit(
            PIL.Image.fromarray(np.ascontiguousarray(scaled[..., channel])),
            (size, size),
            PIL.Image.Resampling.BICUBIC,
        )
        for channel in range(channels)
    ]
    return np.clip(np.stack([np.asarray(image) for image in resized], axis=-1), 0, 1)


def measure(paths: Iterable[files.File], dtype: str, channels: int) -> tuple[Scaling, int]:
    """Measures a scaling on files that can be read; see `keras_ssl.data.from_folder`.

    Args:
        paths: Some of the files of a set.
        dtype: Name of the type of their numbers.
        channels: Number of channels.

    Returns:
        The scaling, and the number of files that could be read.
    """
    measured = []
    for path in paths:
        try:
            pixels = to_channels(read_numbers(path), channels, path).reshape(-1, channels)
        except files.UNREADABLE:  # The caller reads all files, and names these.
            continue
        measured.append(pixels[:: len(pixels) // _MEASURED + 1])
    if not measured:
        return ((0.0, float(_TOPS.get(dtype, 1))),), 0
    numbers = np.concatenate(measured).astype(np.float64)
    numbers[~np.isfinite(numbers)] = np.nan
    ranges = np.nanpercentile(numbers, _PERCENTILES, axis=0).T  # (channels, 2)
    top = _TOPS.get(dtype, math.inf)
    is_whole = ranges[:, 1] > top / 2
    # The colors of an image are scaled alike, and so are bytes, which a camera has scaled.
    if channels == 3 or dtype == "uint8":
        is_whole[:] = is_whole.any()
    if is_whole.all():
        return ((0.0, float(top)),), len(measured)
    scaling = tuple(
        (0.0, float(top)) if whole else _pair(float(low), float(high))
        for whole, (low, high) in zip(is_whole, np.nan_to_num(ranges), strict=True)
    )
    return scaling, len(measured)


def _pair(low: float, high: float) -> tuple[float, float]:
    """The ends of a range that is not empty, in six digits if they suffice: they can be typed."""
    if not low < high:  # A channel in which all numbers are the same becomes 0.
        high = low + max(1.0, math.ulp(low))
    short = float(f"{low:.6g}"), float(f"{high:.6g}")
    return short if short[0] < short[1] else (low, high)


def check_scaling(scaling: Any) -> Scaling | None:
    """Returns a scaling as a tuple of pairs of floats, or raises unless low < high in each."""
    if scaling is None:
        return None
    try:
        pairs = tuple((float(low), float(high)) for low, high in scaling)
    except (TypeError, ValueError):
        pairs = ((math.nan, math.nan),)
    if not all(low < high and math.isfinite(high - low) for low, high in pairs):
        raise ValueError(
            "`scaling` must be pairs of numbers (low, high), low < high, one for each channel or "
            f"one for all. Received: scaling={scaling!r}"
        )
    return pairs


def describe(scaling: Scaling) -> str:
    """A scaling as text, such as "0 to 65535"; a channel each if they differ."""
    ranges = [f"{low:g} to {high:g}" for low, high in scaling]
    if len(set(ranges)) == 1:
        return ranges[0]
    return ", ".join(f"channel {i}: {text}" for i, text in enumerate(ranges, start=1))
