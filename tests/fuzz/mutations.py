"""What can be wrong at one place of a configuration: a valid one is changed, and noted what has to be said about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from tests.fuzz.configs import BOTH, ENDPOINT, GROUP, ROOT, SECRET, configurations
from tests.fuzz.nonsense import HUGE, SECRETIVE, keys, nonsense

__all__ = ["Broken", "Change", "changed", "under"]

NAN, INF = float("nan"), float("inf")

# By key: what the contract does not allow.
_NO_NUMBER = [NAN, INF, -1, HUGE, -HUGE, True, "5", b"5", [], {}]
_NO_COUNT = [*_NO_NUMBER, 1.5, 2**31]
_NO_TIME = [*_NO_NUMBER, None, 1e300]
_NO_WORD = ["", "master", 1, True, None, [], {}, b"auto", *SECRETIVE]
_NO_NAME = ["", "a\0b", "\ud800", "a\nb", 5, b"db1", [], ["db1"]]
_NO_PATH = ["", "a\0b", "\ud800", 5, b"/tmp", [], {}]
BAD: dict[str, list[Any]] = {
    **dict.fromkeys(("ssl", "role", "target", "validate", "reset", "type"), _NO_WORD),
    **dict.fromkeys(("name", "user", "label"), _NO_NAME),
    **dict.fromkeys(("sslrootcert", "sslcert", "sslkey", "stats_dir"), _NO_PATH),
    **dict.fromkeys(("timeout", "max_idle", "max_lifetime", "ping_after", "hold_warning"), _NO_TIME),
    "host": [*_NO_NAME, "db1,db2", *SECRETIVE[::2]],
    "port": [*_NO_COUNT, 0, 65536],
    "pass": [5, SECRET.encode(), [SECRET], {SECRET: SECRET}, SECRET + "\0", SECRET + "\ud800"],
    "connect_timeout": [*_NO_TIME, 0],
    "query_timeout": _NO_COUNT,
    "session_tmp_buffer": [*_NO_COUNT, 0],
    "max_waiting": [*_NO_COUNT, None],
    "min_connections": [*_NO_COUNT, None],
    "weight": [*_NO_NUMBER, None, 1e7],
    "pooler": ["session", "", True, [], {}],
    "libpq": [None, [], 5, [("keepalives", 1)], SECRET, *SECRETIVE],
    "connection_count": [*_NO_COUNT, None, 0],
    "autocommit": [0, 1, "yes", [], 0.0],
    "max_lag": [*_NO_NUMBER, 0],
    "max_lag_bytes": [*_NO_NUMBER, 0, 1.5, 2**63],
    "idle_in_transaction_timeout": [*_NO_NUMBER, None, 1e9],
    "application_name": [*_NO_NAME, "ä" * 32],
    "settings": [None, [], 5, "TimeZone=UTC", *SECRETIVE],
    "on_connect": ["print", 5, [], {}],
    "standby_functions": [None, "age", 5, {}, b"age"],
    "sqlprepare": [0, 1, "yes", None],
}
_BAD_TEXT = [None, SECRET.encode(), [SECRET], {}, SECRET + "\0", "\ud800"]
_NO_GROUP = ["", "a\nb", "a\0", "\ud800", 5, None, b"web", ("web",), HUGE, 1.5]
_NO_FUNCTION = [None, b"age", [SECRET], "\ud800", "a b", HUGE, *SECRETIVE]
_BAD_NAMES = ["no such", "", "ä", f"x {SECRET}=", 5, None, ("a",), HUGE, "a\0", *SECRETIVE]


class TakenError(Exception):
    """Something else is wrong there already."""


class Broken:
    """A configuration, and what has to be said of it: of each problem a pattern of its path, and words in its message."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.expected: list[tuple[str, str]] = []
        self._taken: set[str] = set()
        db = config["db"]
        self.endpoints = [("db", db)] if isinstance(db, dict) else [(rf"db\[{i}]", each) for i, each in enumerate(db)]
        self.groups = [(under("groups", name), group) for name, group in config["groups"].items()]

    def __repr__(self) -> str:
        """Much of it cannot show itself."""
        return f"<a configuration with something wrong at {self.expected}>"

    def sections(self) -> list[tuple[str, dict[Any, Any], list[str]]]:
        """Of each dict with fixed keys the pattern of its path, itself, and its keys."""
        found = [("", self.config, list(ROOT))]
        found += [(path, endpoint, [*ENDPOINT, *BOTH]) for path, endpoint in self.endpoints]
        return found + [(path, group, [*GROUP, *BOTH]) for path, group in self.groups]

    def take(self, place: str) -> None:
        if place in self._taken:
            raise TakenError
        self._taken.add(place)

    def expect(self, path: str, says: str = "") -> None:
        self.expected.append((path, says))


def under(path: str, key: object) -> str:
    """The pattern of a key's path: after a point where it is a plain name, else in brackets as far as it may be shown."""
    if isinstance(key, str) and re.match(r"[\w-]{1,60}\Z", key):
        return rf"{path}\.{key}" if path else key
    return rf"{path}\[[^\n]*]"


Change = Callable[[st.DrawFn, Broken], None]


def bad_value(draw: st.DrawFn, broken: Broken) -> None:
    """Of the wrong type, or out of range."""
    path, section, known = draw(st.sampled_from(broken.sections()))
    key = draw(st.sampled_from([key for key in known if key in BAD]))
    broken.take(under(path, key))
    section[key] = draw(st.sampled_from(BAD[key]))
    broken.expect(under(path, key))


def unknown_key(draw: st.DrawFn, broken: Broken) -> None:
    """Of any type, with any value."""
    path, section, known = draw(st.sampled_from(broken.sections()))
    key = draw(keys)
    if key in {*section, *known}:
        raise TakenError
    section[key] = draw(nonsense)
    broken.expect(under(path, key))


def typo(draw: st.DrawFn, broken: Broken) -> None:
    """One letter too many, too few or wrong, two in the wrong order, or upper case: the key that was meant is named."""
    path, section, known = draw(st.sampled_from(broken.sections()))
    meant = draw(st.sampled_from(known))
    wrong = draw(_misspelt(meant))
    if wrong in {*ROOT, *ENDPOINT, *GROUP, *BOTH, *section} or [k for k in known if _is_near(wrong, k)] != [meant]:
        raise TakenError
    section[wrong] = draw(nonsense)
    broken.expect(under(path, wrong), "" if meant in BOTH else f"{meant!r}")


def _misspelt(word: str) -> st.SearchStrategy[str]:
    at, letter = st.integers(0, len(word) - 1), st.sampled_from("aeinst_")
    return st.one_of(
        st.builds(lambda i, x: word[:i] + x + word[i:], at, letter),
        st.builds(lambda i, x: word[:i] + x + word[i + 1 :], at, letter),
        at.map(lambda i: word[:i] + word[i + 1 :]),
        at.map(lambda i: word[:i] + word[i : i + 2][::-1] + word[i + 2 :]),
        st.just(word.upper()),
    ).filter(lambda wrong: wrong not in ("", word))


def _is_near(wrong: str, word: str) -> bool:
    """Whether one letter, or the order of two, is all that is wrong."""
    wrong = wrong.lower()
    if len(wrong) == len(word):
        different = [i for i, (a, b) in enumerate(zip(wrong, word, strict=True)) if a != b]
        return len(different) < 2 or (len(different) == 2 and sorted(wrong) == sorted(word))
    short, long = sorted((wrong, word), key=len)
    return short in {long[:i] + long[i + 1 :] for i in range(len(long))}


def missing(draw: st.DrawFn, broken: Broken) -> None:
    """A group without its size."""
    path, group = draw(st.sampled_from(broken.groups))
    broken.take(rf"{path}\.connection_count")
    del group["connection_count"]
    broken.expect(rf"{path}\.connection_count")


def bad_group_name(draw: st.DrawFn, broken: Broken) -> None:
    number = draw(st.integers(0, len(_NO_GROUP) - 1))
    broken.take(f"bad name {number}")
    name = _NO_GROUP[number]
    broken.config["groups"][name] = draw(nonsense | st.just({"connection_count": 1}))
    broken.expect(under("groups", name))


def bad_libpq(draw: st.DrawFn, broken: Broken) -> None:
    """A keyword that libpq does not know or that has a key of its own, or a value that cannot be sent."""
    path, endpoint = draw(st.sampled_from(broken.endpoints))
    names = st.sampled_from([*_BAD_NAMES, "host", "dbname", "sslmode", "password"])
    name, value = draw(st.tuples(names, nonsense) | st.tuples(st.just("passfile"), st.sampled_from([*_BAD_TEXT, 1.5])))
    _put_into(broken, path, endpoint, "libpq", name, value)


def bad_setting(draw: st.DrawFn, broken: Broken) -> None:
    """A name that no setting can have or that has a key of its own, or a value that cannot be sent."""
    path, group = draw(st.sampled_from(broken.groups))
    names = st.sampled_from([*_BAD_NAMES, "statement_timeout", "Temp_Buffers", "client_encoding"])
    values = st.sampled_from([*_BAD_TEXT, NAN, HUGE])
    name, value = draw(st.tuples(names, nonsense) | st.tuples(st.just("app.password"), values))
    if any(endpoint.get("pooler") for _, endpoint in broken.endpoints):
        raise TakenError  # it would be wrong there in any case
    _put_into(broken, path, group, "settings", name, value)


def _put_into(broken: Broken, path: str, section: dict[Any, Any], key: str, name: Any, value: Any) -> None:
    broken.take(under(path, key))
    section[key] = {**section.get(key, {}), name: value}
    broken.expect(under(under(path, key), name))


def bad_function(draw: st.DrawFn, broken: Broken) -> None:
    path, group = draw(st.sampled_from(broken.groups))
    broken.take(rf"{path}\.standby_functions")
    group["standby_functions"] = ["age", draw(st.sampled_from(_NO_FUNCTION))]
    broken.expect(rf"{path}\.standby_functions\[1]")


_CHANGES: list[Change] = [
    bad_value, unknown_key, typo, missing, bad_group_name, bad_libpq, bad_setting, bad_function,
]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn) -> Broken:
    """With one to three things wrong, each at a place of its own."""
    broken = Broken(draw(configurations()))
    for change in draw(st.lists(st.sampled_from(_CHANGES), min_size=1, max_size=3)):
        with suppress(TakenError):
            change(draw, broken)
    assume(broken.expected)
    return broken
