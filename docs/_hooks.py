"""What MkDocs does besides: pages from outside docs/, and a page of reference for each package.

mkdocstrings takes the class at the end as an extension of griffe, which reads the docstrings.
"""

import ast
import functools
import pathlib
import re

import griffe
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parents[1]
# Pages and pictures that stand where they belong, and not in docs/.
OUTSIDE = ("*.md", "benchmarks/*.png", "tuning/*.md", "tuning/*.png", "tuning/results/**/*.[mp]*")
# The packages whose `__all__` is public.
PACKAGES = (
    *("commands", "models", "losses", "layers", "data", "encoders", "evaluation", "retrieval"),
    *("finetuning", "duality", "callbacks", "inspection", "recipes", "optimizers"),
    *("hypermodels", "spaces", "studies", "distribution", "exporting"),
)


@functools.cache
def public_names(package):
    """Reads `__all__` of a package, without importing it."""
    path = ROOT / "keras_ssl" / package
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text()
    for node in ast.parse(source).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return ast.literal_eval(node.value)
    raise PluginError(f"keras_ssl.{package} has no `__all__` that is a list of names")


def linked(text):
    """Turns a public name in backticks into a link to its place in the reference."""

    def link(found):
        _, package, name = (*found[1].split("."), "", "")[:3]
        if package not in PACKAGES or found[1].count(".") != 2 or name not in public_names(package):
            return found[0]
        own_module = ROOT / "keras_ssl" / package / f"{name}.py"
        place = f"{found[1]}.{name}" if own_module.exists() else found[1]
        return f"[{found[0]}][{place}]"

    return re.sub(r"(?<!\[)`(keras_ssl\.[\w.]+)`", link, text)


def reference(package):
    """Returns the page of a package. A function in a module of its own name stands there."""
    parts = [package]
    for name in public_names(package):
        if (ROOT / "keras_ssl" / package / f"{name}.py").exists():
            parts.append(f"{package}.{name}.{name}")
    heading, *others = (f"::: keras_ssl.{part}" for part in parts)
    options = (
        "\n    options: {show_root_heading: true, show_root_full_path: false, heading_level: 2}"
    )
    text = "\n\n".join([heading, *(other + options for other in others)])
    return f"# keras_ssl.{package}\n\n{text}\n"


def on_files(files, config):
    """Adds the pages from outside, the README as the first page, and the reference."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            if name == "README.md":
                files.append(File.generated(config, "index.md", content=path.read_text()))
            else:
                files.append(File.generated(config, name, abs_src_path=str(path)))
    for package in PACKAGES:
        files.append(File.generated(config, f"api/{package}.md", content=reference(package)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Turns links between docs/ and its neighbors into links within the site."""
    source = page.file.src_uri
    parts = re.split(r"(?s)(```.*?```)", markdown)
    markdown = "".join(part if part.startswith("```") else linked(part) for part in parts)
    if (ROOT / "docs" / source).exists():
        markdown = markdown.replace("](../README.md", "](index.md")
        return re.sub(r"\]\(\.\./", "](", markdown)
    return re.sub(r"\]\((\.\./)?docs/", r"](\1", markdown)


def on_page_content(html, page, config, files):
    """Raises if a public name has no place in the reference."""
    folder, _, package = page.file.src_uri.removesuffix(".md").partition("/")
    if folder == "api":
        for name in public_names(package):
            if not re.search(rf'id="keras_ssl\.{package}\.({name}\.)?{name}"', html):
                raise PluginError(f"keras_ssl.{package}.{name} is not in the reference")
    return html


def _as_list(found):
    """Turns the entries of a section that griffe does not know into a list."""
    entries = re.sub(r"(?m)^(?P<indent> *)    (\w+): ", r"\g<indent>    - `\2`: ", found["body"])
    return f"{found['title']}\n{entries}"


class Docstrings(griffe.Extension):
    """Writes docstrings as griffe wants them: Keras' "Call arguments" and "Example"."""

    def on_object(self, *, obj, **kwargs):
        """Changes the docstring of an object."""
        if obj.docstring is None:
            return
        text = linked(obj.docstring.value)
        text = re.sub(r"(?m)^( *)Example:$", r"\1Examples:", text)
        section = r"(?m)^(?P<title>Call arguments:)\n(?P<body>(?:    .*\n?|\n(?=    ))+)"
        obj.docstring.value = re.sub(section, _as_list, text)
