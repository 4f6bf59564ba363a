"""Several processes on one machine that share a study: keras-tuner's chief and its workers."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

# A worker that dies is started again: a trial that kills it is given up after a few times (see
# `keras_ssl.studies.tuner`), and the night goes on.
_SECONDS_BETWEEN_LOOKS = 0.5


def run_with_workers(command: Sequence[str], count: int, folder: Any) -> int:
    """Runs a program that runs a `Study` as a chief and `count` workers, until the chief ends.

    The workers share out the processor. On two cores two of them do half as much again as one
    process with both: what traces graphs is Python, which uses one.

    Args:
        command: The program and its arguments, the same for all.
        count: Workers, at least 1.
        folder: Where the workers' output goes, `worker-1.log`, ...: the study's.

    Returns:
        The chief's exit status.
    """
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    threads = str(max((os.cpu_count() or 1) // count, 1))
    shared = {
        **os.environ,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
    }

    def start_worker(number: int) -> subprocess.Popen:
        environment = {**shared, "KERASTUNER_TUNER_ID": f"worker-{number}"}
        with open(folder / f"worker-{number}.log", "a") as log:
            return subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    chief = subprocess.Popen(command, env={**shared, "KERASTUNER_TUNER_ID": "chief"})
    workers: dict[int, subprocess.Popen] = {}
    try:
        while chief.poll() is None:
            for number in range(1, count + 1):
                worker = workers.get(number)
                if worker is None or (worker.poll() or 0) < 0:  # It was killed.
                    workers[number] = start_worker(number)
                elif worker.poll():
                    print(
                        f"worker {number} ended with status {worker.returncode}: see "
                        f"{folder / f'worker-{number}.log'}",
                        file=sys.stderr,
                    )
                    return worker.returncode
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        return chief.returncode
    finally:
        for process in (chief, *workers.values()):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
