"""`keras-ssl`: the functions of `keras_ssl.commands` as a command line, which cyclopts makes.

A parameter of a function is an option, its entry in the docstring is the option's help. What is
wrong ends in one line and the status 2; what the world did (a full disk, a loss that is NaN) with
1; Ctrl-C with 130.
"""

import functools
import importlib
import inspect
import os
import re
import sys
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import docstring_parser

from keras_ssl import __version__, commands, registry
from keras_ssl._text import plain
from keras_ssl.callbacks import NonFiniteLossError, Stopped

__all__ = ["COMMANDS", "GROUPS", "main"]

COMMANDS: list[str] = commands.__all__

# The sections of a command's help. A parameter that is in none of them is under "Options".
GROUPS: dict[str, tuple[str, ...]] = {
    "Images": (
        *("source", "images", "evaluate_on", "image_size", "channels", "labels", "data_dir"),
        *("download", "policy", "view_size", "max_images", "validation"),
    ),
    "Method": ("method", "methods", "config", "projector", "temperature", "criterion"),
    "Encoder": (
        *("encoder", "weights", "input_range", "pooling", "freeze", "layer_decay", "lora_rank"),
    ),
    "Training": (
        *("epochs", "budget", "batch_size", "micro_batch_size", "base_learning_rate"),
        *("weight_decay", "optimizer", "precision", "strategy", "probe", "seed"),
    ),
    "Watching": (
        *("evaluate_every", "checkpoint_minutes", "inspect_every", "stop_when_ill", "graph"),
        "profile",
    ),
    "Run": ("out", "output", "resume", "smoke", "quiet"),
}


def command(name: str) -> Callable[..., Any]:
    """Returns the function of a command."""
    return getattr(importlib.import_module(f"keras_ssl.commands.{name}"), name)


def _annotated(function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns the function with what cyclopts needs to know of each parameter.

    Of the types of a parameter, those that a command line can give are left.
    """
    import cyclopts

    docstring = docstring_parser.parse(function.__doc__ or "")
    texts = {entry.arg_name: entry.description or "" for entry in docstring.params}
    hints = typing.get_type_hints(function)
    group_of = {name: group for group, names in GROUPS.items() for name in names}
    # Options are not positional, and in the order of the page.
    groups = {name: cyclopts.Group(name, sort_key=i) for i, name in enumerate([*GROUPS, "Options"])}

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    del called.__wrapped__  # type: ignore[attr-defined]  # Its signature is the one set below.
    signature, parameters = inspect.signature(function), []
    for parameter in signature.parameters.values():
        settings: dict[str, Any] = {
            "group": groups[group_of.get(parameter.name, "Options")],
            "help": " ".join(texts.get(parameter.name, "").split()),
            "show_default": parameter.default not in (None, False),
        }
        kind = _plain(hints[parameter.name])
        if set(typing.get_args(kind) or [kind]) - {type(None)} == {int}:
            settings["converter"] = _whole_number
        if kind is bool and not parameter.default:
            settings["negative"] = ()
        elif _is_sequence(kind):
            settings.update(negative=(), consume_multiple=parameter.kind is parameter.KEYWORD_ONLY)
        annotation: Any = Annotated[kind, cyclopts.Parameter(**settings)]
        parameters.append(parameter.replace(annotation=annotation))
    called.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in parameters}
    return called


def _whole_number(kind: Any, tokens: Sequence[Any]) -> int:
    """Reads a whole number. Cyclopts would round any other."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"it must be a whole number, and not {tokens[0].value!r}") from None


def _text(function: Callable[..., Any]) -> str:
    """Returns what a docstring says of a command, one line to a paragraph, and its examples."""
    docstring = docstring_parser.parse(function.__doc__ or "")
    text = f"{docstring.short_description}\n\n{docstring.long_description or ''}"
    paragraphs = [
        paragraph if paragraph.startswith(" ") else " ".join(paragraph.split())
        for paragraph in text.split("\n\n")
    ]
    for example in docstring.examples:  # Cyclopts would cut a section "Examples" off.
        paragraphs.append(
            "For example:\n    " + (example.description or "").replace("\n", "\n    ")
        )
    return "\n\n".join(filter(None, paragraphs))


def _is_sequence(kind: Any) -> bool:
    return any(
        typing.get_origin(part) in (list, tuple, Sequence)
        for part in (kind, *typing.get_args(kind))
    )


def _plain(kind: Any) -> Any:  # a type, or what stands for several
    """Returns the part of a type that text can stand for: Keras models and image sets cannot."""
    parts = typing.get_args(kind) if typing.get_origin(kind) not in (list, tuple) else ()
    if not parts or typing.get_origin(kind) in (typing.Literal, Sequence):
        return kind
    left = [
        part
        for part in parts
        if part in (str, int, float, bool, type(None))
        or typing.get_origin(part) in (typing.Literal, list, tuple, Sequence)
    ]
    if any(typing.get_origin(part) in (list, tuple, Sequence) for part in left):
        left = [part for part in left if part is not str]
    return typing.Union[tuple(left)]  # noqa: UP007 (made of a list)


def make_app() -> Any:
    """Makes the program of the commands."""
    import cyclopts

    app = cyclopts.App(
        name="keras-ssl",
        version=__version__,
        help="Self-supervised learning for Keras: from a folder of images to an encoder in use.\n\n"
        "`--import MODULE` before or after any option imports a module with methods of your own. "
        "`keras-ssl COMMAND --help` shows the options of a command.",
        help_format="plaintext",
        result_action="return_value",
        suppress_keyboard_interrupt=False,  # `main` tells SIGTERM from Ctrl-C.
    )
    for name in COMMANDS:
        app.command(_annotated(command(name)), name=name, help=_text(command(name)))
    return app


# Errors of the system that say that a path is not what it was taken for.
_WRONG_PATHS = (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError)


def _call(words: list[str]) -> None:
    """Calls a command. What the library says inside a graph of TensorFlow is a `ValueError`."""
    try:
        call(words)
    except Exception:
        if "tensorflow" not in sys.modules:
            raise
        from keras_ssl._require import readable_errors

        with readable_errors():
            raise


def _one_line(error: BaseException, arguments: Sequence[str]) -> str:
    """An error as a user of the command line reads it: arguments are options."""
    text = plain(error) or type(error).__name__
    if arguments and arguments[0] in COMMANDS:
        names = inspect.signature(command(arguments[0])).parameters
        options = {name: f"--{name.replace('_', '-')}" for name in names}
        if arguments[0] in ("study", "finetune"):  # The classes below them call it so.
            options["folder"] = "--out"
        for name, option in options.items():
            text = text.replace(f"`{name}`", option)
    return re.sub(r"\s*\n\s*", " ", text)


def call(arguments: Sequence[str]) -> Any:
    """Calls the function that a command line names, and returns what it returns.

    Args:
        arguments: The words of the command line, such as ["evaluate", "runs/RUN"].

    Raises:
        cyclopts.CycloptsError: for words that are no command or option.
    """
    words = registry.import_named(arguments)
    return make_app()(words, exit_on_error=False, print_error=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command line and ends the program.

    Args:
        arguments: The words of the command line. Default: those of the program.

    Raises:
        SystemExit: always, with the status of the program.
    """
    import cyclopts

    words = list(sys.argv[1:] if arguments is None else arguments)
    # A warning is one line, without the source line that raised it.
    warnings.formatwarning = lambda message, *_: f"warning: {message}\n"
    try:
        _call(words)
    except Stopped as stopped:
        sys.exit(128 + stopped.signal)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Its reader has gone.
        sys.exit(1)
    except (ValueError, OSError, ImportError, NonFiniteLossError, cyclopts.CycloptsError) as error:
        notes = getattr(error, "__notes__", [])
        print(f"error: {_one_line(error, words)}", *notes, sep="\n", file=sys.stderr)
        is_world = isinstance(error, (OSError, NonFiniteLossError))
        sys.exit(1 if is_world and not isinstance(error, _WRONG_PATHS) else 2)
    sys.exit(0)
