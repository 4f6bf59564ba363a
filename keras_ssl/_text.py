"""Text from the outside, such as names of classes, runs and arms: shown as it is, never run.

matplotlib reads `$` as the beginning of a formula, leaves a curve whose name begins with `_` out of
its legend, and fails at the undecodable bytes of a file's name.
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

# Characters of a name in a picture: a longer one leaves no room for what is drawn.
_LONGEST = 48


def plain(text: Any, longest: int | None = None) -> str:
    """A text on one line, of characters that every program can show, never empty.

    Args:
        text: Any text, or what `str` makes one of.
        longest: Characters to keep, of both ends of the text. Default: all.
    """
    words = " ".join(str(text).split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    if longest is not None and len(line) > longest:
        half = longest // 2
        line = f"{line[:half]}…{line[-half:]}"
    return line or "(no name)"


def short(text: Any) -> str:
    """A text that is short enough for a title; see `plain`."""
    return plain(text, _LONGEST)


@contextlib.contextmanager
def drawing() -> Iterator[None]:
    """Within it, and within the functions that it decorates, matplotlib reads no formulas.

    Figures must be made and drawn inside. Their logarithmic axes need a formatter without formulas,
    such as "{x:g}".
    """
    import matplotlib  # A second, which training without pictures need not wait for.

    with matplotlib.rc_context({"text.parse_math": False}), warnings.catch_warnings():
        # A script that the font lacks is drawn as boxes, and names that are too wide for a layout
        # hide a part of each other. The picture is still worth having.
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
    """Adds a legend, whatever the names are.

    Args:
        owner: A matplotlib `Axes` or `Figure`.
        handles: What is drawn.
        names: As many names.
        longest: Characters of a name to keep.
        **kwargs: See `matplotlib.axes.Axes.legend`.
    """
    # Placeholders first: before Matplotlib 3.10 names that begin with "_" are left out.
    found = owner.legend(handles, ["name"] * len(handles), **kwargs)
    for text, name in zip(found.get_texts(), names, strict=True):
        text.set_text(plain(name, longest))
