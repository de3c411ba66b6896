"""A row: a tuple that also answers to column names."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any, SupportsIndex


class Row(tuple[Any, ...]):
    """``row[0]``, ``row["name"]``, ``row.get("name")``, ``dict(row)``; of equal column names the first wins."""

    __slots__ = ()

    if TYPE_CHECKING:

        def __getitem__(self, key: SupportsIndex | slice | str, /) -> Any: ...

    _names: tuple[str, ...] = ()

    def keys(self) -> tuple[str, ...]:
        """The column names, in order."""
        return self._names

    def items(self) -> Iterator[tuple[str, Any]]:
        """Pairs of column name and value, in order."""
        return zip(self._names, self, strict=True)

    def get(self, name: str, default: Any = None) -> Any:
        """The column of that name, or ``default`` if there is none."""
        return self[self._names.index(name)] if name in self._names else default

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self._names, tuple(self))


def _restored(names: tuple[str, ...], values: tuple[Any, ...]) -> Row:
    return row_class(names)(values)


@lru_cache(maxsize=1024)
def row_class(names: tuple[str, ...]) -> type[Row]:
    """The class of rows with these columns.

    A name is looked up in a dict that holds the name of a field getter as ``namedtuple`` makes them (written in C),
    which is the fastest way from a name to an item that pure Python has (measured: 61 ns, ``tuple.__getitem__`` 100
    ns). The getters' own names start with a space, so no column name can meet one.
    """
    getters = namedtuple("getters", [f"c{i}" for i in range(len(names))])  # type: ignore[misc]
    body: dict[str, Any] = {f" {i}": getters.__dict__[f"c{i}"] for i in range(len(names))}
    where: dict[Any, str] = {position: f" {position % len(names)}" for position in range(-len(names), len(names))}
    where |= {name: f" {i}" for i, name in reversed(tuple(enumerate(names)))}
    item = tuple.__getitem__

    def __getitem__(self: Row, key: Any) -> Any:
        try:
            return getattr(self, where[key])
        except (KeyError, TypeError):  # a slice, an index out of range, or no such column
            if isinstance(key, str):
                raise KeyError(f"no column {key!r}; there are: {', '.join(names)}") from None
            return item(self, key)

    body |= {"__slots__": (), "_names": names, "__getitem__": __getitem__, "__doc__": Row.__doc__}
    body |= {"__module__": Row.__module__, "__qualname__": "Row"}
    return type("Row", (Row,), body)
