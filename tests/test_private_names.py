"""Private names of Keras, TensorFlow and keras-tuner: all there, and all on one page."""

import ast
import importlib
import inspect
import operator
import pathlib
import pkgutil
import textwrap

import keras
import keras_tuner
import pytest
import tensorflow as tf

import keras_ssl
from keras_ssl import _keras
from tests.catalog import module_names

PACKAGE = pathlib.Path(keras_ssl.__file__).parent
PAGE = PACKAGE / "_keras.py"
TABLE = (*_keras.PRIVATE_NAMES, *_keras.HOOKS)
NAMES = {part for _, name in TABLE for part in name.split(".") if part.startswith("_")}
HOOKS = {name for _, name in _keras.HOOKS}
PRIVATE_MODULES = ("keras.src", "keras_tuner.src", "tensorflow.python", "tensorflow.compiler")


# --- Each name is there ---------------------------------------------------------------------------


def compiled_model():
    model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def built_adam():
    optimizer = keras.optimizers.Adam()
    optimizer.build([keras.Variable(1.0)])
    return optimizer


# Owners that have a name from their construction on, or that are no class: an example.
EXAMPLES = {
    "keras.Layer": lambda: keras.layers.Dense(1),
    "keras.Model": compiled_model,
    "keras.optimizers.Optimizer": keras.optimizers.SGD,
    "keras.optimizers.Adam": built_adam,
    "tensorflow.distribute.MirroredStrategy.extended": lambda: (
        tf.distribute.MirroredStrategy(["CPU:0"]).extended
    ),
    "keras_tuner.Oracle": lambda: keras_tuner.Oracle(keras_tuner.Objective("score", "max")),
}


def has(owner, name):
    if owner == "keras.Model.evaluate":  # an argument that its signature does not show
        return f'"{name}"' in inspect.getsource(keras.Model.evaluate)
    # From the top: `tf.distribute` is not the module `tensorflow.distribute`.
    path = owner if owner.startswith(PRIVATE_MODULES) else owner.replace(".", ":", 1)
    try:
        thing = pkgutil.resolve_name(path)
        if owner in EXAMPLES and not hasattr(thing, name):
            thing = EXAMPLES[owner]()
        operator.attrgetter(name)(thing)
    except (AttributeError, ImportError):
        return False
    return True


def test_each_private_name_is_there():
    missing = [f"{owner} has no {name}" for owner, name in TABLE if not has(owner, name)]
    assert not missing


def test_a_missing_name_is_found_missing():
    assert not has("keras.Layer", "_no_such_name")
    assert not has("keras.Model", "_compile_metrics._no_such_name")
    assert not has("keras.Model.evaluate", "_no_such_name")
    assert not has("tensorflow.python.no_such_module", "_registry")


def test_the_table_has_what_the_page_uses():
    page = ast.parse(PAGE.read_text(encoding="utf-8"))
    functions = [node for node in page.body if isinstance(node, ast.FunctionDef)]
    used = set()
    for node in (node for function in functions for node in ast.walk(function)):
        match node:
            case ast.Attribute(attr=str(name)) | ast.Constant(value=str(name)):
                used |= {name} if name.startswith("_") else set()
    listed = {part for _, name in _keras.PRIVATE_NAMES for part in name.split(".")}
    assert used - HOOKS == {part for part in listed if part.startswith("_")}


# --- None is used elsewhere -----------------------------------------------------------------------


def is_private(name):
    # Named tuples' methods and `os._exit` are documented: their underscore says something else.
    documented = ("_asdict", "_fields", "_replace", "_exit")
    return name.startswith("_") and not name.startswith("__") and name not in documented


def defined(tree):
    """Private names that a file gives to its own classes, functions and instances."""
    found = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.Name(id=name):
                found.add(name)
            case ast.Attribute(value=ast.Name("self" | "cls"), attr=name):
                found.add(name)
    return found


def private_names(source):
    """Where a file uses a private name of somebody else's, as far as the file itself can tell."""
    tree = ast.parse(source)
    own = defined(tree)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                used = [alias.name for alias in names if alias.name.startswith(PRIVATE_MODULES)]
            case ast.ImportFrom(module=str(module), names=names):
                whole = [f"{module}.{alias.name}" for alias in names]
                used = [name for name in whole if name.startswith(PRIVATE_MODULES)]
            case ast.Attribute(value=ast.Name("self" | "cls"), attr=name):
                used = [name] if name in NAMES - HOOKS else []
            case ast.Attribute(attr=name):
                is_foreign = is_private(name) and name not in own
                used = [name] if is_foreign or name in NAMES else []
            case ast.Constant(value=str(text)):
                used = [text] if text in NAMES else []
            case ast.Call(func=ast.Name("getattr" | "hasattr" | "setattr"), args=[_, name, *_]):
                text = getattr(name, "value", None)
                used = [text] if isinstance(text, str) and is_private(text) else []
            case _:
                used = []
        for name in used:
            yield f"line {node.lineno}: {name}"


@pytest.mark.parametrize(
    "path", [path for path in PACKAGE.rglob("*.py") if path != PAGE], ids=lambda path: path.stem
)
def test_no_private_name_is_used_outside_of_the_page(path):
    assert not list(private_names(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "layer._flatten_layers()",
        "self._compile_metrics",
        "def _moments(): ...\nlayer._moments = _moments",
        "strategy.extended._anything",
        "getattr(optimizer, '_learning_rate', None)",
        "setattr(layer, '_anything', 1)",
        "call.get('_use_cached_eval_dataset')",
        "tf.__internal__.distribute",
        "import keras.src.backend",
        "from keras_tuner import src\nfrom keras_tuner.src import utils",
        "from tensorflow.python.framework import ops",
    ],
)
def test_a_private_name_is_found(source):
    assert list(private_names(source))


def names_in(cls):
    """Private names of a class: its attributes, and those that its methods give to `self`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    own = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    return {name for name in own | set(vars(cls)) if is_private(name)}


def subclasses():
    """Our classes that have a base of Keras' or keras-tuner's, and these bases."""
    for module in map(importlib.import_module, module_names()):
        for cls in vars(module).values():
            if inspect.isclass(cls) and cls.__module__ == module.__name__:
                libraries = ("keras", "keras_tuner", "tensorflow")
                bases = [b for b in cls.__mro__ if b.__module__.split(".")[0] in libraries]
                if bases:
                    yield pytest.param(cls, bases, id=f"{module.__name__}.{cls.__name__}")


@pytest.mark.long
@pytest.mark.parametrize("cls, bases", list(subclasses()))
def test_a_subclass_shares_no_private_name_with_its_bases(cls, bases):
    # Used, or taken by accident for something else of its own.
    of_bases = set().union(*map(names_in, bases))
    assert names_in(cls) & of_bases <= HOOKS


def test_a_function_that_is_not_translated():
    """TensorFlow knows the mark, which has no name of its own to look for."""
    from tensorflow.python.autograph.impl import api

    assert api.is_autograph_artifact(_keras.not_translated(lambda: 0))
    assert not api.is_autograph_artifact(lambda: 0)
