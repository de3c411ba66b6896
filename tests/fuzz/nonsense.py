"""Values and keys that have no place in a configuration."""

from __future__ import annotations

from typing import Any, NoReturn

from hypothesis import strategies as st

from tests.fuzz.configs import ENDPOINT, GROUP, ROOT, SECRET, anything
from tests.fuzz.dsns import FRAGMENT

__all__ = ["HUGE", "SECRETIVE", "Rude", "keys", "nonsense", "wild"]

HUGE = 10**5000  # cannot be put into words (sys.set_int_max_str_digits)

# Texts that betray something.
SECRETIVE = [
    f"postgresql://u{FRAGMENT}:{SECRET}@h{FRAGMENT}/d",
    f"host=h{FRAGMENT} password={SECRET}",
    f"u:{SECRET}@h{FRAGMENT}",
]


class Rude:
    """An object that answers no question."""

    def _refuse(self, *_: object) -> NoReturn:
        raise RuntimeError(SECRET)

    __repr__ = __str__ = __bool__ = __len__ = __iter__ = __eq__ = __lt__ = __format__ = _refuse  # type: ignore[assignment]
    __hash__ = object.__hash__


_huge = st.builds(lambda: HUGE)  # hypothesis cannot show it either
_numbers = st.integers() | st.floats() | st.booleans() | st.just(1j) | _huge
_texts = anything() | st.sampled_from(["\ud800", "a\0b", *SECRETIVE, SECRET])
_atoms = st.none() | _numbers | _texts | st.binary(max_size=5) | st.builds(Rude)

keys: st.SearchStrategy[Any] = st.one_of(
    anything(min_size=1),
    st.sampled_from(["", "\ud800", "a\0b", "a b", "x: found", *SECRETIVE]),
    _numbers,
    st.none() | st.binary(max_size=5) | st.tuples(_numbers, _texts) | st.frozensets(st.integers(), max_size=2),
    st.builds(Rude),
)

nonsense: st.SearchStrategy[Any] = st.recursive(
    _atoms,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.sets(st.integers(), max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=5,
)


def _section(known: dict[str, st.SearchStrategy[Any]], **parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A dict that has some of its keys, each with what may be good or may be not."""
    optional = {key: value | nonsense for key, value in known.items() if key not in parts}
    return st.fixed_dictionaries(parts, optional=optional)


_endpoint = nonsense | _section({key: value for key, value in ENDPOINT.items() if key != "dsn"} | {"dsn": anything()})
_group = nonsense | _section(GROUP, connection_count=st.integers(0, 9))
wild: st.SearchStrategy[Any] = _section(
    ROOT, db=_endpoint | st.lists(_endpoint, max_size=2), groups=nonsense | st.dictionaries(keys, _group, max_size=2)
)
