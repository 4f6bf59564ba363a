"""Formulas in TeX become MathML, which browsers show without a script or a font."""

import re
from html import unescape

from latex2mathml import converter

# What pymdownx.arithmatex makes of $...$ and $$...$$.
FORMULA = re.compile(r'(?s)<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>')


def on_page_content(html, page, config, files):
    """Writes each formula of a page as MathML."""

    def written(found):
        display = "block" if found[1] == "div" else "inline"
        return converter.convert(unescape(found[2]), display=display)

    return FORMULA.sub(written, html)
