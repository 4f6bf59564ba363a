"""Display of users' text, such as names of classes, runs and arms, exactly as it is written.

matplotlib reads `$` as the beginning of a formula, leaves a curve whose name begins with `_` out of
its legend, and fails on undecodable bytes in a file's name.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

# The most characters of a name in a picture; a longer name would leave no room for the plot.
_LONGEST = 48


def plain(text: Any, longest: int | None = None) -> str:
    """Returns a text as one line of printable characters, never empty.

    Args:
        text: Any text, or any object that `str` turns into text.
        longest: The number of characters to keep, half from each end. Default: all.
    """
    words = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    if longest is not None and len(line) > longest:
        half = longest // 2
        line = f"{line[:half]}…{line[-half:]}"
    return line or "(no name)"


def short(text: Any) -> str:
    """Returns a text that is short enough for a title; see `plain`."""
    return plain(text, _LONGEST)


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """A scope, or a decorator of functions, in which matplotlib reads no formulas.

    Figures must be created and drawn inside it. Their logarithmic axes need a formatter without
    formulas, such as "{x:g}".
    """
    import matplotlib  # It takes a second, which training without pictures need not spend.

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        # If the font lacks a script, boxes are drawn; if names are too wide for a layout, they
        # overlap. The picture is still worth having.
        for message in ("Glyph .* missing from", "Tight layout not applied"):
            warnings.filterwarnings("ignore", message, UserWarning)
        yield


def legend(
    owner: Any,
    handles: Sequence[Any],
    names: Sequence[Any],
    longest: int = _LONGEST,
    **kwargs: Any,
) -> None:
    """Adds a legend that shows any name as it is.

    Args:
        owner: A matplotlib `Axes` or `Figure`.
        handles: The artists that the legend describes.
        names: Their names, one for each handle.
        longest: The most characters of a name to keep.
        **kwargs: See `matplotlib.axes.Axes.legend`.
    """
    # First with placeholders: matplotlib before 3.10 leaves out names that begin with "_".
    found = owner.legend(handles, ["name"] * len(handles), **kwargs)
    for text, name in zip(found.get_texts(), names, strict=True):
        text.set_text(plain(name, longest))
