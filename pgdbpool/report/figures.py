"""The figures of this process: what its workers' files and its own statistics are made of."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from time import monotonic, time
from types import FrameType
from typing import Any

from pgdbpool.engine.activity import LONG
from pgdbpool.engine.books import Tally
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.group import Group
from pgdbpool.engine.keeper import Stock
from pgdbpool.engine.owners import describe, where_now
from pgdbpool.engine.timing import Timing
from pgdbpool.waiting import BORROWED, CLEANING, IDLE, Shelf, Slot
from pgdbpool.workers import FORMAT

_HOLDERS = 50


def figures(engine: Engine, worker: dict[str, Any]) -> dict[str, Any]:
    """JSON-serialisable; those of one group are of one moment. ``worker``: its ``id``, ``pid`` and ``started``."""
    now, at = monotonic(), time()
    groups = _groups(engine, now)
    return {
        "format": FORMAT,
        "at": at,
        "closed": engine.closed,
        "workers": [{**worker, "at": at, "serves": _serves(groups)}],
        "groups": groups,
        "endpoints": {endpoint.label: _endpoint(endpoint, now) for endpoint in engine.endpoints},
    }


def _serves(groups: dict[str, Any]) -> bool:
    """Whether it has lent a connection lately; gunicorn's master does not, where it has a pool by --preload."""
    return any(server["hold"]["recent"] for group in groups.values() for server in group["servers"].values())


def _groups(engine: Engine, now: float) -> dict[str, Any]:
    stocks = {name: [each for each in engine.stocks if each.group is group] for name, group in engine.groups.items()}
    return {name: _group(engine, engine.groups[name], each, now) for name, each in stocks.items()}


def stories(engine: Engine, pid: int) -> dict[str, Any]:
    """Who has a connection now, and what has happened."""
    return {
        "holders": holders(engine, pid),
        "events": [{**event._asdict(), "workers": 1} for event in engine.events.lately()],
    }


def _group(engine: Engine, group: Group, stocks: Sequence[Stock], now: float) -> dict[str, Any]:
    timings = [(timing(each.hold, now), timing(each.statement, now)) for each in stocks]
    with group.frozen() as (shelves, waiting, tally):
        servers = [_stock(shelf) for shelf in shelves]
        waits = _waits(waiting, tally, now)
        held = [slot.since for shelf in shelves for slot in shelf.members if slot.owner is not None]
    timed = ({"hold": hold, "statement": statement} for hold, statement in timings)
    labels = (each.shelf.source.label for each in stocks)
    return {
        "servers": {label: {**each, **more} for label, each, more in zip(labels, servers, timed, strict=True)},
        **waits,
        "held_for": max(0.0, now - min(held, default=now)),
        "unserved": unserved(engine, group),
        "wait": timing(group.wait, now),
    }


def unserved(engine: Engine, group: Group) -> str | None:
    """Why this group cannot be served now, not even its reads; None where it can, as far as is known."""
    shelves = {shelf for route in group.routes for shelf in route.shelves}
    if group.closed:
        return "the pool is closed"
    if any(map(engine.serves, shelves)):
        return None
    return "; ".join(shelf.source.describe() for shelf in group.shelves)


def _waits(since: list[float], tally: Tally, now: float) -> dict[str, Any]:
    return {
        "waiting": len(since),
        "waiting_for": max(0.0, now - min(since, default=now)),
        "waits": tally.waits,
        "timeouts": tally.timeouts,
        "errors": tally.errors,
    }


def _stock(shelf: Shelf) -> dict[str, Any]:
    """Under the group's lock."""
    return {
        "connection_count": shelf.capacity,
        "minimum": shelf.minimum,
        "in_use": shelf.count(BORROWED),
        "idle": shelf.count(IDLE),
        "cleaning": shelf.count(CLEANING),
        "opening": shelf.opening,
        "checkouts": shelf.past_turns + sum(slot.turn for slot in shelf.members),
        "reads": shelf.past_reads + sum(slot.reads for slot in shelf.members),
    }


def timing(of: Timing, now: float) -> dict[str, Any]:
    """What was measured since the start and lately, in buckets."""
    whole, recent, over = of.read(now)
    return {
        "count": whole.count,
        "seconds": whole.seconds,
        "longest": whole.longest,
        "buckets": {str(number): count for number, count in whole.buckets.items()},
        "recent": {str(number): count for number, count in recent.buckets.items()},
        "over": over,
    }


def _endpoint(endpoint: Endpoint, now: float) -> dict[str, Any]:
    lag, position, failure = endpoint.lag(), endpoint.position, endpoint.last_failure
    return {
        "role": endpoint.role,
        "state": endpoint.state,
        "lag_seconds": lag.seconds,
        "lag_bytes": lag.octets,
        "timeline": position.timeline if position else None,
        "connects": endpoint.connects,
        "connect_errors": endpoint.connect_errors,
        "last_error": failure.text if failure else None,
        "connect": timing(endpoint.connect, now),
    }


def holders(engine: Engine, pid: int) -> list[dict[str, Any]]:
    """Who has a connection for long, longest first, where that thread stands, and what its server says."""
    now = monotonic()
    held = [(each, slot) for each in engine.stocks for slot in each.group.members(each.shelf) if slot.owner is not None]
    held = sorted((each for each in held if now - each[1].since >= LONG), key=lambda each: each[1].since)
    frames = sys._current_frames() if held else {}
    return [_holder(stock, slot, pid, now, frames) for stock, slot in held[:_HOLDERS]]


def _holder(stock: Stock, slot: Slot, pid: int, now: float, frames: dict[int, FrameType]) -> dict[str, Any]:
    owner, place, endpoint = slot.owner, slot.place, stock.shelf.source
    stands = where_now(owner, frames) if owner is not None else None
    said = endpoint.activity.of(slot.resource.backend_pid)
    return {
        "worker": pid,
        "group": stock.group.name,
        "server": endpoint.label,
        "backend_pid": slot.resource.backend_pid,
        "seconds": now - slot.since,
        "taken": describe(place) if place else None,
        "now": describe(stands) if stands else None,
        "thread": owner.name if owner is not None else "",
        **said,
    }
