"""Which cluster is ours, and which of two primaries is the present one: pure decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgdbpool.waiting.routing import Role

_PATIENCE = 5.0  # seconds without any server of our cluster, after which another one may take its place


@dataclass(frozen=True, slots=True)
class Standing:
    """What one server says of itself, and how long it has been away (0: it is there).

    ``cluster`` is its system identifier (None: unknown, or configured not to matter), ``timeline`` that of its WAL.
    """

    role: Role = "unknown"
    cluster: str | None = None
    timeline: int = 0
    away: float = 0.0


@dataclass(frozen=True, slots=True)
class Ours:
    """``confirmed``: its primary was seen. ``timeline``: the highest one seen of it."""

    cluster: str | None = None
    timeline: int = 0
    confirmed: bool = False


def ours(known: Ours, servers: Sequence[Standing]) -> Ours:
    """The cluster that is ours, after what the servers say now.

    Whoever is there first counts until a primary is seen; from then on its cluster is kept as long as any of its servers
    answers, and it is given up for that of another primary when none has for some seconds, or when all its addresses
    belong to another cluster now (an upgrade, a restore).
    """
    primaries = [each for each in servers if each.cluster and each.role == "primary" and not each.away]
    there = [each for each in servers if each.cluster and not each.away]
    mine = [each for each in servers if known.cluster and each.cluster == known.cluster]
    kept = bool(mine) and any(each.away < _PATIENCE for each in mine)
    if not kept or not (known.confirmed or any(each.cluster == known.cluster for each in primaries)):
        successor = next(iter(primaries or ([] if mine else there)), None)
        if successor is not None and successor.cluster != known.cluster:
            known = Ours(successor.cluster)
    timelines = [each.timeline for each in servers if each.cluster == known.cluster and each.role == "primary"]
    confirmed = known.confirmed or any(each.cluster == known.cluster for each in primaries)
    return Ours(known.cluster, max(known.timeline, *timelines, 0), confirmed)


def is_foreign(known: Ours, server: Standing) -> bool:
    """Whether it belongs to another cluster than ours."""
    return None not in (known.cluster, server.cluster) and known.cluster != server.cluster


def is_fenced(known: Ours, server: Standing) -> bool:
    """Whether it claims to be the primary on a timeline that a promotion has ended: what is written there will be lost."""
    return server.role == "primary" and 0 < server.timeline < known.timeline and not is_foreign(known, server)
