"""The live view: the figures on a screen of their own, until q, Ctrl-C or a signal."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from types import FrameType

from rich.console import Console

from pgdbpool.command.asking import Asking, NotYet
from pgdbpool.command.dashboard import Dashboard
from pgdbpool.command.failing import Failed, Wrong
from pgdbpool.command.keyboard import Keyboard
from pgdbpool.command.page import Page

_PATIENCE = 2.0  # seconds without an answer that go without a word
_UNKNOWN = (80, 24)  # the size of a terminal that does not know it


def live(page: Page, interval: float) -> int:
    """Show what the page says, every ``interval`` seconds. Raises ``Wrong`` if the first answer is no status page's."""
    console, dashboard = Console(), Dashboard(page, "q ends")
    with suppress(KeyboardInterrupt), _ended_by_signals(), Keyboard() as keyboard, console.screen():
        watch, drawn = _Watch(page, interval, dashboard), None
        while "q" not in keyboard.pressed():
            watch.look()
            if drawn != (drawn := (dashboard.shown, _size())):
                console.size = drawn[1]
                console.update_screen(dashboard)
    return 0


class _Watch:
    """Takes the page's answers to the dashboard, and says so if none come."""

    def __init__(self, page: Page, interval: float, dashboard: Dashboard) -> None:
        self._page = page
        self._dashboard = dashboard
        self._asking = Asking(page.read, interval)
        self._limit = interval + _PATIENCE
        self._heard = monotonic()

    def look(self) -> None:
        dashboard = self._dashboard
        try:
            dashboard.show(self._asking.next(0))
            self._heard = monotonic()
        except NotYet:
            if (passed := monotonic() - self._heard) > self._limit:
                dashboard.trouble = str(self._page.silent(passed))
        except Failed as error:
            if isinstance(error, Wrong) and dashboard.figures is None:
                raise
            dashboard.trouble = str(error)
            self._heard = monotonic()


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Within the block SIGTERM and SIGHUP end the program in good order: the terminal is given back first."""
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _size() -> tuple[int, int]:
    columns, lines = os.get_terminal_size(sys.stdout.fileno())
    return (columns, lines) if columns and lines else _UNKNOWN
