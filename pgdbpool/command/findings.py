"""What is going on, in plain words, the worst first: the rules and sentences of ``web/page/findings.js``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from pgdbpool.command.words import count, listed, many, octets, place, reason, seconds

LEVELS = ("bad", "warn", "note", "good")
_NOTICED = 0.1  # seconds of waiting that are worth a word
_LONG = 0.5  # seconds of waiting that hurt
_IDLE_LONG = 10.0  # seconds idle in a transaction
_LAGS = 10.0  # seconds behind the primary

STATES = {
    "down": ("bad", "is down"),
    "failed": ("bad", "cannot be used"),
    "silent": ("bad", "does not answer"),
    "fenced": ("warn", "is fenced: a primary whose timeline has ended"),
    "foreign": ("warn", "belongs to another cluster"),
    "full": ("warn", "takes no further connections"),
    "unknown": ("warn", "has not been reached yet"),
    "drained": ("note", "is drained"),
}
_POOLS = {
    "none": "No pool has been made yet",
    "closed": "The pool is closed",
}

Figures = Mapping[str, Any]


class Finding(NamedTuple):
    level: str
    text: str


def findings(figures: Figures) -> list[Finding]:
    """At least one."""
    lost, waiting, servers = [*_no_primary(figures)], [*_waiting(figures)], [*_servers(figures)]
    found = [*_pool(figures), *_unserved(figures)]
    found += [*servers, *lost, *waiting] if lost else [*waiting, *servers]  # the cause first
    found += [*_blocked(figures), *_in_vain(figures), *_idle_in_transaction(figures), *_alone(figures), _calm(figures)]
    return sorted(found, key=lambda each: LEVELS.index(each.level))


def _pool(figures: Figures) -> Iterator[Finding]:
    if text := _POOLS.get(figures["pool"]):
        yield Finding("bad", text)


def _unserved(figures: Figures) -> Iterator[Finding]:
    for name, group in figures["groups"].items():
        if group["unserved"] is not None and figures["pool"] != "closed":
            yield Finding("bad", f"No server can serve {name} now")


def _waiting(figures: Figures) -> Iterator[Finding]:
    for name, group in figures["groups"].items():
        if group["waiting"] and group["waiting_for"] >= _NOTICED:
            one = group["waiting"] == 1
            text = f"{many(group['waiting'], 'request')} {'waits' if one else 'wait'} for a connection of {name}"
            text += f", {'' if one else 'the first '}for {seconds(group['waiting_for'])}"
            full = [label for label, server in group["servers"].items() if _is_full(server)]
            why = _because(group, full) + _longest(name, full, figures["holders"])
            yield Finding("warn" if group["waiting_for"] < _LONG else "bad", text + why)


def _is_full(server: Figures) -> bool:
    most = server["connection_count"]
    return bool(most and server["in_use"] + server["cleaning"] >= most)


def _because(group: Figures, full: list[str]) -> str:
    if full:
        everywhere = len(full) == len(group["servers"])
        most = sum(group["servers"][label]["connection_count"] for label in full)
        return f": all {count(most)}{'' if everywhere else f' to {listed(full)}'} are in use"
    if group["opening"]:
        return f": {count(group['opening'])} being opened"
    if group["idle"]:
        elsewhere = ", or on servers that may not serve them" if len(group["servers"]) > 1 else ""
        return f", though {count(group['idle'])} are idle: in other workers{elsewhere}"
    return ""


def _longest(name: str, full: list[str], holders: list[Any]) -> str:
    for each in holders:
        if each["group"] == name and (not full or each["server"] in full):
            return f"; longest held {seconds(each['seconds'])}{_at(each['taken'] or each['now'])}"
    return ""


def _at(where: str | None) -> str:
    return f" at {place(where)}" if where else ""


def _servers(figures: Figures) -> Iterator[Finding]:
    for label, each in figures["endpoints"].items():
        level, words = STATES.get(each["state"], ("", ""))
        if level:
            why = each["last_error"] if level == "bad" and each["state"] != "silent" else None
            yield Finding(level, f"{label} {words}" + (f": {reason(why)}" if why else ""))
        elif each["role"] == "standby" and (each["lag_seconds"] or 0) >= _LAGS:
            yield Finding("warn", f"{label} is {seconds(each['lag_seconds'])} ({octets(each['lag_bytes'])}) behind")


def _no_primary(figures: Figures) -> Iterator[Finding]:
    servers = list(figures["endpoints"].values())
    up = [each for each in servers if each["state"] in ("up", "full")]
    if len(servers) > 1 and len(up) < len(servers) and not any(each["role"] == "primary" for each in up):
        yield Finding("bad", "No primary is up: nothing can be written")


def _blocked(figures: Figures) -> Iterator[Finding]:
    behind: dict[tuple[str, int], list[Figures]] = defaultdict(list)
    for each in figures["holders"]:
        if each["blocked_by"]:
            behind[each["server"], each["blocked_by"][0]["pid"]].append(each)
    for (server, pid), waiters in behind.items():
        first = waiters[0]["blocked_by"][0]
        wait = "waits" if len(waiters) == 1 else "wait"
        text = f"{many(len(waiters), 'connection')} to {server} {wait} for a lock of {first['who']} (pid {pid})"
        yield Finding("warn", text + _at(first["place"]))


def _in_vain(figures: Figures) -> Iterator[Finding]:
    """During the last minute."""
    history = figures["history"]
    for name, lines in history["groups"].items():
        if number := sum(each or 0 for each in lines["timeouts"][-60 // history["step"] :]):
            text = f"{many(number, 'request')} waited for a connection of {name} in vain in the last minute"
            yield Finding("warn", text)


def _idle_in_transaction(figures: Figures) -> Iterator[Finding]:
    for each in figures["holders"]:
        if (each["state"] or "").startswith("idle in transaction") and (each["state_seconds"] or 0) >= _IDLE_LONG:
            idle = f"A transaction of {each['group']} has been idle for {seconds(each['state_seconds'])}"
            yield Finding("warn", idle + _at(each["taken"] or each["now"]))
            return


def _alone(figures: Figures) -> Iterator[Finding]:
    if figures.get("alone"):
        yield Finding("note", f"Figures of this worker only: {figures['alone']}")


def _calm(figures: Figures) -> Finding:
    groups = figures["groups"].values()
    used, most = (sum(each[name] for each in groups) for name in ("in_use", "connection_count"))
    return Finding("good", f"All is well: {count(used)} of {many(most, 'connection')} in use, nobody waits for long")
