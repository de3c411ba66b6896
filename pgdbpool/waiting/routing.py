"""Which servers may serve whom: a pure function of the target, and of what is known of each server."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pgdbpool.waiting.lag import UNKNOWN, Lag

Role = Literal["unknown", "primary", "standby"]
Need = Literal["any", "primary", "read-write", "standby", "read-only", "prefer-standby"]

_WRITING = ("primary", "read-write")


@dataclass(frozen=True, slots=True)
class View:
    """What routing knows of one server.

    ``read_only``: its sessions refuse writes by default. ``there``: it was reached, and nothing speaks against it since;
    ``away``: it could not be; ``silent``: a probe is overdue; ``full``: it takes no further session.
    ``identity``: equal for two addresses of one server. ``fixed``: the role is configured, no promotion changes it.
    ``foreign``: it belongs to another cluster; ``fenced``: a primary whose time is over. ``lag``: None is an unknown one;
    ``lagging``: more than the group allows.
    """

    role: Role = "unknown"
    read_only: bool = False
    there: bool = False
    away: bool = False
    silent: bool = False
    full: bool = False
    drained: bool = False
    weight: float = 1.0
    identity: Hashable = None
    fixed: bool = False
    foreign: bool = False
    fenced: bool = False
    lag: Lag = UNKNOWN
    lagging: bool = False

    @property
    def unknown(self) -> bool:
        """Nobody has reached it yet, or tried to."""
        return not (self.there or self.away or self.silent or self.drained)


class Aim(NamedTuple):
    """Positions of servers.

    ``serve``: requests go there and wait for them. ``keep``: preferred by role, reached or not, so connections are kept
    open there. ``hope``: they may yet serve; when all of them have failed for good there is nothing to wait for.
    """

    serve: tuple[int, ...]
    keep: tuple[int, ...]
    hope: tuple[int, ...]


def needs(target: str, servers: int) -> tuple[Need, Need]:
    """What a group asks of a server: to begin with, and for what only reads; ``prefer-standby``: where no standby will do.

    With one server, ``auto`` takes it as it is: there is nothing to choose, and a write on a standby fails by its own error.
    """
    if target == "auto":
        return ("primary", "prefer-standby") if servers > 1 else ("any", "any")
    if target == "prefer-standby" and servers > 1:
        return "prefer-standby", "primary"
    return target, target  # type: ignore[return-value]


def aim(need: Need, views: Sequence[View]) -> Aim:
    """Where requests with this need go now."""
    ranks = {i: rank for i, view in enumerate(views) if (rank := _rank(need, view)) is not None}
    open_ = {i: rank for i, rank in ranks.items() if not views[i].drained}
    if need != "any":
        open_ = {i: rank for i, rank in open_.items() if not _is_twin(views[i], [views[j] for j in open_ if j < i])}
    fit = {i: rank for i, rank in open_.items() if not _is_late(need, views[i])}
    there = {i: rank for i, rank in fit.items() if views[i].there}
    # Of two that claim to be the primary only one is written to. Where nobody is there, whoever comes first will do.
    serve = _best(there)[: 1 if need in _WRITING else None] if there else tuple(fit)
    hope = tuple(i for i, view in enumerate(views) if i in ranks or _may_take_over(need, view, views))
    return Aim(serve, _best(open_), hope)


def _rank(need: Need, view: View) -> int | None:
    """0 is best; None: this server must not serve it. An unknown role may be the right one; weights are for reads."""
    if need != "any" and (view.foreign or view.fenced):
        return None
    if need == "any" or view.role == "unknown":
        fits = 0
    elif need == "prefer-standby":
        fits = 0 if view.role == "standby" else 1
    elif _fits(need, view):
        fits = 0
    else:
        return None
    return fits + 2 * (view.weight == 0 and need not in _WRITING)


def _fits(need: Need, view: View) -> bool:
    """libpq's words (manual, target_session_attrs)."""
    return {
        "primary": view.role == "primary",
        "standby": view.role == "standby",
        "read-write": view.role == "primary" and not view.read_only,
        "read-only": view.role == "standby" or view.read_only,
    }[need]


def _may_take_over(need: Need, view: View, views: Sequence[View]) -> bool:
    """Whether a promotion would let it serve: where there was a primary, its standbys are hope."""
    standby = view.role == "standby" and not (view.fixed or view.foreign)
    return standby and need in _WRITING and any(each.role == "primary" for each in views)


def _is_late(need: Need, view: View) -> bool:
    """Whether what it would answer is too old: a standby's, where a group looks at that at all."""
    return need != "any" and need not in _WRITING and view.role == "standby" and view.lagging


def lags(lag: Lag, seconds: float | None, octets: int | None, *, already: bool) -> bool:
    """Whether it is more than the limits allow (None: no limit). Who was ``already`` too late comes back at half of them."""
    ease = 0.5 if already else 1.0
    limits = ((lag.seconds, seconds), (lag.octets, octets))
    return any(limit is not None and (found is None or found > limit * ease) for found, limit in limits)


def _is_twin(view: View, earlier: Sequence[View]) -> bool:
    """Whether it is another address of a server that is reached by an earlier one."""
    return view.identity is not None and any(each.there and each.identity == view.identity for each in earlier)


def _best(ranks: dict[int, int]) -> tuple[int, ...]:
    return tuple(i for i, rank in ranks.items() if rank == min(ranks.values()))
