"""What a value may be: one ``Kind`` per sort of value, with its check and its description in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pgdbpool.config.problems import Place
from pgdbpool.config.readonly import ReadOnly

__all__ = [
    "LONGEST_AGE",
    "LONGEST_WAIT",
    "Kind",
    "Refused",
    "function",
    "milliseconds",
    "names",
    "number",
    "optional",
    "path",
    "seconds",
    "secret",
    "settings",
    "switch",
    "text",
    "whole",
    "word",
    "words_of_libpq",
]

INT32_MAX = 2**31 - 1  # PostgreSQL's integer settings
LONGEST_WAIT = INT32_MAX // 1000  # seconds: what PostgreSQL and poll() can count in milliseconds
LONGEST_AGE = 10**9  # seconds

_SETTING = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*\Z", re.ASCII)  # valid_custom_variable_name, guc.c


class Refused(Exception):
    """The value is not of the kind."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What is allowed, in words; ``read`` returns the value to keep or raises Refused.

    What is wrong inside the value it reports to the place. ``unit`` is the short one, for a default in words.
    """

    allowed: str
    read: Callable[[Any, Place], Any]
    secret: bool = False
    unit: str = ""


def optional(kind: Kind) -> Kind:
    """``None`` too, for 'not said'."""
    return Kind(
        f"{kind.allowed}, or None", lambda v, at: None if v is None else kind.read(v, at), kind.secret, kind.unit
    )


def word(*allowed: str) -> Kind:
    def read(value: Any, at: Place) -> str:
        return _plain(_kept(isinstance(value, str) and value in allowed, value))

    return Kind(", ".join(allowed), read)


def whole(low: int, high: int = INT32_MAX, unit: str = "") -> Kind:
    def read(value: Any, at: Place) -> int:
        return int(_kept(_is_number(value, int) and low <= value <= high, value))

    return Kind(f"a whole number{unit}, {low} to {high}", read)


def number(low: float, high: float, unit: str = "", *, above: bool = False) -> Kind:
    """A finite number from ``low`` (``above``: more than that) to ``high``."""

    def read(value: Any, at: Place) -> float:
        inside = _is_number(value, int, float) and low <= value <= high  # false for NaN
        return float(_kept(inside and not (above and value == low), value))

    return Kind(f"a number{unit}, {f'more than {low}, up' if above else low} to {high}", read)


def seconds(*, above: bool = False, high: int = LONGEST_WAIT) -> Kind:
    return replace(number(0, high, " of seconds", above=above), unit="s")


def milliseconds() -> Kind:
    return replace(whole(0, unit=" of milliseconds"), unit="ms")


def switch() -> Kind:
    return Kind("True or False", lambda value, at: _kept(isinstance(value, bool), value))


def text(most: int | None = None, allowed: str = "a non-empty str") -> Kind:
    """Printable text, of at most ``most`` bytes."""

    def read(value: Any, at: Place) -> str:
        good = _is_text(value) and value and value.isprintable()
        return _plain(_kept(good and (most is None or len(value.encode()) <= most), value))

    return Kind(allowed if most is None else f"{allowed} of at most {most} bytes", read)


def path() -> Kind:
    def read(value: Any, at: Place) -> str:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        return _plain(_kept(_is_text(value) and value, value))

    return Kind("a path (str or os.PathLike)", read)


def secret(allowed: str, or_function: bool = False) -> Kind:
    def read(value: Any, at: Place) -> Any:
        if or_function and callable(value):
            return value
        return _plain(_kept(_is_text(value), value))

    return Kind(allowed, read, secret=True)


def function(allowed: str) -> Kind:
    return Kind(allowed, lambda value, at: _kept(callable(value), value))


def names() -> Kind:
    """A collection of names; a set has no order, so it is sorted."""

    def read(value: Any, at: Place) -> tuple[str, ...]:
        _kept(isinstance(value, (list, tuple, set, frozenset)), value)
        found = []
        for index, item in enumerate(value):
            if isinstance(item, str) and _SETTING.match(item):
                found.append(_plain(item))
            else:
                at.item(index).refuse(item, "a function's name, such as 'age' or 'app.age'")
        return tuple(sorted(found) if isinstance(value, (set, frozenset)) else found)

    return Kind("a list or tuple of names", read)


def settings() -> Kind:
    def good(name: Any) -> str | None:
        valid = isinstance(name, str) and _SETTING.match(name)
        return (
            None
            if valid
            else "not a name that PostgreSQL gives to a setting; allowed: such as 'TimeZone' or 'app.user'"
        )

    scalar = Kind("a str, an int, a finite float or a bool", _read_setting)
    return Kind(
        "a dict of setting names and str, int, float or bool", lambda value, at: _mapping(value, at, good, scalar)
    )


def words_of_libpq(unknown: Callable[[Any], str | None]) -> Kind:
    """A dict of libpq's keywords; ``unknown`` says what is wrong with one."""
    scalar = Kind("a str or an int", _read_keyword, secret=True)
    return Kind(
        "a dict of keywords and str or int", lambda value, at: _mapping(value, at, unknown, scalar), secret=True
    )


def _mapping(value: Any, at: Place, wrong: Callable[[Any], str | None], scalar: Kind) -> ReadOnly[Any]:
    _kept(isinstance(value, Mapping), value)
    kept = {}
    for name, item in value.items():
        below = at.under(name)
        if problem := wrong(name):
            below.report(problem)
            continue
        try:
            kept[_plain(name)] = scalar.read(item, below)
        except Refused:
            below.refuse(item, scalar.allowed, secret=scalar.secret)
    return ReadOnly(kept)


def _read_setting(value: Any, at: Place) -> Any:
    if isinstance(value, str):
        return _plain(_kept(_is_text(value), value))
    return _kept(isinstance(value, bool) or (_is_number(value, int, float) and abs(value) < 1e300), value)


def _read_keyword(value: Any, at: Place) -> Any:
    return _plain(_kept(_is_text(value), value)) if isinstance(value, str) else _kept(_is_number(value, int), value)


def _is_number(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    """Whether libpq and the server can be given this text: no NUL byte (C ends there), and UTF-8 can express it."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(value: str) -> str:
    return str.__str__(value)  # of a subclass (an Enum, lazy text) the text alone


def _kept(good: Any, value: Any) -> Any:
    if not good:
        raise Refused
    return value
