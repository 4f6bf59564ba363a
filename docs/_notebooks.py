"""The notebooks of examples/notebooks become pages, with the output that they were kept with."""

import configparser
import pathlib
import re

import nbconvert
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
_HEAD = """\
(This page is [a notebook]({address}/blob/main/{path}), made of [a script]({script}), with the
output of one run. [Open it in Colab]({colab}).)
"""


def address():
    """Returns where the repository is, which setup.cfg says."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config["metadata"]["url"]


def on_files(files, config):
    """Adds a page for each notebook, and its pictures."""
    for path in sorted(ROOT.glob("examples/notebooks/*.ipynb")):
        resources = {"output_files_dir": f"{path.stem}_files"}
        text, resources = nbconvert.MarkdownExporter().from_filename(str(path), resources)
        title, _, rest = text.strip().partition("\n")
        relative = path.relative_to(ROOT).as_posix()
        colab = address().replace("github.com", "colab.research.google.com/github")
        head = _HEAD.format(
            address=address(),
            path=relative,
            script=f"{address()}/blob/main/{relative.replace('.ipynb', '.py')}",
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
