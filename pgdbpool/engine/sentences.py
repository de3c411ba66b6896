"""The errors of a wait that ended without a connection: what was waited for, how long, who holds them, what the server says."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import describe, where_now
from pgdbpool.errors import DBOfflineError, NestedCheckout, PoolClosed, PoolError, PoolTimeout, TooManyRequests
from pgdbpool.waiting import BORROWED, Slot

__all__ = ["explained", "holders"]

_SHOWN = 8  # holders named in a message


def explained(group: Group, reason: BaseException | None, waited: float) -> PoolError:
    """The error to raise; ``reason`` is None when time ran out, a PoolError of the right class, or a connect error."""
    endpoints: list[Endpoint] = [shelf.source for shelf in group.shelves]
    if isinstance(reason, PoolClosed):
        return PoolClosed(f"group {group.name!r}: the pool is closed")
    if isinstance(reason, NestedCheckout):
        return NestedCheckout(
            f"group {group.name!r}: this thread holds all {_capacity(group)} connections itself and would wait for ever; "
            f"pass the one it has on, or raise connection_count. {_held(group)}"
        )
    if isinstance(reason, TooManyRequests):
        return TooManyRequests(f"group {group.name!r}: max_waiting requests wait already. {_state(group, endpoints)}")
    if reason is not None or not any(_usable(shelf) for shelf in group.shelves):
        return _offline(group, endpoints, reason, waited)
    return PoolTimeout(
        f"group {group.name!r}: no connection within {waited:.2f} s, all {_capacity(group)} are busy. "
        f"{_state(group, endpoints)}"
    )


def _offline(group: Group, endpoints: list[Endpoint], reason: BaseException | None, waited: float) -> PoolError:
    error = DBOfflineError(
        f"group {group.name!r}: no server is usable (waited {waited:.2f} s). {_state(group, endpoints)}"
    )
    error.__cause__ = reason or next((each.last_error for each in endpoints if each.last_error), None)
    return error


def _usable(shelf: object) -> bool:
    endpoint: Endpoint = shelf.source  # type: ignore[attr-defined]
    return endpoint.health == "up" or (endpoint.health != "unknown" and bool(shelf.members))  # type: ignore[attr-defined]


def _capacity(group: Group) -> int:
    return sum(shelf.capacity for shelf in group.shelves)


def _state(group: Group, endpoints: list[Endpoint]) -> str:
    servers = "; ".join(endpoint.describe() for endpoint in endpoints)
    return f"{_held(group)} {group.waiting()} waiting. Server: {servers}"


def _held(group: Group) -> str:
    lines = holders([slot for slot in group.members() if slot.state is BORROWED])
    if not lines:
        return "Nobody holds one."
    more = f", and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"Held: {', '.join(lines[:_SHOWN])}{more}."


def holders(slots: Sequence[Slot]) -> list[str]:
    """``for 3.2 s by shop.py:42 (order) in Thread-7``, longest first."""
    now = monotonic()
    lines = []
    for slot in sorted(slots, key=lambda each: each.since):
        owner = slot.owner
        if owner is not None:
            place = describe(slot.place or where_now(owner))
            lines.append(f"for {now - slot.since:.1f} s by {place} in {owner.name}")
    return lines
