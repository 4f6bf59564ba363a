"""Several processes on one machine that share a study: keras-tuner's chief and its workers."""

import os
import pathlib
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from keras_ssl._validation import check_count
from keras_ssl.studies import starter

# A worker that dies is started again: a trial that kills it is given up after a few times (see
# `keras_ssl.studies.tuner`), and the study goes on. This is how often workers are looked at.
_SECONDS_BETWEEN_LOOKS = 0.5
# A worker that dies more often is not killed by its trials.
_MOST_DEATHS = 30


def run_with_workers(command: Sequence[str], count: int, folder: Any) -> int:
    """Runs a program that runs a `Study` as a chief and `count` workers, until the chief ends.

    The workers divide the processor among them. On two cores, two workers run 1.5 times as many
    trials as one process with both cores: Python traces the graphs, and it uses one core.

    When this process ends, they end, even if it is killed by SIGKILL: see
    `keras_ssl.studies.starter`. The study continues when it is run again.

    Args:
        command: The program and its arguments, the same for all processes.
        count: Number of workers, at least 1.
        folder: Folder of the study, where the workers' output goes: `worker-1.log`, ...

    Returns:
        The chief's exit status, or that of a worker that ended with an error of its own.

    Raises:
        TypeError: if `command` is not a list.
        ValueError: if `command` is empty or `count` is below 1.

    Example:
        >>> command = [sys.executable, "study.py"]
        >>> status = run_with_workers(command, 2, "runs/study")  # doctest: +SKIP
        >>> run_with_workers([], 2, "runs/study")
        Traceback (most recent call last):
            ...
        ValueError: `command` must name a program. Received: command=[]
    """
    if isinstance(command, (str, bytes)) or not isinstance(command, Sequence):
        raise TypeError(
            "`command` must be a list, such as [sys.executable, *sys.argv]. "
            f"Received: command={command!r}"
        )
    if not command:
        raise ValueError("`command` must name a program. Received: command=[]")
    count = check_count("count", count)
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    threads = str(max((os.cpu_count() or 1) // count, 1))
    variables = {
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
        "TF_NUM_INTRAOP_THREADS": threads,
        "TF_NUM_INTEROP_THREADS": threads,
        "OMP_NUM_THREADS": threads,
        # Workers share GPUs too, so that none may take all of the memory at once.
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
    }
    with starter.starting() as (descriptor, variable):
        shared = {**os.environ, **variables, **variable}
        return _run(command, count, folder, shared, descriptor)


def _run(
    command: Sequence[str],
    count: int,
    folder: pathlib.Path,
    shared: dict[str, str],
    descriptor: int,
) -> int:
    """Starts the processes with an environment and a file descriptor, and waits for the chief."""

    def log_of(number: int) -> pathlib.Path:
        return folder / f"worker-{number}.log"

    def start(number: int) -> subprocess.Popen:
        environment = {**shared, "KERASTUNER_TUNER_ID": f"worker-{number}"}
        with open(log_of(number), "a") as log:
            return subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, pass_fds=[descriptor]
            )

    # The chief does not train.
    environment = {**shared, "KERASTUNER_TUNER_ID": "chief", "CUDA_VISIBLE_DEVICES": ""}
    chief = subprocess.Popen(command, env=environment, pass_fds=[descriptor])
    workers = {number: start(number) for number in range(1, count + 1)}
    deaths = dict.fromkeys(workers, 0)
    try:
        with starter.ends_when_told():
            while chief.poll() is None:
                for number, worker in workers.items():
                    status = worker.poll()
                    if status is not None and status < 0 and deaths[number] < _MOST_DEATHS:
                        deaths[number] += 1
                        workers[number] = start(number)
                    elif status:
                        print(
                            f"worker {number} ended with status {status}: see {log_of(number)}",
                            file=sys.stderr,
                        )
                        return status
                time.sleep(_SECONDS_BETWEEN_LOOKS)
            return chief.returncode
    finally:
        _stop([chief, *workers.values()])


def _stop(processes: list[subprocess.Popen]) -> None:
    """Asks processes to stop, and kills those that do not."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(starter.SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.kill()
