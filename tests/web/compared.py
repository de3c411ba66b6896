"""The same numbers as PostgreSQL has them, as ``/stats.json`` shows them, and as ``/metrics`` does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.several import Replicas
from tests.web.crowd import Scene, Service

# A session that waits for a lock may be blocked by several: by who has it, and by who is before it in the line.
_SESSIONS = """
SELECT pg_is_in_recovery(), pid, substring(application_name FROM 10), state,
  CASE WHEN state = 'active' THEN wait_event_type || ': ' || wait_event END,
  CASE WHEN wait_event_type = 'Lock' THEN pg_blocking_pids(pid) ELSE '{}' END
FROM pg_stat_activity WHERE application_name LIKE 'pgdbpool:%' AND application_name <> 'pgdbpool:monitor'
"""
Numbers = dict[str, Any]


class Observer:
    """A superuser's session on each server."""

    def __init__(self, cluster: Replicas) -> None:
        self._sessions = {
            label: server.admin(application_name="observer") for label, server in cluster.by_label.items()
        }

    def __enter__(self) -> Observer:
        return self

    def __exit__(self, *_: object) -> None:
        for session in self._sessions.values():
            session.close()

    def numbers(self, service: Service, scene: Scene) -> Numbers:
        """From what each server says of its sessions at this moment, and from what the requests were told by theirs."""
        pinned = {(one.server, one.backend): one.worker for one in scene.held}
        every, in_use = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        holders, roles = set(), {}
        for label, in_recovery, pid, group, state, waits_for, blockers in self._sessions_now():
            roles[label] = "standby" if in_recovery else "primary"
            every[group, label] += 1
            if state != "idle" or (label, pid) in pinned:
                in_use[group, label] += 1
                worker = pinned.get((label, pid))
                holders.add((worker, group, label, pid, state, waits_for, frozenset(blockers)))
        return {
            "workers": service.processes(),
            "connections": +every,
            "in_use": +in_use,
            "idle": every - in_use,
            "waiting": +Counter(one.group for one in scene.waiting),
            "checkouts": +service.given,
            "at_servers": _by_server(every),
            "roles": roles,
            "holders": holders,
        }

    def _sessions_now(self) -> Iterator[tuple[Any, ...]]:
        for label, session in self._sessions.items():
            with session.cursor() as cursor:
                cursor.execute(_SESSIONS)
                yield from ((label, *row) for row in cursor.fetchall())


def by_stats(stats: Numbers) -> Numbers:
    stocks = {
        (name, label): server for name, group in stats["groups"].items() for label, server in group["servers"].items()
    }
    holders = {
        (*(each[name] for name in ("worker", "group", "server", "backend_pid", "state", "waits_for")), _blockers(each))
        for each in stats["holders"]
    }
    connections = Counter({key: each["in_use"] + each["idle"] + each["cleaning"] for key, each in stocks.items()})
    return {
        "workers": {each["pid"] for each in stats["workers"]},
        "connections": +connections,
        **{
            name: +Counter({key: each[name] for key, each in stocks.items()})
            for name in ("in_use", "idle", "checkouts")
        },
        "waiting": +Counter({name: group["waiting"] for name, group in stats["groups"].items()}),
        "at_servers": {label: each["connections"] for label, each in stats["endpoints"].items()},
        "roles": {label: each["role"] for label, each in stats["endpoints"].items()},
        "holders": holders,
    }


def _blockers(holder: Numbers) -> frozenset[int]:
    return frozenset(each["pid"] for each in holder["blocked_by"])


def by_metrics(text: str) -> Numbers:
    """All but the holders, and of the workers the number."""
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(name: str, *labels: str, **chosen: str) -> Counter[Any]:
        mine = [each for each in samples if each.name == name and each.value and chosen.items() <= each.labels.items()]
        return Counter({tuple(each.labels[label] for label in labels): int(each.value) for each in mine})

    stock = ("db_client_connection_pool_name", "server_address")
    count, state = "db_client_connection_count", "db_client_connection_state"
    in_use, idle, cleaning = (of(count, *stock, **{state: value}) for value in ("used", "idle", "cleaning"))
    connections = in_use + idle + cleaning
    waiting = of("db_client_connection_pending_requests", "db_client_connection_pool_name")
    return {
        "workers": of("pgdbpool_workers")[()],
        "connections": connections,
        "in_use": in_use,
        "idle": idle,
        "waiting": Counter({group: number for (group,), number in waiting.items()}),
        "checkouts": of("pgdbpool_checkouts_total", *stock),
        "at_servers": _by_server(connections),
        "roles": dict(of("pgdbpool_server_role", "server_address", "role").keys()),
    }


def _by_server(connections: Counter[tuple[str, str]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for (_, label), number in connections.items():
        found[label] += number
    return dict(found)
