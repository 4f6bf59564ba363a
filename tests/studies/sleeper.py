"""Sleeps until it is ended, as a chief or a worker that imports nothing.

python tests/studies/sleeper.py STARTER_FILE FOLDER

It holds a lock on FOLDER/NAME as long as it lives. Worker 2 ignores SIGTERM.
"""

import fcntl
import importlib.util
import os
import pathlib
import signal
import sys
import time

spec = importlib.util.spec_from_file_location("starter", sys.argv[1])
starter = importlib.util.module_from_spec(spec)
spec.loader.exec_module(starter)
name = os.environ["KERASTUNER_TUNER_ID"]
if name == "worker-2":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    starter.SECONDS_TO_STOP = 0.1
starter.end_with_starter()
partial = pathlib.Path(sys.argv[2]) / f"{name}.partial"
with open(partial, "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    partial.rename(partial.with_suffix(""))
    time.sleep(600)
