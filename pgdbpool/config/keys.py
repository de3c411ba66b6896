"""What a field of the options says about the key of the user's dict that it is read from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any

from pgdbpool.config.kinds import Kind

__all__ = ["Key", "key", "keys_of", "option"]


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the user's dict; ``default`` is in words."""

    name: str
    field: str
    kind: Kind
    says: str
    default: str
    required: bool


def key(kind: Kind, says: str, *, name: str = "", shown: str = "") -> dict[str, Any]:
    """Metadata of a field; ``name`` of the key and ``shown`` default only where they are not the field's own."""
    return {"kind": kind, "says": says, "name": name, "shown": shown}


def option(default: Any, kind: Kind, says: str, *, name: str = "", shown: str = "", repr: bool = True) -> Any:
    """A field that need not be said; what ``default`` is must be immutable."""
    return field(default=default, repr=repr, metadata=key(kind, says, name=name, shown=shown))


@cache
def keys_of(options: type) -> Mapping[str, Key]:
    """The keys that a dict for the dataclass ``options`` may have, in its order; fields without metadata are none."""
    found = {}
    for one in fields(options):
        if said := one.metadata:
            name, default = said["name"] or one.name, said["shown"] or _in_words(one.default, said["kind"].unit)
            found[name] = Key(name, one.name, said["kind"], said["says"], default, one.default is MISSING)
    return found


def _in_words(value: Any, unit: str) -> str:
    if value is MISSING:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"`{value}`"
    return f"{value:g} {unit}".strip()
