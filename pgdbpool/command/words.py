"""Figures in words, as the page has them (``web/page/words.js``), and text that is safe on a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

NONE = "–"
_UNITS = ("B", "kB", "MB", "GB", "TB")


def printable(text: str) -> str:
    """What would move a terminal's cursor, colour it or turn the text around, as an escape that is read and not obeyed."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def cleaned(document: Any) -> Any:
    """The same document with every text in it printable."""
    if isinstance(document, dict):
        return {printable(key): cleaned(value) for key, value in document.items()}
    if isinstance(document, list):
        return [cleaned(each) for each in document]
    return printable(document) if isinstance(document, str) else document


def seconds(value: float | None) -> str:
    """0.0042 is "4.2 ms", 31.84 is "31.8 s", 312 is "5 min 12 s"."""
    if value is None:
        return NONE
    if value < 0.00995:
        return f"{max(0.1, value * 1000):.1f} ms" if value else "0 ms"
    if value < 0.9995:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 99.95 else _long(round(value))


def _long(value: int) -> str:
    minutes, rest = divmod(value, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def octets(value: float | None) -> str:
    if value is None:
        return NONE
    step = 0
    while abs(value) >= 1000 and step < len(_UNITS) - 1:
        value, step = value / 1000, step + 1
    return f"{value:.1f} {_UNITS[step]}" if step and value < 10 else f"{value:.0f} {_UNITS[step]}"


def count(value: float | None) -> str:
    return NONE if value is None else f"{value:,.0f}"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.0%}"


def rate(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.1f}/s" if value < 10 else f"{count(value)}/s"


def many(number: int, noun: str) -> str:
    """``many(1, "request")`` is "1 request"."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """One name is "a", two are "a and b", three "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def place(text: str | None) -> str:
    """A place in code by its last folder: "/app/shop/store.py:42 (order)" is "shop/store.py:42 (order)"."""
    return NONE if text is None else re.sub(r"^.*/(?=[^/]+/[^/]*:\d)", "", text)


def reason(error: str) -> str:
    """libpq's message without the address that stands beside it anyway, and without its hint."""
    words = re.sub(r"^connection to server .*? failed: | Is the server running .*", "", error)
    return words[:1].lower() + words[1:]
