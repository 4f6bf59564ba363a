"""Files that outlive a kill, and folders that one process has to itself."""

import os
import pathlib
import weakref

try:
    import fcntl
except ImportError:  # Windows: two processes in one folder are not noticed there.
    fcntl = None  # type: ignore[assignment]

# In every folder that was locked.
LOCK = ".lock"


def write_whole(path: pathlib.Path, text: str) -> None:
    """Writes a file whole or not at all, whenever the process is killed."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text)
    os.replace(partial, path)


class FolderLock:
    """A folder that this process writes to, locked against others as long as this object lives.

    Raises:
        BlockingIOError: if another process has it.
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
            pass  # A file system without locks: others are not noticed.
        self.release = weakref.finalize(self, os.close, lock)
