"""Pieces of HTML."""

import base64
import html
from collections.abc import Mapping, Sequence
from typing import Any

from keras_ssl._text import plain


def escape(text: str) -> str:
    """A text that may come from anywhere, on one line and without tags."""
    return html.escape(plain(text))


def number(value: Any) -> str:
    """A figure as text. A file may hold anything in its place, which is shown as it is."""
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def table(rows: Mapping[str, Sequence[str]], columns: Sequence[str], numbers: bool) -> str:
    """A table of figures, or of texts, where rows whose cells differ are marked."""
    kind = ' class="figure"' if numbers else ""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = []
    for name, cells in rows.items():
        differs = ' class="differs"' if not numbers and len(set(cells)) > 1 else ""
        body.append(
            f"<tr{differs}><td>{escape(name)}</td>"
            + "".join(f"<td{kind}>{html.escape(cell)}</td>" for cell in cells)
            + "</tr>"
        )
    return f"<table><tr><th></th>{head}</tr>{''.join(body)}</table>"


def image(content: bytes, kind: str, text: str) -> str:
    """A picture within the page, of the media type image/`kind`."""
    encoded = base64.b64encode(content).decode()
    return f'<img alt="{escape(text)}" src="data:image/{kind};base64,{encoded}">'
