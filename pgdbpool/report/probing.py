"""``check()``: ask every endpoint now."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from pgdbpool.driver.failures import understand
from pgdbpool.driver.opening import open_session
from pgdbpool.engine import forking
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.engine import Engine

_PATIENCE = 3.0


def check(engine: Engine) -> dict[str, dict[str, Any]]:
    """Per label: ``ok``, ``role``, ``server_version``, ``round_trip`` in seconds, ``error``; on a connection of its own."""
    return {endpoint.label: _asked(engine, endpoint) for endpoint in engine.endpoints}


def _asked(engine: Engine, endpoint: Endpoint) -> dict[str, Any]:
    answer: dict[str, Any] = {"ok": False, "role": None, "server_version": None, "round_trip": None, "error": None}
    try:
        with forking.connecting():
            session = open_session(endpoint.options, engine.probing_options(), endpoint.quirks)
    except Exception as error:
        return answer | {"error": understand(error).text}
    with engine.watched(session):
        try:
            before = perf_counter()
            session.ask_role(_PATIENCE)
            round_trip = perf_counter() - before
        except Exception as error:
            return answer | {"error": session.cut or understand(error).text}
        version = session.raw.info.parameter_status("server_version")
    role = "standby" if session.in_recovery else "primary"
    return {"ok": True, "role": role, "server_version": version, "round_trip": round_trip, "error": None}
