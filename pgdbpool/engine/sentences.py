"""The errors of a wait that ended without a connection: what was waited for, how long, who holds them, what the server says."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic

from pgdbpool.engine.endpoint import Endpoint, latest_error
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import describe, where_now
from pgdbpool.errors import DBOfflineError, NestedCheckout, PoolClosed, PoolError, PoolTimeout, TooManyRequests
from pgdbpool.waiting import Route, Shelf, Slot

_SHOWN = 8  # holders named in a message

_USES = {
    "any": "",
    "primary": " as primary",
    "read-write": " for writing",
    "standby": " as standby",
    "read-only": " as a read-only one",
    "prefer-standby": " for reading",
}


def explained(group: Group, route: Route, reason: BaseException | None, waited: float) -> PoolError:
    """The error to raise; ``reason`` is None when time ran out, a PoolError of the right class, or a connect error."""
    start = f"group {group.name!r}:"
    if isinstance(reason, PoolClosed):
        return PoolClosed(f"{start} the pool is closed")
    held = _held(group)
    capacity = sum(shelf.capacity for shelf in route.shelves)
    if isinstance(reason, NestedCheckout):
        instead = "would wait for ever; pass the one it has on, or raise connection_count"
        return NestedCheckout(f"{start} this thread holds all {capacity} connections itself and {instead}. {held}")
    endpoints: list[Endpoint] = [shelf.source for shelf in group.shelves]
    servers = f"Server{'s' if len(endpoints) > 1 else ''}: {'; '.join(each.describe() for each in endpoints)}"
    state = f"{held} {group.waiting()} waiting. {servers}"
    if isinstance(reason, TooManyRequests):
        return TooManyRequests(f"{start} turned away, max_waiting is reached. {state}")
    if reason is None and any(map(_usable, route.shelves)):
        lent = len(holders(group.members(*route.shelves)))
        return PoolTimeout(f"{start} no connection within {waited:.2f} s, {lent} of {capacity} are held. {state}")
    error = DBOfflineError(f"{start} no server is usable{_USES[route.need]} (waited {waited:.2f} s). {state}")
    error.__cause__ = reason or latest_error(shelf.source for shelf in route.hope)
    return error


def _usable(shelf: Shelf) -> bool:
    endpoint: Endpoint = shelf.source
    if endpoint.drained or endpoint.health in ("up", "full"):
        return not endpoint.drained
    answered = endpoint.answered_at is None or endpoint.answers(monotonic())
    may_serve = bool(shelf.members) or endpoint.health == "unknown"
    return answered and may_serve and not all(slot.resource.has_news() for slot in shelf.members)


def _held(group: Group) -> str:
    lines = holders(group.members())
    if not lines:
        return "Nobody holds one."
    more = f", and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
    return f"Held: {', '.join(lines[:_SHOWN])}{more}."


def holders(slots: Sequence[Slot]) -> list[str]:
    """``for 3.2 s by shop.py:42 (order) in Thread-7``, of those that are borrowed, longest first."""
    now = monotonic()
    lines = []
    for slot in sorted(slots, key=lambda each: each.since):
        owner = slot.owner
        if owner is not None:
            place = describe(slot.place or where_now(owner))
            lines.append(f"for {now - slot.since:.1f} s by {place} in {owner.name}")
    return lines
