"""The pool without its statistics, to compare with."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from pgdbpool.engine import group

__all__ = ["make_uncounted"]


def make_uncounted(pool: Any) -> Any:
    """Take the statistics out of a pool: release as it would be without its line for them, and nothing counted."""
    for desk in {*pool._desks.values()}:
        desk.group.release = _without_notes(group.Group.release).__get__(desk.group)
    for stock in pool._engine.stocks:
        stock.statement.note = stock.hold.note = float
        for slot in stock.group.members(stock.shelf):
            slot.resource.took = float
    return pool


def _without_notes(function: Callable[..., Any]) -> Callable[..., Any]:
    lines = inspect.getsource(function).splitlines()
    kept = [line for line in lines if ".note(" not in line]
    assert len(kept) == len(lines) - 1
    names: dict[str, Any] = {}
    exec("class _:\n" + "\n".join(kept), vars(group), names)
    return names["_"].release  # type: ignore[no-any-return]
