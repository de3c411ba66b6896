"""What a configuration amounts to, in plain words and numbers: ``plan`` as data, ``explain`` as the text made of it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.driver.opening import keywords, statement_limit


def plan(options: PoolOptions, workers: int | None = None) -> dict[str, Any]:
    """JSON-serialisable; for ``workers`` processes: the argument, or else ``WEB_CONCURRENCY``, or else per process."""
    workers = workers if workers is not None else from_environment()
    connections = _connections(options, workers)
    return {
        "type": options.type,
        "workers": workers,
        "servers": {
            endpoint.label: {"connections": connections, "sentences": list(_server(options, endpoint))}
            for endpoint in options.endpoints
        },
        "groups": {
            name: {
                "connection_count": group.connection_count,
                "target": group.target,
                "sentences": [*_group(options, group), *_never(group)],
                "servers": {
                    each.label: [*_answers(options, each, group), *_never_at(each, group)] for each in options.endpoints
                },
            }
            for name, group in options.groups.items()
        },
    }


def explain(options: PoolOptions, workers: int | None = None) -> str:
    """The plan, line by line."""
    made = plan(options, workers)
    servers, groups = made["servers"], made["groups"]
    lines = [f"{made['type']}, {_counted(len(servers), 'server')}, {_counted(len(groups), 'group')}"]
    lines += [f"{label}: {_at_most(each['connections'], made['workers'])}" for label, each in servers.items()]
    lines += _together({label: each["sentences"] for label, each in servers.items()})
    for name, group in groups.items():
        lines += [f"group {name!r}: {each}" for each in (*group["sentences"], *_together(group["servers"]))]
    return "\n".join(lines)


def never(options: PoolOptions) -> list[str]:
    """Its lines that tell of limits which cannot be reached."""
    return [
        f"group {name!r}: {each}"
        for name, group in options.groups.items()
        for each in (*_never(group), *_together({at.label: _never_at(at, group) for at in options.endpoints}))
    ]


def _together(sentences: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """Each sentence once, after the labels of all servers that it is true of."""
    labels: dict[str, list[str]] = {}
    for label, said in sentences.items():
        for text in said:
            labels.setdefault(text, []).append(label)
    for text, those in labels.items():
        yield f"{', '.join(those)}: {text}"


def per_worker(options: PoolOptions) -> int:
    """The most connections that one process has to each server."""
    return int(_connections(options, None)["per_worker"])


def from_environment() -> int | None:
    """How many workers ``WEB_CONCURRENCY`` says that there are."""
    text = os.environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdecimal() and int(text) > 0 else None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _connections(options: PoolOptions, workers: int | None) -> dict[str, Any]:
    """The most that one server gets: from one worker, and from all of them where their number is known."""
    groups = {group.name: group.connection_count for group in options.groups.values()}
    monitor = int(options.type == "threaded")
    each = sum(groups.values()) + monitor
    total = None if workers is None else workers * each
    return {"groups": groups, "monitor": monitor, "per_worker": each, "total": total}


def _at_most(connections: Mapping[str, Any], workers: int | None) -> str:
    parts = [f"{count} {name!r}" for name, count in connections["groups"].items()]
    parts += ["1 monitor"] if connections["monitor"] else []
    each = f"{' + '.join(parts)} = {connections['per_worker']}"
    if workers is None:
        return f"at most {each} connections per process; a host has that many for each worker"
    return f"at most {_counted(workers, 'worker')} × ({each}) = {connections['total']} connections"


def _server(options: PoolOptions, endpoint: EndpointOptions) -> Iterator[str]:
    yield _silence(options, endpoint)
    if endpoint.role != "auto":
        yield f"counts as a {endpoint.role}, whatever it says of itself"
    if endpoint.weight == 0:
        yield "weight 0: serves reads only where no other server can"
    elif len({each.weight for each in options.endpoints}) > 1:
        yield f"weight {endpoint.weight:g}"


def _silence(options: PoolOptions, endpoint: EndpointOptions) -> str:
    words = keywords(endpoint, next(iter(options.groups.values())))
    idle, interval, count = (int(words[f"keepalives_{word}"]) for word in ("idle", "interval", "count"))
    tcp = max(idle + interval * count, int(words["tcp_user_timeout"]) / 1000)
    if options.type == "non-threaded":
        return f"a silent server goes unnoticed for up to {tcp:g} s (TCP's own limits; nobody watches)"
    return f"a silent server is noticed within 5 s (three probes), a silent network within {tcp:g} s"


# What a target means where there are several servers (contract, 5).
_TARGETS = {
    "auto": "query() of what only reads goes to a standby, or to the primary while none is there; all else to the primary",
    "any": "all servers serve, whatever their roles",
    "primary": "the primary serves; while there is none, requests wait",
    "read-write": "the primary serves, unless its sessions are read-only by default; while there is none, requests wait",
    "standby": "standbys serve; while there is none, requests wait",
    "read-only": "standbys serve, and servers whose sessions are read-only by default; while there is none, requests wait",
    "prefer-standby": "standbys serve; the primary while none is there",
}


def _group(options: PoolOptions, group: GroupOptions) -> Iterator[str]:
    count, minimum = group.connection_count, group.min_connections
    if options.dealt:
        yield f"{_counted(count, 'connection')} in all, dealt to the servers in turn"
    else:
        preferred = " that the target prefers" if len(options.endpoints) > 1 else ""
        yield f"at most {_counted(count, 'connection')} to each server, {minimum} kept open to each{preferred}"
    yield f"target {group.target}" + (f": {_TARGETS[group.target]}" if len(options.endpoints) > 1 else "")
    yield from _lag(options, group)
    line = f", at most {group.max_waiting} waiting" if group.max_waiting else ""
    yield f"a request waits up to {group.timeout:g} s for a connection, first come, first served{line}"
    for name, value in (("max_idle", group.max_idle), ("max_lifetime", group.max_lifetime)):
        if value:
            yield f"{name} {value:g} s" + (", spread over the last fifth" if name == "max_lifetime" else "")


def _lag(options: PoolOptions, group: GroupOptions) -> Iterator[str]:
    """From which standbys it does not read."""
    if len(options.endpoints) == 1 or not group.reads_standbys:
        return
    limits = [f"{group.max_lag:g} s"] if group.max_lag is not None else []
    limits += [f"{group.max_lag_bytes} bytes of WAL"] if group.max_lag_bytes is not None else []
    if limits:
        yield f"a standby more than {' or '.join(limits)} behind serves no reads"
    else:
        yield "a standby serves reads however far it is behind (max_lag None)"


def _never(group: GroupOptions) -> Iterator[str]:
    """Limits that cannot be reached, because a shorter one stands in front of them."""
    if group.max_idle and group.max_lifetime and group.max_idle >= group.max_lifetime:
        yield f"max_idle {group.max_idle:g} s never fires: max_lifetime {group.max_lifetime:g} s comes first"
    if group.validate == "auto" and group.max_idle and group.ping_after >= group.max_idle and not group.min_connections:
        yield f"ping_after {group.ping_after:g} s never fires: max_idle {group.max_idle:g} s closes the connection before"


def _answers(options: PoolOptions, endpoint: EndpointOptions, group: GroupOptions) -> Iterator[str]:
    limit = statement_limit(endpoint, group) / 1000
    if not limit:
        yield "answers have no limit (query_timeout 0)"
    elif options.type == "non-threaded":
        yield f"an answer may take {limit:g} s by the server's clock; nobody watches if it hangs"
    else:
        yield f"an answer may take {limit:g} s, and {limit + 1:g} s if the server hangs"


def _never_at(endpoint: EndpointOptions, group: GroupOptions) -> Iterator[str]:
    """The same of limits that depend on the server."""
    if endpoint.connect_timeout > group.timeout > 0:
        first = f"its timeout of {group.timeout:g} s comes first"
        yield f"connect_timeout {endpoint.connect_timeout:g} s never fires for a waiting request: {first}"
    limit = statement_limit(endpoint, group)
    if limit and group.idle_in_transaction_timeout and group.hold_warning > group.idle_in_transaction_timeout:
        first = f"the server ends it after idle_in_transaction_timeout {group.idle_in_transaction_timeout:g} s"
        yield f"hold_warning {group.hold_warning:g} s never fires for an idle transaction: {first}"
