"""``/metrics``: the figures as Prometheus reads them, under OpenTelemetry's names where it has one (``doc/metrics.md``)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from itertools import accumulate, product
from typing import Any, get_args

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.utils import floatToGoString

from pgdbpool.engine.endpoint import Health
from pgdbpool.waiting import EDGES, Role

# Those that OpenTelemetry advises for the duration of operations.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
# The last of our own buckets below each: every bound is an edge of one, so what is counted is exact.
_LAST = {floatToGoString(bound): EDGES.index(bound) for bound in BOUNDS}

_GROUP, _SERVER = "db_client_connection_pool_name", "server_address"
_BOTH = (_GROUP, _SERVER)
_CONNECTION_STATES = {"idle": "idle", "used": "in_use", "cleaning": "cleaning"}
_THERE = ("up", "full")
_SERVER_STATES = (*get_args(Health), "drained", "foreign", "fenced")

Figures = Mapping[str, Any]


def exposition(figures: Figures, accept: str) -> tuple[bytes, str]:
    """The text and its content type, in the format that the Accept header asks for."""
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # it compares versions that are none
        encode, content_type = choose_encoder("")
    registry = CollectorRegistry()
    registry.register(_Collector(figures))
    return encode(registry), content_type


class _Collector:
    """The figures of one moment, as ``prometheus_client`` wants them."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures
        self._groups: dict[str, Any] = figures["groups"]
        self._endpoints: dict[str, Any] = figures["endpoints"]
        self._stocks = {
            (name, label): server for name, group in self._groups.items() for label, server in group["servers"].items()
        }

    def collect(self) -> Iterator[Any]:
        yield from self._of_pool()
        yield from self._of_groups()
        yield from self._of_stocks()
        yield from self._of_endpoints()

    def _of_pool(self) -> Iterator[Any]:
        alone, served = self._figures["alone"], {(name,): is_served(group) for name, group in self._groups.items()}
        yield _gauge("pgdbpool_ready", "Whether a group can be served.", (), {(): any(served.values())})
        yield _gauge("pgdbpool_workers", "Worker processes in these figures.", (), {(): len(self._figures["workers"])})
        text = "Whether all workers of the host are in these figures, and not only the one that answered."
        yield _gauge("pgdbpool_workers_summed", text, (), {(): alone is None})
        yield _gauge("pgdbpool_servable", "Whether a worker can serve the group now.", [_GROUP], served)

    def _of_groups(self) -> Iterator[Any]:
        groups = {(name,): group for name, group in self._groups.items()}
        text = "The number of current pending requests for an open connection."
        yield _gauge("db_client_connection_pending_requests", text, [_GROUP], _each(groups, "waiting"))
        text = "For how long the first of the pending requests has waited."
        yield _gauge("pgdbpool_longest_pending_seconds", text, [_GROUP], _each(groups, "waiting_for"))
        text = "The number of connection timeouts that have occurred trying to obtain a connection from the pool."
        yield _counter("db_client_connection_timeouts", text, [_GROUP], _each(groups, "timeouts"))
        text = "Requests for a connection that failed by something else than time."
        yield _counter("pgdbpool_errors", text, [_GROUP], _each(groups, "errors"))
        text = "For how long the connections that are in use now have been held: the longest of them."
        yield _gauge("pgdbpool_longest_held_seconds", text, [_GROUP], _each(groups, "held_for"))
        text = "The time it took to obtain an open connection from the pool."
        waits = {key: (group["wait"], _at_once(group)) for key, group in groups.items()}
        yield _histogram("db_client_connection_wait_time", text, [_GROUP], waits)

    def _of_stocks(self) -> Iterator[Any]:
        """What a group keeps at a server."""
        stocks = self._stocks
        # Its type is a gauge's; but a gauge named _count is what promtool's linter rejects, and the name is prescribed.
        count = UnknownMetricFamily(
            "db_client_connection_count",
            "The number of connections that are currently in state described by the state attribute.",
            labels=[*_BOTH, "db_client_connection_state"],
        )
        for (key, server), (state, name) in product(stocks.items(), _CONNECTION_STATES.items()):
            count.add_metric([*key, state], server[name])
        yield count
        text = "Connections that are being opened."
        yield _gauge("pgdbpool_connections_opening", text, _BOTH, _each(stocks, "opening"))
        text = "The maximum number of open connections allowed."
        yield _gauge("db_client_connection_max", text, _BOTH, _each(stocks, "connection_count"))
        text = "The maximum number of idle open connections allowed."
        yield _gauge("db_client_connection_idle_max", text, _BOTH, _each(stocks, "connection_count"))
        text = "The minimum number of idle open connections allowed."
        yield _gauge("db_client_connection_idle_min", text, _BOTH, _each(stocks, "minimum"))
        yield _counter("pgdbpool_checkouts", "Connections handed out.", _BOTH, _each(stocks, "checkouts"))
        text = "Connections handed out for reading only, where the group tells reads from writes."
        yield _counter("pgdbpool_reads", text, _BOTH, _each(stocks, "reads"))
        text = "The time between borrowing a connection and returning it to the pool."
        held = {key: (server["hold"], 0) for key, server in stocks.items()}
        yield _histogram("db_client_connection_use_time", text, _BOTH, held)
        labels = ("db_system_name", *_BOTH)
        statements = {("postgresql", *key): (server["statement"], 0) for key, server in stocks.items()}
        yield _histogram("db_client_operation_duration", "Duration of database client operations.", labels, statements)

    def _of_endpoints(self) -> Iterator[Any]:
        servers = {(label,): endpoint for label, endpoint in self._endpoints.items()}
        up = {key: each["state"] in _THERE for key, each in servers.items()}
        yield _gauge("pgdbpool_server_up", "Whether the server answers.", [_SERVER], up)
        text = "1 for the state that the server is in: what most workers say."
        yield _gauge("pgdbpool_server_state", text, [_SERVER, "state"], _one_of(servers, "state", _SERVER_STATES))
        text = "1 for the role that the server has."
        yield _gauge("pgdbpool_server_role", text, [_SERVER, "role"], _one_of(servers, "role", get_args(Role)))
        text = "How far the standby's data are behind the primary's: what the slowest worker says."
        yield _gauge("pgdbpool_server_lag_seconds", text, [_SERVER], _each(servers, "lag_seconds"))
        text = "How many bytes of WAL the standby has not replayed yet."
        yield _gauge("pgdbpool_server_lag_bytes", text, [_SERVER], _each(servers, "lag_bytes"))
        yield _gauge("pgdbpool_server_timeline", "The server's timeline.", [_SERVER], _each(servers, "timeline"))
        text = "Attempts to connect that failed."
        yield _counter("pgdbpool_connect_errors", text, [_SERVER], _each(servers, "connect_errors"))
        text = "The time it took to create a new connection."
        connects = {key: (each["connect"], 0) for key, each in servers.items()}
        yield _histogram("db_client_connection_create_time", text, [_SERVER], connects)


def is_served(group: Figures) -> bool:
    """Whether some worker can serve it now."""
    return group["unserved"] is None


Samples = Mapping[Any, Any]  # values, or what has them, by label values


def _each(of: Samples, name: str) -> Samples:
    """One of their figures; not of those where it is not known."""
    return {key: each[name] for key, each in of.items() if each[name] is not None}


def _one_of(of: Samples, name: str, values: tuple[str, ...]) -> Samples:
    """1 for the one that it is, 0 for all others, so that no series ends when it changes."""
    return {(*key, value): each[name] == value for (key, each), value in product(of.items(), values)}


def _at_once(group: Figures) -> int:
    """How many got a connection without waiting: they are not in the group's measured waits."""
    return sum(int(server["checkouts"]) for server in group["servers"].values()) - int(group["waits"])


def _gauge(name: str, text: str, labels: Any, samples: Samples) -> Any:
    return _filled(GaugeMetricFamily(name, text, labels=labels), samples)


def _counter(name: str, text: str, labels: Any, samples: Samples) -> Any:
    return _filled(CounterMetricFamily(name, text, labels=labels), samples)


def _filled(family: Any, samples: Samples) -> Any:
    for key, value in samples.items():
        family.add_metric(key, value)
    return family


def _histogram(name: str, text: str, labels: Any, samples: Samples) -> Any:
    """Of pairs: what was measured, and how many more took no time."""
    family = HistogramMetricFamily(name, text, labels=labels, unit="seconds")
    for key, (timing, at_once) in samples.items():
        # The sum of several workers' seconds depends by a hair on their order, and must never seem to go down.
        family.add_metric(key, _buckets(timing["buckets"], at_once), round(timing["seconds"], 6))
    return family


def _buckets(counts: Mapping[str, int], at_once: int) -> list[tuple[str, int]]:
    """For each bound, how many did not exceed it."""
    numbers = sorted(map(int, counts))
    sums = [*accumulate((counts[str(number)] for number in numbers), initial=at_once)]
    return [(bound, sums[bisect_right(numbers, last)]) for bound, last in _LAST.items()] + [("+Inf", sums[-1])]
