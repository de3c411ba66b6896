"""Figures as ``stats.json`` has them, for what a real pool does not get into within seconds."""

from __future__ import annotations

from time import time
from typing import Any

POINTS = 180
UP = {"state": "up", "states": {"up": 1}, "timeline": 1}


def quiet(groups: int = 1, servers: int = 3) -> dict[str, Any]:
    """Those of a pool in which nothing is wrong."""
    now, labels = time(), [f"db{number}:5432" for number in range(1, servers + 1)]
    names = ["web", "reports", "mail", "search"][:groups]
    return {
        "format": 1,
        "at": now,
        "pool": "ready",
        "alone": None,
        "workers": [{"id": "1", "pid": 4711, "started": now - 3600, "at": now}],
        "groups": {name: group(labels) for name in names},
        "endpoints": {label: endpoint("standby" if number else "primary") for number, label in enumerate(labels)},
        "holders": [],
        "events": [],
        "history": {"step": 5, "end": int(now) // 5 * 5, "groups": {name: past() for name in names}},
        "advice": [],
    }


def timing(p50: float = 0.002) -> dict[str, Any]:
    return {"count": 900, "seconds": 2.5, "longest": 1.5, "p50": p50, "p95": p50 * 3, "p99": p50 * 9, "rate": 90.0}


def group(labels: list[str]) -> dict[str, Any]:
    gauges = {"connection_count": 8, "in_use": 3, "idle": 5, "cleaning": 0, "opening": 0}
    gauges = {**gauges, "checkouts": 900, "reads": 400}
    server = {**gauges, "hold": timing(), "statement": timing()}
    total = {name: number * len(labels) for name, number in gauges.items()}
    waits = {"waiting": 0, "waiting_for": 0.0, "timeouts": 0, "errors": 0, "unserved": None}
    times = {"wait": timing(0.0), "hold": timing(), "statement": timing()}
    return {**total, **waits, **times, "servers": {label: dict(server) for label in labels}}


def endpoint(role: str) -> dict[str, Any]:
    lag = {"lag_seconds": 0.02 if role == "standby" else None, "lag_bytes": 4096 if role == "standby" else None}
    connects = {"connections": 8, "share": 0.33, "connects": 9, "connect_errors": 0, "last_error": None}
    return {"role": role, **UP, **lag, **connects, "connect": timing(0.004)}


def past() -> dict[str, list[Any]]:
    gauges = {"in_use": 9, "idle": 15, "waiting": 0, "wait_p95": 0.001, "hold_p95": 0.006}
    return {name: [value] * POINTS for name, value in gauges.items()}


def holder(seconds: float, pid: int = 4242, **more: Any) -> dict[str, Any]:
    where = {"worker": 4711, "group": "web", "server": "db1:5432", "backend_pid": pid, "thread": "Thread-7"}
    code = {"taken": "/srv/app/shop/store.py:42 (order)", "now": "/srv/app/shop/mail.py:17 (send)"}
    said = {"state": "active", "state_seconds": seconds, "waits_for": None, "blocked_by": []}
    return {**where, **code, **said, "seconds": seconds, **more}


def event(kind: str, about: str, text: str, ago: float = 10.0) -> dict[str, Any]:
    return {"at": time() - ago, "kind": kind, "about": about, "text": text, "workers": 2}


def bad_night() -> dict[str, Any]:
    """Everything at once, and with long names: what may be too wide, too pale or too much."""
    stats = quiet(groups=2)
    web = stats["groups"]["web"]
    web.update(in_use=24, idle=0, waiting=5, waiting_for=0.8, timeouts=3, errors=1)
    for server in web["servers"].values():
        server.update(in_use=8, idle=0)
    away = 'connection to server at "10.0.0.3", port 5432 failed: Connection refused\n\tIs the server running there?'
    stats["endpoints"]["db2:5432"].update(lag_seconds=31.0, lag_bytes=31_000_000)
    stats["endpoints"]["db3:5432"].update(state="down", role="unknown", last_error=away, connect_errors=31)
    by = {"pid": 4242, "who": "pgdbpool:web", "place": "/srv/app/shop/store.py:42 (order)"}
    stats["holders"] = [
        holder(31.8, state="idle in transaction"),
        holder(12.1, 4243, waits_for="Lock: transactionid", blocked_by=[by]),
        holder(0.4, 4244, taken=None, now="/srv/" + "a_rather_long_folder_name/" * 6 + "file.py:1 (f)", state=None),
    ]
    stats["events"] = [
        event("promotion", "", "a standby was promoted: the cluster is on timeline 2 now", 300.0),
        event("back", "db1:5432", "back after 60.1 s", 200.0),
        event("drain", "db1:5432", "drained", 100.0),
        event("hold", "web", "held for more than 30 s; borrowed at /srv/app/shop/store.py:42 (order)", 20.0),
        event("down", "db3:5432", "cannot connect: Connection refused"),
    ]
    stats["advice"] = ["group 'web': connection_count 6 in place of 4 would leave less than 1 % waiting (Erlang C)"]
    stats["alone"] = "stats_dir /run/pgdbpool cannot be written: Permission denied"
    return stats
