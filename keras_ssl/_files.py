"""Files that are written whole or not at all, and folders that only one process writes to."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import weakref
from collections.abc import Iterator
from typing import Any

try:
    import fcntl
except ImportError:  # On Windows, two processes in one folder do not notice each other.
    fcntl = None  # type: ignore[assignment]

# The name of the lock, a file in every folder that was locked.
LOCK = ".lock"
# The end of an unfinished file's name: the number of its process, and this suffix.
_PARTIAL = re.compile(r"\.\d+\.partial(\.[^.]*)?$")


class DamagedFileError(ValueError):
    """A file does not hold what was written to it."""


@contextlib.contextmanager
def whole(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A scope that writes a file whole or not at all, despite a kill, a full disk or a power cut.

        with whole(path) as partial:
            model.save(partial)

    Args:
        path: The file. It does not change before the scope ends, or if the scope ends in an error.

    Yields:
        The path to write to, beside `path` and with the same suffix. The file is renamed to `path`
        once its content is on the disk.

    Raises:
        OSError: if the file cannot be written.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial{path.suffix}")
    try:
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())  # Otherwise a power cut can leave the name without content.
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def save_figure(figure: Any, path: str | os.PathLike[str], **options: Any) -> None:
    """Writes a figure of matplotlib whole or not at all, as PNG if the path has no suffix."""
    with whole(path) as partial:
        figure.savefig(partial, format=pathlib.Path(path).suffix[1:] or "png", **options)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """A scope that writes a folder whole or not at all; see `whole`.

    Args:
        path: The folder, which is new or empty. Folders above it are made if there are none.

    Yields:
        The path of an empty folder to write to, beside `path`. It is renamed to `path` once its
        files are on the disk.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = pathlib.Path(path).resolve()  # A link stays, and leads to the new folder.
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    made = [folder for folder in path.parents if not folder.exists()]  # the lowest first
    try:
        partial.mkdir(parents=True)
        yield partial
        for file in partial.rglob("*"):
            if file.is_file():
                with open(file, "rb+") as content:
                    os.fsync(content.fileno())
        if path.is_dir():
            path.rmdir()  # Windows does not rename to an empty folder.
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes a UTF-8 file whole or not at all; see `whole`.

    Characters that UTF-8 cannot hold, such as the undecodable bytes of a file's name, are escaped.

    Raises:
        OSError: if the file cannot be written; `path` is then unchanged.
    """
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def partial_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the unfinished files that killed processes have left."""
    return [file for file in folder.glob("*.partial*") if _PARTIAL.search(file.name)]


def write_json(path: pathlib.Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; what JSON does not know becomes its text.

    Raises:
        OSError: if the file cannot be written; `path` is then unchanged.
    """
    write_whole(path, json.dumps(content, indent=2, default=str) + "\n")


def read_json(path: pathlib.Path, remedy: str) -> dict[str, Any]:
    """Reads a JSON object from a file.

    Args:
        path: The file.
        remedy: A sentence that says what happens to a damaged file, or what the user can do.

    Raises:
        DamagedFileError: (a `ValueError`) if the file does not hold one JSON object.
        ValueError: if the file is missing or cannot be read. It may be intact.
    """
    try:
        # Some Windows editors put a mark at the beginning.
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        found = f"{error}" if path.stat().st_size else "an empty file"
        raise damaged(path, remedy, found) from error
    if not isinstance(content, dict):
        raise damaged(path, remedy, f"a {type(content).__name__}")
    return content


def damaged(path: pathlib.Path, remedy: str, found: str) -> DamagedFileError:
    """Returns the error for a file whose content is not what was written to it.

    Args:
        path: The file.
        remedy: See `read_json`.
        found: What the file holds or lacks.
    """
    return DamagedFileError(f"{path} is damaged. {remedy} Received: {found}")


class FolderLock:
    """A lock that keeps other processes out of a folder as long as this object lives.

    Raises:
        BlockingIOError: if another process holds the lock.
    """

    def __init__(self, path: pathlib.Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_WRONLY | os.O_CREAT)
        try:
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise
        except OSError:
            pass  # On a file system without locks, processes do not notice each other.
        self.release = weakref.finalize(self, os.close, lock)
