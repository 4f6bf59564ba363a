"""Checks that two processes compute what one does, and that training continues after a kill."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.slow
EPOCHS = 4


def _ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("localhost", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def _start(command, folder, workers, **arguments):
    """Starts one process per worker; `arguments` are added to the command of a worker."""
    addresses = [f"localhost:{port}" for port in _ports(workers)]
    processes = []
    for index in range(workers):
        config = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        environment.pop("TF_CONFIG", None)
        if workers > 1:
            environment["TF_CONFIG"] = json.dumps(config)
        processes.append(
            subprocess.Popen(
                [*command, *arguments.get(f"worker_{index}", [])],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return processes


def _train(folder, workers, **arguments):
    folder.mkdir(exist_ok=True)
    module = "tests.distribution.multiworker_program"
    command = [sys.executable, "-m", module, str(folder), str(EPOCHS)]
    processes = _start(command, folder, workers, **arguments)
    outputs = [process.communicate(timeout=150) for process in processes]
    return [process.returncode for process in processes], [error for _, error in outputs]


def _result(folder, index=0):
    return dict(np.load(folder / f"result-{index}.npz"))


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    codes, errors = _train(folder, 1)
    assert codes == [0], errors[0][-3000:]
    return _result(folder)


def _assert_same(result, expected, names=None):
    for name in names or expected:
        is_probe = "probe" in name or expected[name].dtype == "float32"  # The probe is float32.
        tolerance = 1e-5 if is_probe else 1e-9
        scale = np.abs(expected[name]).max() + 1e-2
        assert np.abs(result[name] - expected[name]).max() < tolerance * scale, name


def test_two_processes_train_as_one(one, tmp_path):
    codes, errors = _train(tmp_path / "two", 2)
    assert codes == [0, 0], errors[0][-3000:] + errors[1][-3000:]
    for index in (0, 1):
        _assert_same(_result(tmp_path / "two", index), one)
    # Only the first has left files.
    assert [p.name for p in (tmp_path / "two" / "checkpoints").iterdir()] == ["epoch-00004.keras"]
    events = list((tmp_path / "two" / "events").rglob("events*"))
    assert len(events) == 1


def test_a_killed_worker_ends_the_job_and_a_restart_goes_on_exactly(one, tmp_path):
    folder = tmp_path / "killed"
    # The worker dies in the middle of the third epoch of 3 steps.
    codes, errors = _train(folder, 2, worker_1=["8"])
    assert codes == [3, -9], errors[0][-3000:]
    assert "Another worker was lost" in errors[0]
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["epoch-00002.keras"]
    codes, errors = _train(folder, 2)
    assert codes == [0, 0], errors[0][-3000:] + errors[1][-3000:]
    weights = [name for name in one if name.startswith(("weight", "evaluated"))]
    _assert_same(_result(folder), one, weights)


def test_the_script_gives_the_same_run_on_two_processes(tmp_path):
    runs = {}
    for workers in (1, 2):
        runs[workers] = folder = tmp_path / str(workers)
        script = [sys.executable, "-m", "keras_ssl", "pretrain", "--smoke", "--out", str(folder)]
        processes = _start(script, folder, workers)
        outputs = [process.communicate(timeout=150) for process in processes]
        assert [process.returncode for process in processes] == [0] * workers, outputs
    one, two = (
        [row.split(",") for row in (folder / "metrics.csv").read_text().splitlines()]
        for folder in runs.values()
    )
    assert two[0] == one[0]
    np.testing.assert_allclose(
        *(np.asarray(rows[1:], float) for rows in (two, one)), rtol=1e-4, atol=1e-6
    )
    config = json.loads((runs[2] / "config.json").read_text())
    assert config["replicas"] == 2 and config["options"]["strategy"] == "auto"
