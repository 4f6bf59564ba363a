"""Imports TensorFlow without the lines that it logs before anybody can switch them off."""

import contextlib
import os
import pathlib
import re
import sys
import tempfile
from collections.abc import Iterator

# The lines of TensorFlow 2.20 and 2.21 that say that it has loaded, or that a machine without a GPU
# has no GPU. All other lines are passed on, for example those about a GPU that it cannot use.
_CHATTER = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog|I\d{4} |"
    r"(E\d{4}|\d{4}-.*: E) .*failed call to cuInit|To enable the following instructions:|\s*$)"
)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Hides TensorFlow's chatter while it is imported and asked for its devices."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # for the rest of the program
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        os.dup2(log.fileno(), 2)  # C++ writes to the descriptor, not to sys.stderr.
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
            log.seek(0)
            sys.stderr.writelines(line for line in log if not _CHATTER.match(line))


def is_program() -> bool:
    """Whether this process is `keras-ssl` or `python -m keras_ssl`, a program for people.

    In other programs, what TensorFlow logs is not ours to hide.
    """
    words = sys.orig_argv
    module = words[words.index("-m") + 1 :][:1] if "-m" in words else []
    return pathlib.Path(sys.argv[0]).stem == "keras-ssl" or module == ["keras_ssl"]
