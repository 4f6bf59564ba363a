"""Names of classes and functions in JSON files and on command lines.

The library's own have short names. Yours have the name under which you register them with Keras:

    @keras.saving.register_keras_serializable(package="my_package")
    class MyMethod(keras_ssl.models.JointEmbeddingModel): ...

is "my_package>MyMethod" in a recipe's config, once the module that registers it is imported. Only
the program itself, or its option `--import`, imports a module. A name in a file never does: a JSON
file cannot run code.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras

# Names of the modules that `--import` named, for the command that goes on with a run.
IMPORTED: list[str] = []


def name_of(label: str, part: Any, own: Mapping[str, Any]) -> str:
    """Returns the name by which `look_up` finds a class or function again.

    Args:
        label: What the part is called in messages, such as "`model`".
        part: The class or function.
        own: The library's own classes or functions, by their short names.

    Raises:
        ValueError: if the part is neither the library's own nor registered with Keras.
    """
    for name, known in own.items():
        if known is part:
            return name
    for name, known in keras.saving.get_custom_objects().items():
        if known is part:
            return name
    found = getattr(part, "__name__", repr(part))
    raise ValueError(
        f"{label} must be registered with Keras, so that a file can name it: put "
        '`@keras.saving.register_keras_serializable(package="my_package")` above the definition of '
        f"{found}. Received: {part!r}"
    )


def look_up(label: str, name: Any, own: Mapping[str, Any]) -> Any:
    """Returns the class or function that has a name, without importing anything.

    Args:
        label: What the part is called in messages, such as "`model`".
        name: A short name of the library's own, or a name registered with Keras.
        own: The library's own classes or functions, by their short names.

    Raises:
        ValueError: if the name is neither the library's own nor registered with Keras.
    """
    if isinstance(name, str):
        found = own[name] if name in own else keras.saving.get_registered_object(name)
        if found is not None:
            return found
    raise ValueError(
        f"{label} must be one of {list(own)}, or the name under which you registered your own "
        'with Keras, such as "my_package>MyMethod". Import the module that registers it first: '
        f"--import my_module on a command line. Received: {name!r}"
    )


def import_modules(names: Iterable[str]) -> None:
    """Imports modules by name, also from the current directory.

    Args:
        names: Names of modules, such as "my_module" or "my_package.methods".

    Raises:
        ValueError: if a module cannot be imported.
    """
    if os.getcwd() not in sys.path:
        # At the end, so that a file here does not replace a library of the same name.
        sys.path.append(os.getcwd())
    for name in names:
        try:
            importlib.import_module(name)
        except (ImportError, TypeError, ValueError) as error:
            raise ValueError(
                "--import must be the name of a module that can be imported, such as my_module for "
                f"the file my_module.py. Received: {name!r}, {type(error).__name__}: {error}"
            ) from error
        if name not in IMPORTED:
            IMPORTED.append(name)


def add_import_option(parser: Any, **kwargs: Any) -> None:
    """Adds the option `--import` to a parser, or to a group of its options.

    Args:
        parser: An `argparse` parser or argument group.
        **kwargs: More arguments of `add_argument`.
    """
    parser.add_argument(
        "--import",
        dest="imports",
        action="append",
        metavar="MODULE",
        help="module with methods, criteria, optimizers or policies of your own, registered with "
        "Keras; it is imported first, also from the current directory; can be given several times",
        **kwargs,
    )


def import_named(arguments: Sequence[str] | None = None) -> list[str]:
    """Imports the modules that `--import` names, before the other options are read.

    The choices and the help of the other options then include what the modules register.

    Args:
        arguments: The command line. Default: that of the program.

    Returns:
        The other words of the command line.

    Raises:
        ValueError: if a module cannot be imported.
    """
    parser = argparse.ArgumentParser(add_help=False)
    add_import_option(parser, default=[], nargs="?", const="")
    known, others = parser.parse_known_args(arguments)
    import_modules(known.imports)
    return others
