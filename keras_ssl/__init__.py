"""Self-supervised learning for Keras 3: two families of methods, two sides of one coin."""

__version__ = "0.2.0"

import contextlib

from keras_ssl._quiet import is_program, quiet_start

with quiet_start() if is_program() else contextlib.nullcontext():
    from keras_ssl._backend import check_backend, convolve_by_onednn, wake_tensorflow

    if is_program():
        convolve_by_onednn()
    check_backend()
    if is_program():
        wake_tensorflow()

import importlib  # noqa: E402 (after the check)
from typing import TYPE_CHECKING, Any  # noqa: E402

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
    from keras_ssl.commands.embed import embed
    from keras_ssl.commands.evaluate import evaluate
    from keras_ssl.commands.export import export
    from keras_ssl.commands.finetune import finetune
    from keras_ssl.commands.neighbors import neighbors
    from keras_ssl.commands.pretrain import pretrain
    from keras_ssl.commands.report import report
    from keras_ssl.commands.study import study

__all__ = [
    "callbacks",
    "data",
    "distribution",
    "duality",
    "embed",
    "encoders",
    "evaluate",
    "evaluation",
    "export",
    "finetune",
    "finetuning",
    "hypermodels",
    "layers",
    "losses",
    "models",
    "neighbors",
    "optimizers",
    "pretrain",
    "recipes",
    "report",
    "spaces",
    "studies",
    "study",
]

# These need keras-tuner. They are imported on first use, so that `import keras_ssl` loads nothing
# that `import keras` does not. In other modules, functions import the packages that only they need:
# scikit-learn, SciPy, matplotlib, Pillow, TensorBoard, tensorflow-datasets.
_LAZY = ("hypermodels", "studies")

# The commands of `keras-ssl` as functions, imported on first use.
_COMMANDS = ("pretrain", "evaluate", "embed", "neighbors", "finetune", "export", "report", "study")


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _COMMANDS:
        return getattr(importlib.import_module(f"{__name__}.commands.{name}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY, *_COMMANDS})
