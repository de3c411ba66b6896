"""``pgdbpool top``: a status page's figures in the terminal, in a pipe, or as they are."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from importlib.util import find_spec
from typing import Any

from pgdbpool.command.asking import Asking, NotYet
from pgdbpool.command.failing import Failed, Wrong
from pgdbpool.command.page import LONGEST, Page

_EVERY = 1.0  # seconds between two looks, where nothing else is said
_AWAKE = 1.5  # seconds
_UNFOLDED = 500  # columns, of a pipe


def top(chosen: Namespace) -> int:
    """The figures at ``chosen.url``: live until q or Ctrl-C, once where nobody looks on."""
    page = Page(chosen.url)
    if chosen.json and chosen.interval and not chosen.once:
        return _stream(page, chosen.interval)
    if chosen.json:
        print(json.dumps(_glance(page), indent=2))
        return 0
    if find_spec("rich") is None:
        raise Wrong("top needs rich: pip install 'pgdbpool[top]'")
    if chosen.once or not sys.stdout.isatty() or os.environ.get("TERM") in (None, "dumb"):
        return _once(page)
    from pgdbpool.command.live import live

    return live(page, chosen.interval or _EVERY)


def _glance(page: Page) -> dict[str, Any]:
    """One look. Where a worker has not written for a while it is the second: by then all of them know that somebody looks."""
    asking = Asking(page.read, _AWAKE)
    told = _next(asking, page)
    stale = any(told["at"] - worker["at"] > _AWAKE for worker in told["workers"])
    return _next(asking, page) if stale else told


def _next(asking: Asking[dict[str, Any]], page: Page) -> dict[str, Any]:
    try:
        return asking.next(LONGEST)
    except NotYet:
        raise page.silent(LONGEST) from None


def _stream(page: Page, interval: float) -> int:
    """One line per interval; what fails goes to standard error, and is tried again."""
    asking = Asking(page.read, interval)
    try:
        while True:
            try:
                print(json.dumps(_next(asking, page)), flush=True)
            except Wrong:
                raise
            except Failed as error:
                print(f"pgdbpool: {error}", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        return 0


def _once(page: Page) -> int:
    from rich.console import Console

    from pgdbpool.command.dashboard import Dashboard

    unfolded = not (sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdecimal())
    console, dashboard = Console(width=_UNFOLDED if unfolded else None), Dashboard(page)
    dashboard.show(_glance(page))
    console.print(dashboard, end="")
    return 0
