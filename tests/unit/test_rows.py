"""A row: a tuple that also answers to column names (contract §2)."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

from pgdbpool.access.rows import Row, row_class

pytestmark = pytest.mark.timeout(20)

ODD = (
    "count",
    "index",
    "keys",
    "items",
    "get",
    " 0",
    " 1",
    "",
    "c0",
    "_names",
    "__class__",
    "__getitem__",
    "größe",
    "a b",
)


def row(**columns: Any) -> Row:
    return row_class(tuple(columns))(columns.values())


@pytest.mark.contract("2.p3.2")
def test_a_row_is_a_tuple() -> None:
    """A row equals, hashes, unpacks, adds, slices and counts as the tuple of its values."""
    one = row(id=1, name="a", price=None)
    assert isinstance(one, tuple)
    assert one == (1, "a", None)
    assert hash(one) == hash((1, "a", None))
    number, name, price = one
    assert (number, name, price, len(one), "a" in one) == (1, "a", None, 3, True)
    assert (one.index("a"), one.count(None), (*one, 2), repr(one)) == (1, 1, (1, "a", None, 2), "(1, 'a', None)")


@pytest.mark.contract("2.p3.2")
@pytest.mark.parametrize(("key", "value"), [(0, 10), (2, 30), (-1, 30), (-3, 10), ("a", 10), ("b", 20), ("c", 30)])
def test_a_column_is_found(key: Any, value: int) -> None:
    """A column is addressed by its position, from either end, or by its name."""
    assert row(a=10, b=20, c=30)[key] == value


def test_a_slice_of_a_row_is_a_plain_tuple() -> None:
    """A slice is a tuple without names: they would be others'."""
    part = row(a=10, b=20, c=30)[1:]
    assert (part, type(part)) == ((20, 30), tuple)
    assert row(a=10, b=20, c=30)[::-1] == (30, 20, 10)


@pytest.mark.parametrize("key", [3, -4, 10**6])
def test_no_such_position(key: int) -> None:
    """A position that the row does not have is an IndexError, as a tuple's."""
    with pytest.raises(IndexError):
        row(a=1, b=2, c=3)[key]


@pytest.mark.contract("2.p3.2")
def test_an_unknown_column_is_named_with_those_that_there_are() -> None:
    """A name that the row does not have is a KeyError that says which it has."""
    with pytest.raises(KeyError, match="no column 'nmae'; there are: id, name") as caught:
        row(id=1, name="a")["nmae"]
    assert caught.value.__context__ is None or caught.value.__suppress_context__


@pytest.mark.parametrize("key", [None, 1.5, [], b"a", object()])
def test_what_is_no_key(key: Any) -> None:
    """Neither a position, a slice nor a name is a TypeError, as a tuple's."""
    with pytest.raises(TypeError):
        row(a=1, b=2)[key]


class Position:
    """A number that is no int, as numpy's are."""

    def __index__(self) -> int:
        return 1


def test_whatever_is_an_index() -> None:
    """Whatever Python takes for an index is one."""
    assert row(a=1, b=2)[Position()] == 2


@pytest.mark.contract("2.p3.2")
def test_a_row_becomes_a_dict() -> None:
    """``dict(row)``, ``keys()`` and ``items()`` give the columns in their order."""
    one = row(id=1, name="a")
    assert dict(one) == {"id": 1, "name": "a"}
    assert {**one} == {"id": 1, "name": "a"}
    assert list(one.keys()) == ["id", "name"]
    assert list(one.items()) == [("id", 1), ("name", "a")]


@pytest.mark.contract("2.p3.2")
def test_get_has_a_default() -> None:
    """``get`` gives a column, or the default where there is none of that name; a NULL is a value."""
    one = row(id=1, name=None)
    assert (one.get("id"), one.get("name", 5), one.get("x"), one.get("x", 5)) == (1, None, None, 5)


@pytest.mark.contract("2.p3.2")
def test_of_equal_names_the_first_wins() -> None:
    """Of two columns with one name, the name means the first, the second is reached by position, and both are listed."""
    one = row_class(("id", "name", "id"))((1, "a", 2))
    assert (one["id"], one.get("id"), dict(one), one[2]) == (1, 1, {"id": 1, "name": "a"}, 2)
    assert list(one.keys()) == ["id", "name", "id"]
    assert list(one.items()) == [("id", 1), ("name", "a"), ("id", 2)]


@pytest.mark.parametrize("name", ODD)
def test_any_name_may_be_a_columns(name: str) -> None:
    """A column may be called like a method, like nothing, or like what rows use inside: it and the methods work."""
    one = row_class(("first", name, "last"))((1, 2, 3))
    assert (one[name], one[1], one["first"], one["last"], one.get(name)) == (2, 2, 1, 3, 2)
    assert dict(one) == {"first": 1, name: 2, "last": 3}
    assert (one.count(2), one.index(3), list(one.keys())) == (1, 2, ["first", name, "last"])


def test_all_odd_names_at_once() -> None:
    """Names do not come into each other's way."""
    one = row_class(ODD)(range(len(ODD)))
    assert [one[name] for name in ODD] == [one[n] for n in range(len(ODD))] == list(range(len(ODD)))


def test_a_row_without_columns() -> None:
    """``SELECT`` without columns gives rows that are empty."""
    one = row_class(())(())
    assert (one, dict(one), list(one.keys()), one.get("a")) == ((), {}, [], None)
    with pytest.raises(IndexError):
        one[0]
    with pytest.raises(KeyError):
        one["a"]


def test_a_row_of_very_many_columns() -> None:
    """PostgreSQL's 1664 columns are no limit."""
    names = tuple(f"c{n}" for n in range(1664))
    one = row_class(names)(range(1664))
    assert (one["c1663"], one[1663], one["c0"]) == (1663, 1663, 0)


@pytest.mark.contract("2.p3.2")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_row_can_be_pickled(protocol: int) -> None:
    """A row survives pickling by every protocol with its names."""
    one = row_class(("id", "", "id"))((1, "a", 2))
    again = pickle.loads(pickle.dumps([one, one], protocol))[1]
    assert (again, again["id"], again[""], list(again.keys())) == (one, 1, "a", ["id", "", "id"])
    assert type(again) is type(one)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_row_can_be_copied(copied: Any) -> None:
    """A copy is a row."""
    assert copied(row(a=1, b=[2]))["b"] == [2]


def test_rows_are_light() -> None:
    """A row has no dict of its own, and rows of the same columns share one class."""
    assert not hasattr(row(a=1), "__dict__")
    assert type(row(a=1)) is type(row(a=2))
    assert (type(row(a=1)).__name__, type(row(a=1)).__module__) == ("Row", "pgdbpool.access.rows")
