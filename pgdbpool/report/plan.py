"""``explain()``: what a configuration amounts to, in plain words and numbers."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.driver.opening import keywords, statement_limit


def explain(options: PoolOptions, workers: int | None = None) -> str:
    """The plan, for ``workers`` processes: the argument, or else ``WEB_CONCURRENCY``, or else per process."""
    count = workers if workers is not None else _from_environment()
    lines = [f"{options.type}, {_counted(len(options.endpoints), 'server')}, {_counted(len(options.groups), 'group')}"]
    lines += _connections(options, count)
    for endpoint in options.endpoints:
        lines += _silence(options, endpoint)
    for group in options.groups.values():
        lines += [f"group {group.name!r}: {each}" for each in (*_group(group), *_never(options, group))]
    return "\n".join(lines)


def _from_environment() -> int | None:
    text = os.environ.get("WEB_CONCURRENCY", "")
    return int(text) if text.isdigit() and int(text) > 0 else None


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _connections(options: PoolOptions, workers: int | None) -> Iterator[str]:
    parts = [f"{group.connection_count} {group.name!r}" for group in options.groups.values()]
    most = sum(group.connection_count for group in options.groups.values())
    monitor = 0 if options.type == "non-threaded" else 1
    if monitor:
        parts.append("1 monitor")
    each = f"{' + '.join(parts)} = {most + monitor}"
    for endpoint in options.endpoints:
        if workers is None:
            yield f"{endpoint.label}: at most {each} connections per process; a host has that many for each worker"
        else:
            total = workers * (most + monitor)
            yield f"{endpoint.label}: at most {_counted(workers, 'worker')} × ({each}) = {total} connections"


def _silence(options: PoolOptions, endpoint: EndpointOptions) -> Iterator[str]:
    words = keywords(endpoint, next(iter(options.groups.values())))
    idle, interval, count = (int(words[f"keepalives_{word}"]) for word in ("idle", "interval", "count"))
    tcp = max(idle + interval * count, int(words["tcp_user_timeout"]) / 1000)
    if options.type == "non-threaded":
        yield f"{endpoint.label}: a silent server goes unnoticed for up to {tcp:g} s (TCP's own limits; nobody watches)"
    else:
        yield f"{endpoint.label}: a silent server is noticed within 5 s (three probes), a silent network within {tcp:g} s"


def _group(group: GroupOptions) -> Iterator[str]:
    count, minimum = group.connection_count, group.min_connections
    yield f"at most {count} connections to each server, {minimum} kept open; target {group.target}"
    line = f", at most {group.max_waiting} waiting" if group.max_waiting else ""
    yield f"a request waits up to {group.timeout:g} s for a connection, first come, first served{line}"
    for name, value in (("max_idle", group.max_idle), ("max_lifetime", group.max_lifetime)):
        if value:
            yield f"{name} {value:g} s" + (", spread over the last fifth" if name == "max_lifetime" else "")


def _never(options: PoolOptions, group: GroupOptions) -> Iterator[str]:
    """Limits that cannot be reached, because a shorter one stands in front of them."""
    if group.max_idle and group.max_lifetime and group.max_idle >= group.max_lifetime:
        yield f"max_idle {group.max_idle:g} s never fires: max_lifetime {group.max_lifetime:g} s comes first"
    if group.validate == "auto" and group.max_idle and group.ping_after >= group.max_idle and not group.min_connections:
        yield f"ping_after {group.ping_after:g} s never fires: max_idle {group.max_idle:g} s closes the connection before"
    for endpoint in options.endpoints:
        limit = statement_limit(endpoint, group)
        if not limit:
            yield f"{endpoint.label}: answers have no limit (query_timeout 0)"
        elif options.type == "non-threaded":
            yield f"{endpoint.label}: an answer may take {limit / 1000:g} s by the server's clock; nobody watches if it hangs"
        else:
            yield f"{endpoint.label}: an answer may take {limit / 1000:g} s, and {limit / 1000 + 1:g} s if the server hangs"
        if endpoint.connect_timeout > group.timeout > 0:
            yield (
                f"{endpoint.label}: connect_timeout {endpoint.connect_timeout:g} s never fires for a waiting request: "
                f"its timeout of {group.timeout:g} s comes first"
            )
        if limit and group.idle_in_transaction_timeout and group.hold_warning > group.idle_in_transaction_timeout:
            yield (
                f"{endpoint.label}: hold_warning {group.hold_warning:g} s never fires for an idle transaction: the server "
                f"ends it after idle_in_transaction_timeout {group.idle_in_transaction_timeout:g} s"
            )
