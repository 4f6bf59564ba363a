"""A page for each method, made of its docstring, its criterion's, its recipes and its figures."""

import ast
import functools
import json
import re
import statistics

from _hooks import ROOT, public_names
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

PACKAGE = ROOT / "keras_ssl"
RESULTS = {
    "CIFAR-10 (JPEG copy)": "benchmarks/methods_cifar10.json",
    "Fashion-MNIST": "benchmarks/methods.json",
}
_PAGE = """\
# {method}

- **default projector**: {projector}
{summary}

::: keras_ssl.models.{method}
    options: {{heading_level: 2, show_root_heading: true, show_root_full_path: false}}
    skip_local_inventory: true

## The criterion

::: keras_ssl.losses.{criterion}
    options: {{heading_level: 3, show_root_heading: true, show_root_full_path: false}}
    skip_local_inventory: true
{family}
## Recipes

{recipes}

## Results

{results}
"""


# A criterion that is one of a family has its formula there.
_FAMILY = """
### Its family

::: keras_ssl.losses.{family}
    options: {{heading_level: 4, show_root_heading: true, show_root_full_path: false}}
    skip_local_inventory: true
"""


def attributes(*files):
    """Returns what each class of some files sets, or its base there: values by name, as code."""
    found = {}
    for file in files:
        for node in ast.parse((PACKAGE / file).read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(found.get(ast.unparse(node.bases[0]), {})) | {
                    ast.unparse(part.targets[0]): ast.unparse(part.value)
                    for part in node.body
                    if isinstance(part, ast.Assign)
                }
    return found


@functools.cache
def methods():
    """Returns the default projector and criterion of each method, by the methods' names."""
    found = attributes("models/methods.py", "models/predictive.py")
    return {
        method: (those.get("default_projector", "none"), those["default_criterion"])
        for method, those in found.items()
        if "default_criterion" in those
    }


def family(criterion):
    """Returns the section about what a criterion inherits from, if that is public, too."""
    for file in (PACKAGE / "losses").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name == criterion:
                base = ast.unparse(node.bases[0])
                has_formula = base != "Criterion" and base in public_names("losses")
                return _FAMILY.format(family=base) if has_formula else ""
    raise PluginError(f"keras_ssl.losses has no {criterion}")


@functools.cache
def recipes():
    """Returns the source of each recipe, as (name of its dictionary, method, source), by name."""
    found = {}
    for file, group in (("small.py", "SMALL"), ("published.py", "PUBLISHED")):
        source = (PACKAGE / "recipes" / file).read_text()
        for node in ast.parse(source).body:
            if isinstance(node, ast.AnnAssign) and node.target.id == group:
                for name, value in zip(node.value.keys, node.value.values, strict=True):
                    text = ast.get_source_segment(source, value).replace("\n    ", "\n")
                    (method,) = {
                        part.attr
                        for part in ast.walk(value)
                        if isinstance(part, ast.Attribute) and part.value.id == "models"
                    }
                    found[name.value] = (group, method, text)
    return found


def results(names):
    """Returns the accuracies of recipes as a table, beside what needs no training."""
    rows = []
    for images, path in RESULTS.items():
        runs = json.loads((ROOT / path).read_text()).values()
        for name in (*names, "untrained", "raw pixels"):
            those = [run for run in runs if run["method"] == name]
            if those and any(run["method"] in names for run in runs):
                knn, linear = (_spread([run[key] for run in those]) for key in ("knn", "linear"))
                training = f"{those[0]['images']:,} images, {those[0]['epochs']} epochs"
                rows.append(f"| {images} | {name} | {knn} | {linear} | {training} |")
    if not rows:
        return "It is not in [the tables of results](../results.md)."
    head = ["| images | | kNN, % | linear, % | budget |", "|---|---|---|---|---|"]
    origin = "± is the standard deviation over seeds. [Results](../results.md) says more."
    return "\n".join([*head, *rows, "", origin])


def _spread(accuracies):
    """Returns a mean, and a standard deviation if there is one, in percent."""
    text = f"{100 * statistics.mean(accuracies):.1f}"
    return f"{text} ± {100 * statistics.stdev(accuracies):.1f}" if accuracies[1:] else text


def summary(method):
    """Returns what the page of all methods says about one: its row, as a list."""
    heads = []
    for line in (ROOT / "docs" / "methods.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "model":
            heads = cells
        elif f"`{method}`" in cells[0]:
            return "\n".join(
                f"- **{head}**: {cell}" for head, cell in zip(heads[1:], cells[1:], strict=True)
            )
    raise PluginError(f"docs/methods.md has no row for {method}")


def page(method, projector, criterion):
    """Returns the page of a method."""
    mine = {name: part for name, part in recipes().items() if part[1] == method}
    code = "\n".join(f'{group}["{name}"] = {text}' for name, (group, _, text) in mine.items())
    return _PAGE.format(
        method=method,
        projector=projector.replace("'", '"'),
        criterion=criterion,
        family=family(criterion),
        summary=summary(method),
        recipes=f"```python\n{code}\n```" if code else "There is none.",
        results=results([name for name, (group, *_) in mine.items() if group == "SMALL"]),
    )


def on_config(config):
    """Adds the pages of the methods to the navigation, after the page of all methods."""
    (entries,) = (entry["Methods"] for entry in config.nav if "Methods" in entry)
    entries[1:1] = [{"Each method": [f"methods/{method}.md" for method in methods()]}]
    return config


def on_files(files, config):
    """Adds the page of each method."""
    for method, (projector, criterion) in methods().items():
        content = page(method, projector, criterion)
        files.append(File.generated(config, f"methods/{method}.md", content=content))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links each row of the page of all methods to the method's own page."""
    if page.file.src_uri != "methods.md":
        return markdown
    lines = markdown.splitlines()
    for number, line in enumerate(lines):
        name, bar, rest = line.removeprefix("| ").partition(" |")
        if line.startswith("| `") and bar:
            linked = re.sub(r"`(\w+)`", r"[`\1`](methods/\1.md)", name)
            lines[number] = f"| {linked} |{rest}"
    return "\n".join(lines)
