"""The public names and their signatures, against a snapshot: no name or parameter changes by accident.

``python tests/contract/test_public_api.py --write`` makes the snapshot anew.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SNAPSHOT = Path(__file__).with_name("public_api.txt")


def described() -> str:
    """One line for each public name of the package and each public attribute that its classes define."""
    import pgdbpool

    lines: list[str] = []
    for name in sorted(pgdbpool.__all__):
        member = getattr(pgdbpool, name)
        lines.append(_line(name, member))
        if inspect.isclass(member):
            lines += sorted(f"    {line}" for line in _attributes(member))
    return "\n".join(lines) + "\n"


def _line(name: str, member: Any) -> str:
    if inspect.isclass(member):
        return f"class {name}({', '.join(_public(base) for base in member.__bases__ if base is not object)})"
    if inspect.ismodule(member):
        return f"module {name}"
    if callable(member):
        return f"{name}{_signature(member)}"
    return f"{name}: {type(member).__name__}"


def _attributes(cls: type) -> Iterator[str]:
    seen: set[str] = set()
    for owner in cls.__mro__:
        if not owner.__module__.startswith("pgdbpool"):
            continue
        for name, member in vars(owner).items():
            if name not in seen and (not name.startswith("_") or name in ("__init__", "__new__")):
                seen.add(name)
                yield _attribute(name, member, cls)


def _attribute(name: str, member: Any, cls: type) -> str:
    if isinstance(member, property):
        return f"{name}: property"
    if isinstance(member, (classmethod, staticmethod)) or callable(member):
        found = getattr(cls, name)
        return f"{name}{_signature(found)}"
    return name


def _public(cls: type) -> str:
    """The class by the name that users know: those of private modules are re-exported by the package."""
    module = cls.__module__
    return cls.__qualname__ if module.startswith("pgdbpool") or module == "builtins" else f"{module}.{cls.__qualname__}"


def _signature(function: Any) -> str:
    """Names, kinds and defaults; annotations are mypy's business."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return "(…)"
    empty = inspect.Parameter.empty
    parameters = [_plain(parameter).replace(annotation=empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=empty))


def _plain(parameter: inspect.Parameter) -> inspect.Parameter:
    """A default whose repr shows an address is shown as ``...``."""
    has_address = " at 0x" in repr(parameter.default)
    return parameter.replace(default=...) if has_address else parameter


def test_the_public_names_are_those_of_the_snapshot() -> None:
    """A change of a public name or signature is a decision: it changes public_api.txt too."""
    assert described().splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_every_public_name_exists() -> None:
    """Each name in ``pgdbpool.__all__`` can be imported, and none is listed twice."""
    import pgdbpool

    assert [name for name in pgdbpool.__all__ if not hasattr(pgdbpool, name)] == []
    assert len(set(pgdbpool.__all__)) == len(pgdbpool.__all__)


def test_every_public_name_is_explained() -> None:
    """Each public function and class has a docstring of its own."""
    import pgdbpool

    members = [(name, getattr(pgdbpool, name)) for name in pgdbpool.__all__]
    explainable = [(name, member) for name, member in members if callable(member) or inspect.ismodule(member)]
    assert [name for name, member in explainable if not member.__doc__] == []


if __name__ == "__main__":
    sys.path.insert(0, str(SNAPSHOT.parents[2]))
    if "--write" in sys.argv:
        SNAPSHOT.write_text(described(), encoding="utf-8")
    else:
        print(described(), end="")
