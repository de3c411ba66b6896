"""Dicts with fixed keys: what a dataclass's fields say of the keys that they are read from, and the reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from functools import cache, partial, reduce
from typing import Any

from pgdbpool.config.kinds import Kind
from pgdbpool.config.problems import Place

REQUIRED = MISSING

_RETIRED = frozenset(["connection_retry_sleep"])  # pgdbpool 1.0's, without effect: the pool paces its attempts itself

_TITLES: dict[type, str] = {}  # of each dataclass that is a section


def key(default: Any, kind: Kind, *, name: str = "", also: str = "", repr: bool = True) -> Any:
    """A dataclass's field that is read from a key.

    ``name``: the key's, where it is not the field's own. ``also``: what PostgreSQL, libpq and other pools call it.
    """
    return field(default=default, repr=repr, metadata={"kind": kind, "name": name, "also": also.split()})


@cache
def keys_of(options: type) -> dict[str, Field[Any]]:
    """The keys that a dict for the dataclass ``options`` may have, in its order, and the field of each."""
    return {each.metadata["name"] or each.name: each for each in fields(options) if each.metadata}


@dataclass(frozen=True, slots=True)
class Section:
    """One dict, read: its ``values`` by key, None for one that was refused; ``broken``: the keys with a problem."""

    at: Place
    options: type
    values: dict[str, Any] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)

    def get(self, key: str) -> Any:
        """The value, else the default."""
        return self.values.get(key, keys_of(self.options)[key].default)

    def report(self, text: str, *path: str) -> None:
        reduce(Place.under, path, self.at).report(text)

    def made(self, **more: Any) -> Any:
        """The options themselves; ``more`` are further fields, or others."""
        return self.options(**{keys_of(self.options)[key].name: value for key, value in self.values.items()} | more)


def section(options: type, title: str) -> Kind:
    """A dict with the keys of the dataclass ``options``, read into a Section."""
    _TITLES[options] = title
    allowed = f"a dict of {title}'s keys"
    return Kind(allowed, lambda value: isinstance(value, Mapping), partial(_read, options), secret=True)


def _read(options: type, found: Mapping[Any, Any], at: Place) -> Section:
    section, keys = Section(at, options), keys_of(options)
    for name, value in found.items():
        before = len(at.problems)
        if name in keys:
            section.values[name] = keys[name].metadata["kind"].read(value, at.under(name))
        elif name not in _RETIRED:
            meant = _meant(name, options) if isinstance(name, str) else ""
            section.report(f"unknown key; {meant}allowed: {', '.join(keys)}", name)
        if len(at.problems) > before:
            section.broken.add(name)
    for name, each in keys.items():
        if each.default is REQUIRED and name not in found:
            section.report(f"missing; allowed: {each.metadata['kind'].allowed}", name)
            section.values[name] = None
    return section


def has_own_key(name: str, *same: str) -> str | None:
    """Whether a key says what PostgreSQL or libpq calls ``name``, in the sections ``same`` also by that very name."""
    for options, title in _TITLES.items():
        for key, each in keys_of(options).items():
            if name in each.metadata["also"] or (title in same and name == key):
                return f"has a key of its own; allowed: `{key}` of {title} instead"
    return None


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """A question that ends in a space, or nothing."""
    near = get_close_matches(name.lower(), names, n=1, cutoff=0.5)  # two letters exchanged
    return f"did you mean {near[0]!r}? " if near else ""


def _meant(name: str, options: type) -> str:
    keys = keys_of(options)
    if also := [key for key, each in keys.items() if name.lower() in each.metadata["also"]]:
        return f"did you mean {also[0]!r}? "
    if elsewhere := [title for other, title in _TITLES.items() if name in keys_of(other)]:
        return f"it belongs to {' or '.join(elsewhere)}; "
    return did_you_mean(name, keys)
