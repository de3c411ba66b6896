"""What a value may be: one ``Kind`` per sort of value, its check and its description in one place."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pgdbpool.config.address import read_dsn
from pgdbpool.config.problems import Place, shown

_INT32_MAX = 2**31 - 1  # PostgreSQL's integer settings
_LONGEST_WAIT = _INT32_MAX // 1000  # seconds: what PostgreSQL and poll() can count in milliseconds

_NAME = re.compile(r"[A-Za-z_][\w$]*(\.[A-Za-z_][\w$]*)*\Z", re.ASCII)  # valid_custom_variable_name, guc.c
_TEXT = re.compile(r"[^\0\ud800-\udfff]*\Z")  # C ends at a NUL, and UTF-8 cannot express a surrogate


def _plain(value: Any, at: Place) -> Any:
    """Of a subclass of str (an Enum, lazy text) the text alone, so that no code of the user's runs later."""
    return str.__str__(value) if isinstance(value, str) else value


@dataclass(frozen=True, slots=True)
class Kind:
    """What is ``allowed``, in words, and the test for it; ``keep`` makes what is kept of a good value.

    What is wrong inside a dict or list, ``keep`` reports to the place. Of a ``secret`` nothing is shown.
    """

    allowed: str
    good: Callable[[Any], object]
    keep: Callable[[Any, Place], Any] = _plain
    secret: bool = False
    none: bool = False

    def read(self, value: object, at: Place) -> Any:
        """What is kept of the value; None, and a problem reported, where it is not allowed."""
        if self.good(value):
            return self.keep(value, at)
        if value is not None or not self.none:
            at.report(f"found {shown(value, secret=self.secret)}; allowed: {self.allowed}")
        return None

    def __or__(self, none: None) -> Kind:
        """``kind | None``: None too, for 'not said'."""
        return replace(self, allowed=f"{self.allowed}, or None", none=True)


# --- one value ---


def word(*allowed: str) -> Kind:
    return Kind(", ".join(allowed), lambda value: isinstance(value, str) and value in allowed)


def whole(low: int, high: int = _INT32_MAX, of: str = "") -> Kind:
    return Kind(f"a whole number{of}, {low} to {high}", lambda value: _is_number(value, int) and low <= value <= high)


def number(low: float, high: float, of: str = "") -> Kind:
    """A finite number."""
    return Kind(f"a number{of}, {low} to {high}", lambda value: _is_number(value, int, float) and low <= value <= high)


def seconds(low: float = 0, high: int = _LONGEST_WAIT) -> Kind:
    return number(low, high, " of seconds")


def text(most: int = _INT32_MAX, of: str = "") -> Kind:
    """Printable text of at most ``most`` bytes."""
    return Kind(
        f"a non-empty str{of}",
        lambda value: isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= most,
    )


def is_name(value: Any) -> bool:
    """Whether it can name a setting or a function of PostgreSQL, prefix or schema included."""
    return isinstance(value, str) and _NAME.match(value) is not None


def _is_number(value: Any, *types: type) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and abs(value) < 1e300  # false for NaN


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and _TEXT.match(value) is not None


def _readable(dsn: str, at: Place) -> Any:
    if problem := read_dsn(dsn)[1]:
        at.report(problem)
    return _plain(dsn, at)


SWITCH = Kind("True or False", lambda value: isinstance(value, bool))
MILLISECONDS = whole(0, of=" of milliseconds")
PATH = Kind(
    "a path (str or os.PathLike)",
    lambda value: isinstance(value, (str, os.PathLike)) and os.fspath(value) and _is_text(os.fspath(value)),
    lambda value, at: _plain(os.fspath(value), at),
)
DSN = Kind("a libpq URI or keyword string", lambda value: _is_text(value) and value, _readable, secret=True)
PASSWORD = Kind("a str, or a callable that returns one", lambda value: callable(value) or _is_text(value), secret=True)
KEYWORD_VALUE = Kind("a str or an int", lambda value: _is_text(value) or _is_number(value, int), secret=True)
SETTING_VALUE = Kind("a str, int, float or bool", lambda value: _is_text(value) or _is_finite(value), secret=True)


# --- dicts and lists: a text in their place may be a secret ---


def mapping(names: str, item: Kind, wrong: Callable[[Any], str | None], least: int = 0) -> Kind:
    """A dict of ``item`` by name; ``wrong`` says what is wrong with a name."""

    def keep(value: Mapping[Any, Any], at: Place) -> dict[str, Any]:
        kept = {}
        for name, each in value.items():
            if problem := wrong(name):
                at.under(name).report(problem)
            elif (good := item.read(each, at.under(name))) is not None:
                kept[_plain(name, at)] = good
        return kept

    allowed = f"a dict of {names} names, each with {item.allowed}" + (f", at least {least}" if least else "")
    return Kind(allowed, lambda value: isinstance(value, Mapping) and len(value) >= least, keep, secret=True)


def one_or_more(item: Kind) -> Kind:
    """One dict, or a list of at least one."""
    return Kind(
        f"{item.allowed}, or a list of at least one such dict",
        lambda value: isinstance(value, Mapping) or (isinstance(value, (list, tuple)) and value),
        lambda value, at: (item.read(value, at),) if isinstance(value, Mapping) else _each(item, value, at),
        secret=True,
    )


def _each(item: Kind, values: Iterable[Any], at: Place) -> tuple[Any, ...]:
    kept = [item.read(value, at.item(index)) for index, value in enumerate(values)]
    return tuple(each for each in kept if each is not None)


_FUNCTION = Kind("a function's name, such as 'age' or 'app.age'", is_name)
NAMES = Kind("a list or tuple of names", lambda value: isinstance(value, (list, tuple, set)), partial(_each, _FUNCTION))
