"""Self-supervised learning for Keras 3: two families of methods, two sides of one coin."""

__version__ = "0.1.0"

from keras_ssl._backend import check_backend

check_backend()

import importlib  # noqa: E402 (after the check)
from types import ModuleType  # noqa: E402
from typing import TYPE_CHECKING  # noqa: E402

from keras_ssl import (  # noqa: E402
    callbacks,
    data,
    distribution,
    duality,
    encoders,
    evaluation,
    finetuning,
    layers,
    losses,
    models,
    optimizers,
    recipes,
    spaces,
)

if TYPE_CHECKING:
    from keras_ssl import hypermodels, studies

__all__ = [
    "callbacks",
    "data",
    "distribution",
    "duality",
    "encoders",
    "evaluation",
    "finetuning",
    "hypermodels",
    "layers",
    "losses",
    "models",
    "optimizers",
    "recipes",
    "spaces",
    "studies",
]

# These need keras-tuner. They are imported on first use, so that `import keras_ssl` loads nothing
# that `import keras` does not. In other modules, functions import the packages that only they need:
# scikit-learn, SciPy, matplotlib, Pillow, TensorBoard, tensorflow-datasets.
_LAZY = ("hypermodels", "studies")


def __getattr__(name: str) -> ModuleType:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
