"""The import directions of doc/architecture.md, checked on the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .sources import PACKAGE, imports, module_name, python_files, tree

# The architecture's table, top to bottom. A room may import from itself and from the rooms named beside it.
ABOVE_ENGINE = "errors config text waiting driver"
ABOVE_ACCESS = f"{ABOVE_ENGINE} engine"
ABOVE_REPORT = f"{ABOVE_ACCESS} access"
ABOVE_FACADE = f"{ABOVE_REPORT} report"
ROOMS = {
    "errors": "",
    "config": "errors",
    "text": "",
    "waiting": "errors",
    "driver": "errors config",
    "engine": ABOVE_ENGINE,
    "access": ABOVE_ACCESS,
    "workers": "errors",
    "report": f"{ABOVE_REPORT} workers",
    "facade": ABOVE_FACADE,
    "pgdbpool": f"{ABOVE_FACADE} facade pool",  # __init__.py
    "pool": f"{ABOVE_FACADE} facade pgdbpool",
    "web": ABOVE_FACADE,
    "wsgi": "web",
    "demo": "pgdbpool config",
    "command": "pgdbpool errors config report demo",
    "__main__": "command",
}

# What only some places may import: everything else of psycopg2 goes through the driver, everything of threads through
# the engine. The demo is a user of the pool, so it may do what any program may.
THREADS = "engine waiting.line command.asking demo"
RESERVED = {
    "psycopg2": "errors config driver engine.guard access demo",
    "threading": THREADS,
    "_thread": THREADS,
    "concurrent": THREADS,
    "queue": THREADS,
    "multiprocessing": "demo",
    "socket": "driver demo",
    "select": "driver demo",
    "selectors": "driver demo",
}

# Asking which thread calls is no lock and starts nothing.
HARMLESS = {"threading.get_ident"}

# Names that users reach as attributes of the package or of a pool (contract §2): a submodule of the same name would
# take their place as soon as someone imports it.
TAKEN = set(
    "init query handler transaction run connection getconn putconn closeall stats explain check resize drain resume "
    "close executemany stream commit rollback causal causal_token".split()
)

FILES = python_files("pgdbpool")


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def place_of(module: str) -> str:
    """``pgdbpool.engine.guard`` is ``engine.guard``."""
    return module.partition(".")[2] or module


def allowed_at(module: str, places: str) -> bool:
    """Whether the module is one of the places, or inside one."""
    return any(f"{place_of(module)}.".startswith(f"{place}.") for place in places.split())


def target_room(module: str, name: str | None) -> str:
    """The room that an import reaches: ``from pgdbpool import pool`` reaches the module and not the package."""
    if module == "pgdbpool" and name is not None and _is_submodule(name):
        return name
    return room_of(module)


def _is_submodule(name: str) -> bool:
    return (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file()


def breaches(path: Path) -> list[str]:
    module = module_name(path)
    room, found = room_of(module), []
    for line, imported, name in imports(path):
        where, what = f"{path.name}:{line}", f"{imported}.{name}" if name else imported
        top = imported.split(".")[0]
        if top == "pgdbpool":
            target = target_room(imported, name)
            if target != room and target not in ROOMS[room].split():
                found.append(f"{where}: {room} may not import {what}")
            elif target != room and (name or "").startswith("_") and not (name or "").endswith("__"):
                found.append(f"{where}: {what} is private to {target}")
        elif top in RESERVED and what not in HARMLESS and not allowed_at(module, RESERVED[top]):
            found.append(f"{where}: {what} is for {RESERVED[top]} only")
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_room_imports_only_what_the_architecture_allows(path: Path) -> None:
    """A module imports from its own room and those above it, and psycopg2 and threads only where the table says."""
    assert room_of(module_name(path)) in ROOMS, "a room that doc/architecture.md does not know"
    assert breaches(path) == []


def test_a_breach_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imports of a lower room, of a reserved library and of a private name are each found, also inside a function."""
    monkeypatch.setattr("tests.contract.sources.ROOT", tmp_path)
    path = tmp_path / "pgdbpool" / "driver" / "bad.py"
    path.parent.mkdir(parents=True)
    path.write_text("import threading\nfrom ..errors import _both\ndef f():\n    from pgdbpool.engine import group\n")
    assert sorted(breaches(path)) == [
        "bad.py:1: threading is for engine waiting.line command.asking demo only",
        "bad.py:2: pgdbpool.errors._both is private to errors",
        "bad.py:4: driver may not import pgdbpool.engine.group",
    ]


@pytest.mark.parametrize(
    "path", [path for path in FILES if room_of(module_name(path)) in ("demo", "command")], ids=module_name
)
def test_the_programs_around_the_pool_touch_nothing_private(path: Path) -> None:
    """The command line and the demo use the pool as any user does: no underscore attribute but their own."""
    touched = [
        f"{path.name}:{node.lineno}: {node.attr}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.endswith("__")
        and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))
    ]
    assert touched == []


def test_no_submodule_takes_the_place_of_a_public_name() -> None:
    """No submodule of the package is named like a public function or method."""
    submodules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert submodules & TAKEN == set()


@pytest.mark.parametrize("path", [path for path in FILES if path.name == "__init__.py"], ids=module_name)
def test_no_submodule_hides_a_name_of_its_package(path: Path) -> None:
    """A package binds no name that one of its submodules has, except the submodule itself."""
    siblings = {other.stem for other in path.parent.iterdir()} - {"__init__"}
    bound = {
        node.name for node in tree(path).body if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef))
    }
    for _, module, name in imports(path):
        if name is not None and module != module_name(path):
            bound.add(name)
    assert bound & siblings == set()
