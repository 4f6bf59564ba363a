"""The folder of a run, which one process at a time writes to, in whole files."""

import contextlib
import glob
import os
import pathlib
import platform
import warnings
from collections.abc import Mapping
from typing import Any

import keras

from keras_ssl import _renames
from keras_ssl._backend import package_versions
from keras_ssl._files import LOCK, FolderLock, damaged, partial_files, read_json, whole, write_json
from keras_ssl.encoders import plain_encoder
from keras_ssl.encoders.exported import CONTRACT, json_of

CONFIG = "config.json"
RESULTS = "results.json"
BASELINES = "baselines.json"
_PACKAGES = ("keras-ssl", "keras", "tensorflow", "tensorflow-datasets", "numpy", "scikit-learn")


# Options that may be paths.
_PATHS = ("source", "evaluate_on", "encoder", "weights", "config", "data_dir")

_REMEDY = "Repair it, or start another run."


class RunWarning(UserWarning):
    """Something in a run's folder was lost; the run goes on."""


class RunFolder:
    """The folder that a run leaves behind, locked against other processes during the run.

    Every file is written whole or not at all. If the folder is deleted during a run, the next file
    that is written makes it again, with its config.

    Args:
        path: The folder. `begin` makes it if it does not exist.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = pathlib.Path(path)
        self._config: Mapping[str, Any] | None = None
        self._lock: FolderLock | None = None
        self._made: list[pathlib.Path] = []

    def __truediv__(self, name: str) -> pathlib.Path:
        return self.path / name

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of the checkpoints."""
        return self / "checkpoints"

    # --- Beginning and resuming ----------------------------------------------------------------

    def check_new(self) -> None:
        """Raises a `ValueError` if the folder holds files, which a run could overwrite."""
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"The run folder must be a folder. Received: {self.path}, a file")
        if self._files():
            raise ValueError(
                f"The run folder {self.path} already holds files: name another with `out`, or "
                f"continue its run with `resume`: {self.path}"
            )

    def take(self, may_be_renamed: bool = False) -> None:
        """Takes the folder for a run that will begin, so that no other run gets it meanwhile.

        Args:
            may_be_renamed: Whether another name will do if a run of the same second has this one:
                "-2", "-3", ... is put behind it.

        Raises:
            ValueError: if the folder holds files, or another process writes to it.
            OSError: if it cannot be made.
        """
        wanted, number = self.path, 1
        while True:
            missing = [path for path in (self.path, *self.path.parents) if not path.exists()]
            try:
                self.path.mkdir(parents=True)
                self._made = missing  # the lowest first
            except FileExistsError:
                if may_be_renamed:
                    number += 1
                    self.path = wanted.with_name(f"{wanted.name}-{number}")
                    continue
            break
        self.check_new()
        self._take_lock()

    def leave(self) -> None:
        """Lets others write to the folder; one that was made for nothing is removed."""
        self.close()
        if not self._made or not self.path.is_dir() or self._files():
            return
        with contextlib.suppress(OSError):
            (self / LOCK).unlink(missing_ok=True)
            for path in self._made:
                path.rmdir()

    def begin(self, config: Mapping[str, Any]) -> None:
        """Takes the folder for a new run, and writes the run's config.

        Args:
            config: All that is needed to repeat the run, in JSON's types.

        Raises:
            ValueError: if the folder holds files, or another process writes to it.
        """
        self.check_new()
        self.go_on(config)
        self.write_json(CONFIG, config)

    def go_on(self, config: Mapping[str, Any]) -> None:
        """Takes the folder of a run that was interrupted.

        Args:
            config: The config of the run, see `read_config`.

        Raises:
            ValueError: if another process writes to the folder.
        """
        self._take_lock()
        self._config = config

    def _take_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            self._lock = FolderLock(self.path)
        except BlockingIOError:
            raise ValueError(
                f"Another process is writing to the run folder {self.path}: wait until it ends, or "
                "stop it."
            ) from None

    def note_continuation(self, begin: str) -> None:
        """Adds to the config where the run goes on, and on what; see `versions`.

        Args:
            begin: Where it goes on, in words.
        """
        config = {**(self._config or {})}
        config["continued"] = [*config.get("continued", ()), {"at": begin, **versions()}]
        self._config = config
        self.write_json(CONFIG, config)

    def close(self) -> None:
        """Lets other processes write to the folder."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _files(self) -> list[str]:
        """Names of the files in the folder, without the lock and what killed processes left."""
        if not self.path.is_dir():
            return []
        unfinished = partial_files(self.path)
        files = (file for file in self.path.iterdir() if file not in unfinished)
        return [file.name for file in files if file.name != LOCK]

    # --- Files ---------------------------------------------------------------------------------

    def read_config(self) -> dict[str, Any]:
        """The config of the run, its options by the names of today.

        Raises:
            ValueError: if this is not the folder of a run, or its config is damaged.
        """
        if not self.path.is_dir():
            raise ValueError(f"The run folder {self.path} does not exist")
        if not (self / CONFIG).is_file():
            why = (
                "it holds other files"
                if self._files()
                else "the run was stopped before it began: start it again"
            )
            raise ValueError(f"{self.path} is not the folder of a run: it has no {CONFIG}; {why}")
        config = read_json(self / CONFIG, _REMEDY)
        if not isinstance(config.get("options"), dict):
            raise damaged(self / CONFIG, _REMEDY, f"no options, but {sorted(config)}")
        config["options"] = _found(_renames.options(config["options"]), config.get("directory"))
        return config

    def read_json(self, name: str) -> dict[str, Any] | None:
        """What a JSON file in the folder holds; `None` if there is no such file.

        Raises:
            ValueError: if the file is damaged.
        """
        return read_json(self / name, _REMEDY) if (self / name).is_file() else None

    def write_json(self, name: str, content: Any) -> None:
        """Writes a JSON file, whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        if self._config is not None and name != CONFIG and not (self / CONFIG).is_file():
            warnings.warn(
                f"The run folder {self.path} was deleted; it is made again without its old files.",
                RunWarning,
                stacklevel=2,
            )
            self.write_json(CONFIG, self._config)
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self / name, content)

    def save_encoder(self, encoder: keras.Model) -> None:
        """Writes encoder.keras, whole or not at all, without frozen layers and LoRA.

        Raises:
            OSError: if it cannot be written.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with whole(self / "encoder.keras") as partial:
            plain_encoder(encoder).save(partial)


def _found(options: dict[str, Any], directory: str | None) -> dict[str, Any]:
    """Returns the options of a run with its relative paths as they are seen from here.

    Args:
        options: The options.
        directory: Where the run began; earlier versions do not say it.
    """
    if directory is None or os.path.realpath(directory) == os.getcwd():
        return options
    seen = dict(options)
    for name in _PATHS:
        value = options.get(name)
        if not isinstance(value, str) or "://" in value or os.path.isabs(value):
            continue
        there = os.path.join(directory, value)
        if not os.path.exists(value) and glob.glob(there):  # Shards have wildcards.
            seen[name] = there
    return seen


def scaling_of(encoder: Any) -> Any:
    """Returns how the measurements that an encoder was trained on were scaled.

    Args:
        encoder: The folder of a run or of an exported encoder, or a file in it. Of anything else
            nothing is known.

    Returns:
        The argument `scaling` of `keras_ssl.data.load`.
    """
    config = _config_of(encoder)
    if config is not None:
        return config.get("scaling", ())  # Earlier versions made bytes of all files.
    folder = _folder_of(encoder)
    takes = {} if folder is None else json_of(folder / CONTRACT).get("input")
    if not isinstance(takes, dict) or "scaling_inside" not in takes:
        return None  # Or a file of another program that has this name.
    return takes.get("numbers_that_became_0_and_1")


def size_of(encoder: Any) -> int | None:
    """Returns the height and width of the images that an encoder was trained on.

    An encoder that takes images of any size does not tell itself.

    Args:
        encoder: The folder of a run, or a file in it. Of anything else nothing is known.

    Returns:
        The size in pixels, or `None` if it is not known, or if the images were not square.
    """
    config = _config_of(encoder) or {}
    height, width, *_ = config.get("image_shape") or (None, None)
    return config.get("image_size") or (height if height == width else None)


def _config_of(encoder: Any) -> dict[str, Any] | None:
    """Returns the config of the run that an encoder is of, or `None`."""
    folder = _folder_of(encoder)
    return read_json(folder / CONFIG, _REMEDY) if folder and is_run(folder) else None


def _folder_of(encoder: Any) -> pathlib.Path | None:
    """Returns the folder that an encoder is in, or `None`."""
    if not isinstance(encoder, (str, os.PathLike)):
        return None
    path = pathlib.Path(encoder)
    return path if path.is_dir() else path.parent


def is_run(folder: pathlib.Path) -> bool:
    """Whether a folder has the config of a run: presets and exported encoders have another one.

    Raises:
        ValueError: if the config is damaged.
    """
    return (folder / CONFIG).is_file() and "options" in read_json(folder / CONFIG, _REMEDY)


def versions() -> dict[str, Any]:
    """What a run's figures depend on besides its options: versions, Python and the machine."""
    return {
        "versions": package_versions(*_PACKAGES),
        "backend": keras.backend.backend(),
        "onednn": os.environ.get("TF_ENABLE_ONEDNN_OPTS"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
    }
