"""Measures the peak memory of one piece of work, in a process of its own (Linux)."""

import gc
import json
import os
import pathlib


def _resident(field):
    """Returns a resident size of this process, in MiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def peak_from_here():
    """Returns a function that returns the MiB of the peak since now, above what is held now."""
    gc.collect()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    before = _resident("VmRSS")
    return lambda: _resident("VmHWM") - before


def peak_above(prepare):
    """Returns the MiB of the resident set at the peak of a step, above what it was before.

    The step runs in a fork, because TensorFlow and PyTorch keep all memory that they have
    allocated. Call this before any kernel has run: there must be no threads yet.

    Args:
        prepare: Function without arguments that returns the step, another such function.

    Raises:
        RuntimeError: if the process died, most often because memory ran out.
    """
    reader, writer = os.pipe()
    if os.fork() == 0:
        try:
            step = prepare()
            above = peak_from_here()
            step()
            os.write(writer, json.dumps(above()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.wait()
    if not text:
        raise RuntimeError("The step failed, probably because memory ran out")
    return json.loads(text)
