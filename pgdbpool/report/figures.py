"""``stats()``."""

from __future__ import annotations

import os
from typing import Any

from pgdbpool.engine.engine import Engine
from pgdbpool.waiting import BORROWED, IDLE


def stats(engine: Engine) -> dict[str, Any]:
    """JSON-serialisable; the figures of one group are of one moment."""
    return {
        "pid": os.getpid(),
        "closed": engine.closed,
        "groups": {name: _group(group) for name, group in engine.groups.items()},
        "endpoints": {endpoint.label: _endpoint(engine, endpoint) for endpoint in engine.endpoints},
    }


def _group(group: Any) -> dict[str, Any]:
    with group.frozen() as (shelves, waiting, tally):
        slots = [slot for shelf in shelves for slot in shelf.members]
        checkouts = sum(shelf.past_turns for shelf in shelves) + sum(slot.turn for slot in slots)
        held = sum(shelf.past_held for shelf in shelves) + sum(slot.held for slot in slots)
        return {
            "connection_count": sum(shelf.capacity for shelf in shelves),
            "in_use": sum(shelf.count(BORROWED) for shelf in shelves),
            "idle": sum(shelf.count(IDLE) for shelf in shelves),
            "opening": sum(shelf.opening for shelf in shelves),
            "waiting": waiting,
            "checkouts": checkouts,
            "timeouts": tally.timeouts,
            "errors": tally.errors,
            "wait": {"count": tally.waits, "seconds": tally.waited, "longest": tally.longest_wait},
            "hold": {"count": checkouts - sum(slot.owner is not None for slot in slots), "seconds": held},
        }


def _endpoint(engine: Engine, endpoint: Any) -> dict[str, Any]:
    lag, position = endpoint.lag(), endpoint.position
    held = sum(len(stock.group.members(stock.shelf)) for stock in engine.stocks_at(endpoint))
    return {
        "role": endpoint.role,
        "state": endpoint.state,
        "lag_seconds": lag.seconds,
        "lag_bytes": lag.octets,
        "timeline": position.timeline if position else None,
        "connections": held,
        "connects": endpoint.connects,
        "last_error": endpoint.last_failure.text if endpoint.last_failure else None,
    }
