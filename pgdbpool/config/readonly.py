"""A mapping that nobody can change and that does not show secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pgdbpool.config.problems import SOUNDS_SECRET


class ReadOnly(Mapping[str, Any]):
    """A copy of ``items`` in their order; ``repr`` shows ``***`` in place of a text or number whose name sounds secret.

    ``types.MappingProxyType`` can be neither hashed (before Python 3.12) nor copied, and shows everything.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[str, Any]) -> None:
        self._items = dict(items)

    def __getitem__(self, name: str) -> Any:
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items))

    def __repr__(self) -> str:
        secret = {name for name, value in self.items() if SOUNDS_SECRET.search(name) and isinstance(value, (str, int))}
        return repr({name: "***" if name in secret else value for name, value in self.items()})
