"""Text from the outside is shown as it is, by every program that gets it."""

import io
import logging
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from keras_ssl import _log
from keras_ssl._text import drawing, legend, plain, short

# By what is special about them, names that folders, runs, classes and arms may have.
NAMES = {
    "formula": "a$_$b",
    "underscore": "_old",
    "backslash": "\\frac{",
    "markup": "<script>alert(1)</script>",
    "lines": "two\nlines",
    "long": "x" * 200,
    "empty": "",
    "kanji": "日本",
    "bytes": "\udcff",
    "nul": "a\0b",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_legend_shows_any_name(name):
    @drawing()
    def draw():
        figure = Figure(layout="constrained")
        axis = figure.subplots()
        axis.set_title(short(name))
        legend(axis, [*axis.plot([1, 2]), *axis.plot([2, 1])], [name, "other"])
        figure.canvas.draw()
        return [text.get_text() for text in axis.get_legend().get_texts()]

    shown, other = draw()
    assert shown == short(name) and other == "other"
    assert shown.isprintable() and 0 < len(shown) < 50


def test_what_cannot_be_shown_is_marked():
    assert plain("a\udcff\0b") == "a��b"
    assert plain(" two\nlines ") == "two lines" and plain("") == plain(" ") == "(no name)"
    assert plain(np.int64(3)) == "3"
    assert short("begin" + "x" * 100 + "end").startswith("beginx")
    assert short("begin" + "x" * 100 + "end").endswith("xend")


def test_what_a_terminal_cannot_show_is_written_in_numbers(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    # Not through Python's logging, whose records pytest keeps and cannot pass on.
    _log._Printer().emit(logging.makeLogRecord({"msg": "caf\udce9 \N{CAT}.jpg cannot be read"}))
    assert written.getvalue() == rb"caf\udce9 \U0001f408.jpg cannot be read" + b"\n"
