"""Image files on a disk: finding them, and reading one."""

import os
import pathlib
import stat
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import PIL.Image

# What Pillow opens that is no picture made of pixels: documents and vector graphics, which need
# Ghostscript or Windows to be drawn (EPS, WMF); films, of which it only knows the size (MPEG);
# measurements, without an agreed range or without a decoder (BUFR, FITS, GRIB, HDF5); and what a
# news agency writes about a photo (IPTC).
_NOT_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}

# Pictures that Pillow may lack a decoder for, and what to do about them. A person who has them
# should learn that they are not trained on.
_CONVERT = "convert them to JPEG or PNG"
_HARD_TO_READ = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pip install pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "pip install 'pillow>=11.3'"),
    **dict.fromkeys((".jxl", ".svg", ".svgz"), _CONVERT),
    # A camera's raw files.
    **dict.fromkeys(
        (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"), _CONVERT
    ),
}


def readable_suffixes() -> set[str]:
    """Suffixes of the pictures that Pillow reads here, such as ".jpg"."""
    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    import PIL.Image

    PIL.Image.init()
    # MPO, two JPEGs in one file, is opened as a JPEG.
    pictures = (PIL.Image.OPEN.keys() | {"MPO"}) - _NOT_PICTURES
    return {
        suffix for suffix, name in PIL.Image.registered_extensions().items() if name in pictures
    }


def find(root: str) -> tuple[list[str], list[str]]:
    """Pictures in a folder and its sub-folders, hidden ones left out.

    Args:
        root: The folder.

    Returns:
        Paths from `root` on, sorted: of files that Pillow may read, and of pictures that it cannot.
    """
    readable = readable_suffixes()
    found, unreadable = [], []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            suffix = os.path.splitext(name)[1].lower()
            if name.startswith("."):
                continue
            path = os.path.normpath(os.path.join(os.path.relpath(folder, root), name))
            if suffix in readable:
                found.append(path)
            elif suffix in _HARD_TO_READ:
                unreadable.append(path)
    return sorted(found, key=_parts), sorted(unreadable, key=_parts)


def hints(paths: Iterable[str]) -> str:
    """What can be done about pictures that Pillow cannot read: "" or " (...)"."""
    suffixes = sorted({pathlib.Path(path).suffix.lower() for path in paths} - readable_suffixes())
    return f" ({'; '.join(f'{name}: {_HARD_TO_READ[name]}' for name in suffixes)})" * bool(suffixes)


def _parts(path: str) -> list[str]:
    return path.split(os.sep)


def looks_readable(path: str) -> bool:
    """Whether a file is a regular one that begins like a picture; nothing is decoded."""
    try:
        with _open(path):
            return True
    except UNREADABLE:
        return False


def _open(path: str) -> "PIL.Image.Image":
    import PIL.Image

    # To open a pipe or a device would wait for what never comes. Links are followed.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is no regular file")
    return PIL.Image.open(path)


def is_gray(path: str) -> bool:
    """Whether a file is an image of one channel, or no image that can be read."""
    try:
        with _open(path) as image:
            return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    except UNREADABLE:
        return True


# A broken file meets the decoders of some thirty formats, which also raise EOFError, IndexError,
# struct.error and others; Pillow's own fuzzing catches all of them.
UNREADABLE = Exception


def read(path: str, size: int, channels: int) -> np.ndarray:
    """One file, its first frame, turned upright, resized, its middle cut out.

    Args:
        path: The file.
        size: Height and width, in pixels.
        channels: 1, 3 or 4.

    Returns:
        uint8 (size, size, channels).
    """
    import PIL.Image
    import PIL.ImageOps

    with _open(path) as file:
        image = PIL.ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits a pixel, which PIL's own conversion would clip
            image = _from_16_bits(np.asarray(image))
        elif image.mode == "F":
            raise ValueError(f"{path} has pixels of floats, whose range no one knows")
        elif image.has_transparency_data and channels != 4:
            # On white, as a page shows it: what lies under transparent pixels is no picture.
            image = image.convert("RGBA")
            white = PIL.Image.new("RGBA", image.size, "white")
            image = PIL.Image.alpha_composite(white, image)
        image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
        image = PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(size, size, channels)


def _from_16_bits(pixels: np.ndarray) -> "PIL.Image.Image":
    import PIL.Image

    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("pixels of 32 bits have a range that no one knows")
    return PIL.Image.fromarray((pixels // 257).astype(np.uint8))
