"""The notebooks of examples/notebooks become pages, with the output that they were kept with."""

import configparser
import re

import nbconvert
from _hooks import ROOT
from mkdocs.structure.files import File

_HEAD = """\
(This page is [a notebook]({address}/blob/main/{path}), made of [a script]({script}), with the
output of one run. [Open it in Colab]({colab}).)
"""


def on_files(files, config):
    """Adds a page for each notebook, and its pictures."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    address = setup["metadata"]["url"]
    colab = address.replace("github.com", "colab.research.google.com/github")
    for path in sorted(ROOT.glob("examples/notebooks/*.ipynb")):
        resources = {"output_files_dir": f"{path.stem}_files"}
        text, resources = nbconvert.MarkdownExporter().from_filename(str(path), resources)
        title, _, rest = text.strip().partition("\n")
        relative = path.relative_to(ROOT).as_posix()
        head = _HEAD.format(
            address=address,
            path=relative,
            script=f"{address}/blob/main/{relative.replace('.ipynb', '.py')}",
            colab=f"{colab}/blob/main/{relative}",
        )
        page = f"{title}\n\n{head}{rest}\n"
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page))
        for name, content in resources["outputs"].items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links to notebooks into links to their pages."""
    return re.sub(r"\]\(examples/notebooks/(\w+)\.ipynb\)", r"](notebooks/\1.md)", markdown)
