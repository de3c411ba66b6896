"""What a thread has written, as a text that takes it elsewhere: to another thread, host, or the client's next request."""

from __future__ import annotations

import re
from contextlib import suppress
from time import monotonic, time
from typing import Any

import psycopg2

from pgdbpool.access.desk import MOMENT, Desk
from pgdbpool.driver.position import sample
from pgdbpool.driver.session import Refused
from pgdbpool.engine.causal import Causal
from pgdbpool.engine.owners import Owner, present_owner
from pgdbpool.waiting import Mark, later

_LITTLE = 0.1  # seconds that a good answer waits for its token
_TOLERANCE = 300.0  # seconds by which two hosts' clocks may differ: a token that lasts longer costs next to nothing
_FOREVER = float("inf")
# The format's number, cluster, timeline, position (none: after all that is there when it is read), end of life.
_TOKEN = re.compile(r"1-(\d{1,20})-(\d{1,10})-([0-9a-f]{1,16})?-(\d{1,12})", re.ASCII)


def token_of(desk: Desk, owner: Owner, patience: float | None = None) -> str | None:
    """What this thread's reads have to show, or None if it has written nothing; may ask the primary for its position.

    ``patience``: seconds to wait for a connection to it, in place of the group's. Raises what a checkout raises.
    """
    causal = desk.causal
    if not causal.wanted:  # nobody has taken anything down so far: it may have written
        causal.wanted = True
        causal.wrote(owner)
    mark = causal.mark_of(owner, anew=True)
    if mark is not None and not mark.known:
        wait, limit = (desk.timeout, MOMENT) if patience is None else (patience, patience)
        with (
            suppress(Refused),
            desk.at_primary(owner, wait) as slot,
        ):  # refused: who reads the token asks for a position
            mark = causal.place(owner, sample(slot.resource, limit))
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
    now, life = monotonic(), int(end) + _TOLERANCE - time()
    if life <= 0:
        return None
    return Mark(now, now + life, cluster, int(timeline), int(lsn, 16)) if lsn else Mark(now, now + life)


class Seeing:
    """``with causal(token):`` — what this thread reads in the block shows what the token stands for."""

    def __init__(self, causal: Causal, token: str | None) -> None:
        self._causal = causal
        self._mark = mark_from(token) if token else None

    def __enter__(self) -> None:
        self._wanting = wanting = self._causal.wanting(present_owner())
        self._before = wanting.mark, wanting.writes
        wanting.mark = later(wanting.mark, self._mark)

    def __exit__(self, *_: Any) -> None:
        mark, writes = self._before
        if self._wanting.writes == writes:  # else what it wrote in the block it is to see later too
            self._wanting.mark = mark


class Visit:
    """One request of a client, served by this thread: what the client has written counts, and not what others have.

    ``life``: how long a token lasts, in whole seconds.
    """

    def __init__(self, desk: Desk, token: str | None) -> None:
        self._desk = desk
        self._owner = present_owner()
        self.life = round(desk.causal.life)
        desk.causal.wanted = desk.causal.carried = True
        self._wanting = desk.causal.wanting(self._owner)
        self._wanting.mark, self._writes = None, self._wanting.writes
        with suppress(ValueError):
            self._wanting.mark = mark_from(token) if token else None

    def token(self) -> str | None:
        """The client's new token, if something was written in this request."""
        if self._wanting.writes == self._writes:
            return None
        with suppress(psycopg2.Error):  # nobody knows the position now; who reads the token asks for one
            return token_of(self._desk, self._owner, _LITTLE)
        return written_out(Mark(0.0, _FOREVER), self.life)
