"""What a thread has written, as a text that takes it elsewhere: to another thread, host, or the client's next request."""

from __future__ import annotations

import re
from contextlib import suppress
from time import monotonic, time
from typing import Any

import psycopg2

from pgdbpool.access.desk import Desk
from pgdbpool.driver.position import sample
from pgdbpool.engine.causal import Causal
from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.errors import PoolError
from pgdbpool.waiting import Mark

_MOMENT = 5.0  # seconds
# The format's number, cluster, timeline, position (none: after all that is there when it is read), end of life.
_TOKEN = re.compile(r"1-(\d{1,20})-(\d{1,10})-([0-9a-f]{1,16})?-(\d{1,12})", re.ASCII)


def token_of(desk: Desk, owner: Owner) -> str | None:
    """What this thread's reads have to show, or None if it has written nothing; may ask the primary for its position.

    Raises what a checkout raises.
    """
    causal = desk.causal
    causal.wanted = True
    mark = causal.mark_of(owner)
    if mark is not None and not mark.known:
        slot = desk.checkout(owner, desk.timeout, reads=False)
        try:
            mark = causal.place(owner, sample(slot.resource, _MOMENT))
        finally:
            desk.give_back(slot, owner, soiled=False)
    return None if mark is None else written_out(mark, causal.life)


def written_out(mark: Mark, life: float) -> str:
    """The token of a mark, for at most so many seconds."""
    position = f"{mark.lsn:x}" if mark.known else ""
    life = min(mark.expires - monotonic(), life)
    return f"1-{mark.cluster or 0}-{mark.timeline}-{position}-{time() + life:.0f}"


def mark_from(token: str) -> Mark | None:
    """The mark that the token stands for; None when its life is over. ValueError for what is no token."""
    found = _TOKEN.fullmatch(token) if isinstance(token, str) else None
    if found is None:
        raise ValueError(f"{str(token)[:80]!r} is no token of causal_token()")
    cluster, timeline, lsn, end = found.groups()
    now, life = monotonic(), int(end) - time()
    if life <= 0:
        return None
    return Mark(now, now + life, cluster, int(timeline), int(lsn, 16)) if lsn else Mark(now, now + life)


class Seeing:
    """``with causal(token):`` — what this thread reads in the block shows what the token stands for."""

    def __init__(self, causal: Causal, token: str | None) -> None:
        self._causal = causal
        self._mark = mark_from(token) if token else None

    def __enter__(self) -> None:
        self._owner = present_owner()
        self._before = self._owner.marks.get(self._causal)
        self._causal.add_mark(self._owner, self._mark)
        self._within = self._owner.marks.get(self._causal)

    def __exit__(self, *_: Any) -> None:
        if self._owner.marks.get(self._causal) is self._within:  # else it has written, which it is to see later too
            self._causal.set_mark(self._owner, self._before)


class Visit:
    """One request of a client, served by this thread: what the client has written counts, and not what others have.

    ``life``: how long a token lasts, in whole seconds.
    """

    def __init__(self, desk: Desk, token: str | None) -> None:
        self._desk = desk
        self._owner = present_owner()
        self._mark: Mark | None = None
        with suppress(ValueError):
            self._mark = mark_from(token) if token else None
        desk.causal.wanted = desk.causal.carried = True
        desk.causal.set_mark(self._owner, self._mark)
        self.life = round(desk.causal.life)

    def token(self) -> str | None:
        """The client's new token, if something was written in this request."""
        mark = self._owner.marks.get(self._desk.causal)
        if mark is None or mark is self._mark:
            return None
        try:
            return token_of(self._desk, self._owner)
        except (PoolError, psycopg2.Error):  # nobody knows the position now; who reads the token asks for one
            return written_out(mark, self.life)
