"""A mapping that nobody can change and that does not show secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

__all__ = ["ReadOnly"]

V = TypeVar("V")

# libpq: password, passfile, sslpassword, scram_client_key, oauth_client_secret; settings: whatever users call theirs.
_SECRET = re.compile(r"pass|pwd|secret|token|_key|options", re.IGNORECASE)


class ReadOnly(Mapping[str, V]):
    """A copy of ``items`` in their order; ``repr`` shows ``***`` for a str whose name sounds secret."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, V] | None = None) -> None:
        self._items = dict(items or {})

    def __getitem__(self, name: str) -> V:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        return repr({name: _Masked() if _secret(name, value) else value for name, value in self._items.items()})


def _secret(name: str, value: object) -> bool:
    return isinstance(value, (str, int)) and _SECRET.search(name) is not None


class _Masked:
    def __repr__(self) -> str:
        return "***"
