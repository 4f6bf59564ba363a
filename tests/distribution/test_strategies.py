"""Checks the strategies that names stand for."""

import json
import subprocess
import sys

import pytest
import tensorflow as tf

from keras_ssl import distribution

CLUSTER = {"cluster": {"worker": ["localhost:1", "localhost:2"]}}


def test_one_device_by_default(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "TPU_WORKER_ID", "COLAB_TPU_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("none", "auto"):
        strategy = distribution.strategy(name)
        assert strategy.num_replicas_in_sync == 1
        assert distribution.is_chief(strategy)


@pytest.mark.slow
def test_mirrored_takes_all_devices():
    program = """
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 3)
from keras_ssl import distribution
strategy = distribution.strategy("mirrored")
print(strategy.num_replicas_in_sync, distribution.is_chief(strategy))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == ["3", "True"], done.stderr[-2000:]


@pytest.mark.parametrize(
    "tf_config",
    [None, "{", "[]", "{}", json.dumps(CLUSTER), json.dumps({"task": {"type": "worker"}})],
)
def test_several_machines_need_to_know_each_other(tf_config, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if tf_config is not None:
        monkeypatch.setenv("TF_CONFIG", tf_config)
    with pytest.raises(ValueError, match="TF_CONFIG"):
        distribution.strategy("multiworker")


def test_auto_takes_what_the_environment_names(monkeypatch):
    class MadeError(Exception):
        pass

    def made(*args, **kwargs):
        raise MadeError

    monkeypatch.setattr(tf.distribute, "MultiWorkerMirroredStrategy", made)
    task = {"task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps({**CLUSTER, **task}))
    with pytest.raises(MadeError):
        distribution.strategy("auto")
    monkeypatch.delenv("TF_CONFIG")
    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", made)
    monkeypatch.setenv("TPU_NAME", "local")
    with pytest.raises(MadeError):
        distribution.strategy("auto")


def test_a_tpu_that_is_not_there(monkeypatch):
    def nowhere(*args, **kwargs):
        raise ValueError("Please provide a TPU Name to connect to.")

    monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", nowhere)
    with pytest.raises(ValueError, match="there is no TPU.*Please provide a TPU Name"):
        distribution.strategy("tpu")


def test_another_name():
    with pytest.raises(ValueError, match="`name` must be one of.*horovod"):
        distribution.strategy("horovod")
