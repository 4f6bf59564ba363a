"""What imports what: every package stands on those below it, and on nothing else.

Read from the source, not from what happens to be loaded. Imports within functions are left out:
they are how a room asks for a thing above or beside it only when it is used.
"""

import ast
import graphlib
import importlib.util
import pathlib
import re

import pytest

import keras_ssl

ROOT = pathlib.Path(keras_ssl.__file__).parent

PAGE = (ROOT.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")


def _block(heading, number=0):
    """The lines of an indented block of the page, below a heading."""
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    blocks = re.findall(r"(?:^    .*\n)+", section, re.MULTILINE)
    return [line.removeprefix("    ") for line in blocks[number].splitlines()]


# The lowest first. What stands on one floor does not know of each other.
FLOORS = tuple(set(line.split(", ")) for line in _block("Floors"))
FLOOR_OF = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def _room(module):
    """The package directly under keras_ssl, or the file there, that a module belongs to."""
    return module.split(".")[1] if "." in module else ""


def _statements(nodes):
    """What runs when a module is imported: also within `if` and `try`, but for type checkers."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield from _statements(getattr(node, part, []))


def _imports(path, modules):
    """The modules, of keras_ssl or others, that a file imports when it is imported itself."""
    for node in _statements(ast.parse(path.read_text(encoding="utf-8")).body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not read here"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module


def _read():
    files = {}
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT.parent).with_suffix("").parts
        files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return {module: set(_imports(path, files)) for module, path in files.items()}


IMPORTS = _read()
SOURCES = {
    module: pathlib.Path(importlib.util.find_spec(module).origin).read_text(encoding="utf-8")
    for module in IMPORTS
}
ROOMS = sorted({_room(module) for module in IMPORTS} - {""})


def _of(room):
    """The modules that a room imports."""
    return set().union(*(found for module, found in IMPORTS.items() if _room(module) == room))


def _rooms_below(room):
    names = {_room(name) for name in _of(room) if name.startswith("keras_ssl.")}
    return names - {room}


def test_the_source_is_read():
    assert "keras_ssl.losses.criterion" in IMPORTS["keras_ssl.losses"]
    assert "tensorflow" in _of("training") and "numpy" in _of("data")


@pytest.mark.parametrize("room", ROOMS)
def test_imports_go_down(room):
    if room.startswith("_") and room not in FLOOR_OF:  # private helpers: below every floor
        others = {other for other in _rooms_below(room) if not other.startswith("_")}
        assert not others, f"{room}, a private helper, must import no package, but imports {others}"
        return
    assert room in FLOOR_OF, f"{room}: give it a floor in FLOORS, in tests/test_architecture.py"
    lower = set().union(*FLOORS[: FLOOR_OF[room]])
    others = {o for o in _rooms_below(room) if not o.startswith("_")} - lower
    assert not others, f"{room} imports {sorted(others)}, which do not stand below it"


def test_no_module_comes_back_to_itself():
    """Not within a package either; `keras_ssl.losses.gram` does not know `keras_ssl.losses`."""
    graph = {
        # A package's list of names is above what it lists; who imports from it, is above both.
        module: {name for name in found if name in IMPORTS and name != module}
        for module, found in IMPORTS.items()
    }
    graphlib.TopologicalSorter(graph).prepare()  # A CycleError names the circle.


def test_replicas_is_the_ground_floor():
    others = {name for name in _of("replicas") if name.startswith("keras_ssl")}
    assert all(_room(name).startswith("_") for name in others)
    assert not [name for name in _of("replicas") if name.startswith("tensorflow")]


@pytest.mark.parametrize(
    "room", ["losses", "duality", "layers", "optimizers", "encoders", "recipes"]
)
def test_no_backend_in_what_any_backend_could_run(room):
    assert not [
        name for name in _of(room) if name.partition(".")[0] in ("tensorflow", "jax", "torch")
    ]


def test_what_imports_tensorflow_is_on_the_page():
    importing = {module for module, found in IMPORTS.items() if "tensorflow" in found}
    assert {_room(module) for module in importing} == {"training"}
    others = {module for module, found in IMPORTS.items() if importing & found} - importing
    assert others == {"keras_ssl.training.trainer"}, "on other backends, none is imported"
    (named,) = re.findall(r"through `_tensorflow`, by\n(.*?), and within", PAGE, re.S)
    using = {
        _room(module)
        for module, text in SOURCES.items()
        if re.search(r"^from keras_ssl._tensorflow import .*\btf\b", text, re.M)
    }
    assert using == set(re.findall(r"`(\w+)`", named))


def test_no_picture_changes_how_others_are_shown():
    """With pyplot, or a backend of its own, a run would switch off the pictures of a notebook."""
    for path in sorted(ROOT.rglob("*.py")):
        found = re.findall(r"import pyplot|matplotlib\.(?:pyplot|use)\b", path.read_text())
        assert not found, path


def test_every_room_and_every_file_that_the_page_names_is_there():
    """And what is there is named, but for private files and those that are one of many alike."""
    home, named, files = None, set(), set()
    for line in _block("Where things live"):
        if line.startswith("keras_ssl/"):
            home = line.split()[0]
            named.add(home.removeprefix("keras_ssl/").rstrip("/").removesuffix(".py"))
            assert (ROOT.parent / home).exists(), home
        elif not line.startswith(" "):
            home = line.split()[0]
            assert (ROOT.parent / home).is_dir(), home
        for file in re.findall(r"\b(\w+\.(?:py|md))\b", line.removeprefix(home)):
            folder = ROOT.parent / home
            found = [*folder.rglob(file)] if folder.is_dir() else [folder]
            assert found, f"{home} has no {file}"
            files |= {path for path in found if path.parent == folder}
    rooms = {room for room in ROOMS if not room.startswith("_")}
    assert rooms <= named, f"not on the page: {sorted(rooms - named)}"
    alike = ("losses", "sources", "commands")  # one file for each criterion, source or command
    others = {
        path.relative_to(ROOT)
        for path in set(ROOT.glob("*/**/*.py")) - files
        if not path.name.startswith("_") and path.parent.name not in alike
    }
    assert not others, f"not on the page: {sorted(map(str, others))}"


def test_every_path_in_code_marks_is_there():
    for path in re.findall(r"`((?:[\w.]+/)+(?:\w+\.(?:py|md))?)`", PAGE):
        places = (ROOT.parent / path, ROOT / path)
        assert any(place.exists() for place in places), path
