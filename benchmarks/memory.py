"""Peak memory of one piece of work, in a process of its own (Linux)."""

import gc
import json
import os
import pathlib


def _resident(field):
    """A resident size of this process, in MiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"no {field} in /proc/self/status")


def peak_above(prepare):
    """MiB of the resident set at the peak of a step, above what it was before.

    In a fork, because TensorFlow and PyTorch keep what they have once allocated. To be called
    before any kernel has run: there must be no threads yet.

    Args:
        prepare: Function without arguments that returns the step, another one.

    Raises:
        RuntimeError: if the process died, most often for want of memory.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            step = prepare()
            gc.collect()
            pathlib.Path("/proc/self/clear_refs").write_text("5")  # forget the highest mark
            before = _resident("VmRSS")
            step()
            os.write(writer, json.dumps(_resident("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    if not text:
        raise RuntimeError("the step failed: out of memory?")
    return json.loads(text)
