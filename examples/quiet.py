"""TensorFlow without the lines that it logs before anybody can tell it not to."""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

# Of what TensorFlow 2.21 says while it starts: that it has loaded, and that there is no GPU where
# there is none. What else it says, of a GPU that it cannot use, say, is passed on.
_CHATTER = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog|I\d{4} |"
    r"E\d{4} .*failed call to cuInit|To enable the following instructions:|\s*$)"
)


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """A scope to import TensorFlow in, and to ask it for its devices, without its chatter."""
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
