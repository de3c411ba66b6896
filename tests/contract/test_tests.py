"""What holds for every test."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from .sources import ROOT, python_files, tree


def _tests() -> Iterator[tuple[str, ast.FunctionDef]]:
    for path in python_files("tests"):
        if path.name.startswith("test_"):
            for node in ast.walk(tree(path)):
                if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                    yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node


def test_every_test_says_what_it_requires() -> None:
    """Each test has a docstring: the requirement."""
    assert [name for name, node in _tests() if not ast.get_docstring(node)] == []


def test_no_test_stands_twice_in_one_file() -> None:
    """A second test of the same name would replace the first without a word."""
    names = [name.partition(":")[0] + name.rpartition(" ")[2] for name, _ in _tests()]
    assert sorted({name for name in names if names.count(name) > 1}) == []
