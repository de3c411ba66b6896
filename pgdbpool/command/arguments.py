"""What the arguments of the commands may be."""

from __future__ import annotations

from argparse import ArgumentTypeError
from collections.abc import Callable

_LONGEST = 1_000_000.0  # seconds


def port(text: str) -> int:
    return _whole(text, 0, 65_535, "port")


def workers(text: str) -> int:
    return _whole(text, 1, 1_000_000, "number of workers")


def seconds(least: float) -> Callable[[str], float]:
    """Reads a number of seconds that is at least so much."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = -1.0
        if not least <= found <= _LONGEST:  # nor is NaN
            raise ArgumentTypeError(f"{text!r} is no number of seconds from {least:g} to {_LONGEST:,.0f}")
        return found

    return read


def _whole(text: str, least: int, most: int, what: str) -> int:
    try:
        found = int(text)
    except ValueError:
        found = least - 1
    if not least <= found <= most:
        raise ArgumentTypeError(f"{text!r} is no {what}: a whole number from {least} to {most}")
    return found
