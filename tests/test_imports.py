import importlib.metadata
import importlib.util
import pathlib
import pkgutil
import subprocess
import sys
import types

import pytest

import keras_ssl

# Keras loads some of these where they are installed: that they are not there is the sharper test.
HEAVY = (
    "sklearn",
    "scipy",
    "matplotlib",
    "PIL",
    "tensorboard",
    "keras_tuner",
    "tensorflow_datasets",
)

# One process asks both, as starting it takes longer than the rest.
NEW_MODULES_AND_LAZY_ONES = """
import sys
import keras
before = {name.partition(".")[0] for name in sys.modules}
import keras_ssl
after = {name.partition(".")[0] for name in sys.modules}
print(*(after - before - set(sys.stdlib_module_names)))
assert {"studies", "hypermodels"} <= set(dir(keras_ssl))
assert "keras_tuner" not in sys.modules
from keras_ssl import studies
assert studies is keras_ssl.studies is sys.modules["keras_ssl.studies"]
assert keras_ssl.hypermodels.PretrainingHyperModel
assert "keras_tuner" in sys.modules
"""

WITHOUT_HEAVY = f"""
import sys
sys.modules.update(dict.fromkeys({HEAVY}))  # Whoever imports one of them gets an ImportError.
import keras_ssl
keras_ssl.callbacks.EmbeddingInspector, keras_ssl.evaluation.uniformity, keras_ssl.data.from_folder
"""


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.long
def test_the_package_loads_no_library_that_keras_does_not():
    """What stands on keras-tuner is imported when it is asked for."""
    assert run(NEW_MODULES_AND_LAZY_ONES) == ["keras_ssl"]


@pytest.mark.long
def test_the_package_needs_no_library_that_is_for_single_uses():
    run(WITHOUT_HEAVY)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = keras_ssl.nothing


# --- What is public -------------------------------------------------------------------------------


def public_modules():
    """Every package, and the modules that users import themselves."""
    found = pkgutil.walk_packages(keras_ssl.__path__, "keras_ssl.")
    packages = [module.name for module in found if module.ispkg]
    modules = ["keras_ssl", "keras_ssl.recipes", "keras_ssl.hypermodels"]
    return [*modules, "keras_ssl.distribution", *packages]


@pytest.mark.parametrize("name", public_modules())
def test_all_names_what_there_is(name):
    module = importlib.import_module(name)
    names = module.__all__
    assert len(set(names)) == len(names)

    def is_there(one):  # A module that nobody has imported yet is no attribute.
        return hasattr(module, one) or importlib.util.find_spec(f"{name}.{one}") is not None

    assert all(map(is_there, names)), [one for one in names if not is_there(one)]


@pytest.mark.parametrize("name", public_modules())
def test_all_has_every_public_name_that_a_module_defines(name):
    module = importlib.import_module(name)
    own = [
        key
        for key, value in vars(module).items()
        if not key.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", None) == name
    ]
    assert not set(own) - set(module.__all__)


def test_type_checkers_are_told_that_the_package_is_typed():
    assert (pathlib.Path(keras_ssl.__file__).parent / "py.typed").is_file()
