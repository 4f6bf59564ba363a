"""The backends that would be wrong are refused before anything of the library is imported."""

import subprocess
import sys


def test_another_backend_is_refused_at_import():
    # As it is with KERAS_BACKEND=torch, without torch.
    program = "import keras; keras.backend.backend = lambda: 'torch'; import keras_ssl"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: keras_ssl runs on Keras' TensorFlow backend alone")
    assert "KERAS_BACKEND=tensorflow" in last and last.endswith("the backend 'torch'")
