"""Image files on a disk or in a bucket: finding them, and reading one with Pillow.

A path with a scheme, such as "gs://bucket/photos", is read by `tf.io.gfile`; any other by Python.
"""

import functools
import io
import os
import pathlib
import stat
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, NamedTuple

import numpy as np

from keras_ssl._tensorflow import check_installed, tf

if TYPE_CHECKING:  # Pillow is imported where it is used: most programs read no files.
    import PIL.Image

# Formats that Pillow opens and that are not pictures made of pixels: documents and vector graphics,
# which need Ghostscript or Windows to be drawn (EPS, WMF); films, of which it knows only the size
# (MPEG); measurements, without an agreed range or without a decoder (BUFR, FITS, GRIB, HDF5); and
# what a news agency writes about a photo (IPTC).
_NOT_PICTURES = {"BUFR", "EPS", "FITS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}

# Pictures that Pillow may lack a decoder for, and what the user can do about them. People should
# learn which of their pictures are not trained on.
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

# The decoders of some thirty formats raise EOFError, IndexError, struct.error and others at a
# broken file. Pillow's own fuzzing catches all of them too.
UNREADABLE = Exception


@functools.cache
def _formats() -> frozenset[str]:
    """Pillow's names of the formats of pictures that it reads here."""
    import PIL.Image

    try:
        import pillow_heif
    except ImportError:
        pass
    else:
        pillow_heif.register_heif_opener()
    PIL.Image.init()
    return frozenset(PIL.Image.OPEN) - _NOT_PICTURES


def readable_suffixes() -> set[str]:
    """Suffixes of the pictures that Pillow reads here, such as ".jpg"."""
    formats = _formats() | {"MPO"}  # Two JPEGs in one file, which Pillow opens as a JPEG.
    import PIL.Image

    return {suffix for suffix, name in PIL.Image.registered_extensions().items() if name in formats}


class Encoded(NamedTuple):
    """A file that has been read, such as a record of a shard.

    Attributes:
        name: What it is called in messages.
        content: Its bytes.
    """

    name: str
    content: bytes

    def __str__(self) -> str:
        return self.name


# What is opened: the path of a file, or a file that has been read.
File = str | Encoded


def has_scheme(path: str | os.PathLike[str]) -> bool:
    """Whether a path is one for `tf.io.gfile`, such as "gs://bucket/photos"."""
    return "://" in os.fspath(path)


def _gfile(path: str) -> Any:
    """The functions of `tf.io.gfile`, for a path with a scheme."""
    check_installed(f"{path!r}, a path for tf.io.gfile")
    return tf.io.gfile


def join(root: str, relative: str) -> str:
    """The path of a file of a folder, as `pathlib` writes it if it writes both in the same way."""
    if has_scheme(relative):
        return relative
    if has_scheme(root):
        return f"{root.rstrip('/')}/{relative}"
    return relative if root == "." else os.path.join(root, relative)  # A tenth of pathlib's time.


def is_folder(path: str) -> bool:
    """Whether a folder is there."""
    return _gfile(path).isdir(path) if has_scheme(path) else os.path.isdir(path)


def is_file(path: str) -> bool:
    """Whether a file is there."""
    if has_scheme(path):
        return _gfile(path).exists(path) and not _gfile(path).isdir(path)
    return os.path.isfile(path)


def sub_folders(path: str) -> set[str]:
    """Names of the folders in a folder, hidden ones left out."""
    if has_scheme(path):
        names = [name.rstrip("/") for name in _gfile(path).listdir(path)]
        folders = {name for name in names if _gfile(path).isdir(join(path, name))}
    else:
        folders = {folder.name for folder in pathlib.Path(path).iterdir() if folder.is_dir()}
    return {name for name in folders if not name.startswith(".")}


def open_bytes(path: File) -> IO[bytes]:
    """Opens a regular file, or one that has been read; one with a scheme is read at once.

    Raises:
        OSError: if there is no such file, or it is a pipe or a device, which may never come to an
            end. Links are followed.
    """
    if isinstance(path, Encoded):
        return io.BytesIO(path.content)
    if has_scheme(path):
        try:
            with _gfile(path).GFile(path, "rb") as file:
                return io.BytesIO(file.read())
        except tf.errors.OpError as error:
            raise OSError(f"{path} cannot be read: {error.message}") from error
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is not a regular file")
    return open(path, "rb")


class Found(NamedTuple):
    """What is in a folder; all paths are relative to it, and sorted.

    Attributes:
        readable: Files that Pillow may read.
        unreadable: Pictures that it cannot read.
        unlisted: Folders whose content is not among them: those that may not be listed, links to
            folders that are not there, and links back to a folder that they lie in.
    """

    readable: list[str]
    unreadable: list[str]
    unlisted: list[str]


def find(root: str) -> Found:
    """Finds the pictures in a folder and its sub-folders, hidden ones left out.

    Links are followed, to files and to folders.

    Args:
        root: The folder.
    """
    readable = readable_suffixes()
    found = Found([], [], [])

    def walk(folder: str, above: frozenset[str]) -> None:
        """Adds what is in a folder; `above` holds the real paths of it and of those it lies in."""
        try:
            entries = list(os.scandir(os.path.join(root, folder)))
        except OSError:
            found.unlisted.append(folder)
            return
        for entry in entries:
            path = os.path.normpath(os.path.join(folder, entry.name))
            suffix = os.path.splitext(entry.name)[1].lower()
            if entry.name.startswith("."):
                continue
            if _is_folder(entry):
                real = os.path.realpath(entry.path)
                if real in above:
                    found.unlisted.append(path)
                else:
                    walk(path, above | {real})
            elif suffix in readable:
                found.readable.append(path)
            elif suffix in _HARD_TO_READ:
                found.unreadable.append(path)
            elif not suffix and entry.is_symlink() and not os.path.exists(entry.path):
                found.unlisted.append(path)

    def walk_bucket() -> None:
        """Adds what is in a folder with a scheme; there are no links."""
        start = root.rstrip("/") + "/"
        unlisted = found.unlisted.append
        for folder, _, names in _gfile(root).walk(start, onerror=lambda e: unlisted(e.message)):
            below = folder.rstrip("/")[len(start) :]
            for name in names:
                path = f"{below}/{name}" if below else name
                suffix = os.path.splitext(name)[1].lower()
                if any(part.startswith(".") for part in path.split("/")):
                    continue
                if suffix in readable:
                    found.readable.append(path)
                elif suffix in _HARD_TO_READ:
                    found.unreadable.append(path)

    if has_scheme(root):
        walk_bucket()
    else:
        walk(".", frozenset([os.path.realpath(root)]))
    for paths in found:
        paths.sort(key=_parts)
    return found


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


def hints(paths: Iterable[str]) -> str:
    """What can be done about pictures that Pillow cannot read: "" or " (...)"."""
    found = {pathlib.Path(path).suffix.lower() for path in paths}
    suffixes = sorted((found & set(_HARD_TO_READ)) - readable_suffixes())
    return f" ({'; '.join(f'{name}: {_HARD_TO_READ[name]}' for name in suffixes)})" * bool(suffixes)


def _parts(path: str) -> list[str]:
    return path.split(os.sep)


def looks_readable(path: str) -> bool:
    """Whether a file is a regular one that begins like a picture; nothing is decoded."""
    try:
        with open_bytes(path) as file:
            if _begins_like_a_picture(file.read(16)):
                return True
        with open_image(path):  # A format without a mark at its beginning.
            return True
    except UNREADABLE:
        return False


@functools.cache
def _marks() -> tuple:
    """Pillow's functions that tell by 16 bytes whether a file may be of a format."""
    import PIL.Image

    marks = (PIL.Image.OPEN[name][1] for name in sorted(_formats()))
    return tuple(mark for mark in marks if mark is not None)


def _begins_like_a_picture(start: bytes) -> bool:
    # Seven times as fast as Pillow's `open`, which reads all of a header. A text means that the
    # format is right, and that something else is missing.
    return any(mark(start) is True for mark in _marks())


def open_image(path: File) -> "PIL.Image.Image":
    """Opens a file with Pillow, which reads its header; see `open_bytes`.

    Raises:
        Exception: of any kind, if it is not a picture.
    """
    import PIL.Image

    # By its content, whatever its name is: an EPS file by the name of a JPEG is not run.
    formats = sorted(_formats())
    if isinstance(path, Encoded) or has_scheme(path):
        return PIL.Image.open(open_bytes(path), formats=formats)
    open_bytes(path).close()  # Pillow would wait for a pipe.
    return PIL.Image.open(path, formats=formats)


def is_gray(path: File) -> bool:
    """Whether a file is an image of one channel, or is not an image that can be read."""
    try:
        with open_image(path) as image:
            return image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    except UNREADABLE:
        return True


def read(path: File, size: int, channels: int) -> np.ndarray:
    """Reads a file: its first frame, turned upright, resized, and cropped to the center.

    Args:
        path: The file.
        size: Height and width, in pixels.
        channels: 1, 3 or 4.

    Returns:
        uint8 (size, size, channels).
    """
    import PIL.Image
    import PIL.ImageOps

    with open_image(path) as file:
        # A large JPEG is decoded at a half, a quarter or an eighth of its size, if each side keeps
        # twice as many pixels as are wanted. That saves most of the time of a camera's photo.
        file.draft(None, (2 * size, 2 * size))
        image = PIL.ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion would clip
            image = _from_16_bits(np.asarray(image))
        elif image.mode == "F":
            raise ValueError(f"{path} has pixels of floats, whose range is not known")
        elif image.has_transparency_data and channels != 4:
            # On white, as a page shows it: the colors under transparent pixels mean nothing.
            image = image.convert("RGBA")
            white = PIL.Image.new("RGBA", image.size, "white")
            image = PIL.Image.alpha_composite(white, image)
        image = image.convert({1: "L", 3: "RGB", 4: "RGBA"}[channels])
        image = PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(size, size, channels)


def _from_16_bits(pixels: np.ndarray) -> "PIL.Image.Image":
    import PIL.Image

    if pixels.min() < 0 or pixels.max() > 65535:
        raise ValueError("The range of pixels of 32 bits is not known")
    return PIL.Image.fromarray((pixels // 257).astype(np.uint8))


def pixels(path: str) -> np.ndarray:
    """Reads all pixels of a file: its first frame, turned upright.

    Args:
        path: The file.

    Returns:
        (height, width) or (height, width, channels), as the file has them; those of a palette are
        converted to RGBA.
    """
    import PIL.ImageOps

    with open_image(path) as file:
        image = PIL.ImageOps.exif_transpose(file)
        return np.asarray(image.convert("RGBA") if image.mode in ("P", "PA") else image)
