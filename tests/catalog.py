"""What the library offers, taken from its own `__all__`: tests go over these, and forget nothing.

What is new in a package is in these tables at once. What a test needs of it besides, such as a
reference value, stands beside that test, which fails and says so where it is missing.
"""

import importlib.util
import inspect
import pkgutil

import keras

import keras_ssl
from keras_ssl import data, duality, layers, losses, models, optimizers


def module_names():
    """The modules of the library, but for the training of backends that are not installed."""
    for module in pkgutil.walk_packages(keras_ssl.__path__, "keras_ssl."):
        backend = module.name.partition("training.on_")[2]
        if not backend or importlib.util.find_spec(backend):
            yield module.name


def public(package, kind):
    """The public subclasses of a class in a package, by name, without that class itself."""
    things = {name: getattr(package, name) for name in package.__all__}
    return {
        name: thing
        for name, thing in things.items()
        if inspect.isclass(thing) and issubclass(thing, kind) and thing is not kind
    }


CRITERIA = public(losses, losses.Criterion)
METHODS = public(models, models.JointEmbeddingModel)
del METHODS["Distillation"]  # It needs a teacher: tests/models/test_predictive.py.
METRICS = public(duality, keras.metrics.Metric)
LAYERS = public(layers, keras.layers.Layer)
OPTIMIZERS = public(optimizers, keras.optimizers.Optimizer)
AUGMENTATIONS = {
    name: layer
    for name, layer in public(data, keras.layers.Layer).items()
    if name != "Augmentation"
}
SAVED = {**CRITERIA, **METRICS, **LAYERS, **OPTIMIZERS, **AUGMENTATIONS}

# Every criterion as it is, and what one of its options makes another computation of.
CRITERIA_AND_VARIANTS = {
    **CRITERIA,
    "L_c": lambda **k: losses.VICRegFamilyLoss("samples", "squares", **k),
    "NTXentLoss-absolute": lambda **k: losses.NTXentLoss(similarity="absolute", **k),
    "NTXentLoss-squared": lambda **k: losses.NTXentLoss(similarity="squared", **k),
    "NTXentLoss-A": lambda **k: losses.NTXentLoss(normalization="centered_embeddings", **k),
    "NTXentLoss-B": lambda **k: losses.NTXentLoss(normalization="dimensions", **k),
    "SpectralContrastiveLoss-same-view": lambda **k: losses.SpectralContrastiveLoss(
        negatives="same_view", **k
    ),
    # By other ways: the other side, and blocks of three rows.
    "VICRegLoss-gram": lambda **k: losses.VICRegLoss(side="gram", **k),
    "BarlowTwinsLoss-gram": lambda **k: losses.BarlowTwinsLoss(side="gram", **k),
    "NTXentLoss-blocks": lambda **k: losses.NTXentLoss(block_size=3, **k),
    "SIGRegLoss-blocks": lambda **k: losses.SIGRegLoss(block_size=3, **k),
    "FroSSLLoss-embeddings": lambda **k: losses.FroSSLLoss(normalization="embeddings", **k),
    "MatrixEntropyLoss-gram": lambda **k: losses.MatrixEntropyLoss(side="gram", **k),
    "VICRegExpLoss-blocks": lambda **k: losses.VICRegExpLoss(block_size=3, **k),
}


def with_side():
    """The criteria that have a choice of side, by name, each a function of that side."""
    found = {
        name: criterion
        for name, criterion in CRITERIA.items()
        if "side" in inspect.signature(criterion).parameters
    }
    del found["VICRegFamilyLoss"]  # As it is, that is VICRegLoss; its other corner is L_c.
    found["L_c"] = CRITERIA_AND_VARIANTS["L_c"]
    found["SpectralContrastiveLoss-same-view"] = CRITERIA_AND_VARIANTS[
        "SpectralContrastiveLoss-same-view"
    ]
    return found


def check_complete(covered, public, what_to_add):
    """Fails with the names that `covered` lacks, and what to add where."""
    missing = sorted(set(public) - set(covered))
    assert not missing, f"{', '.join(missing)}: {what_to_add}"
