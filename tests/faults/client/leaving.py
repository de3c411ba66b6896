"""What a block that an exception ends leaves behind for the next user of the same session."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from tests.faults.client.link import Link
from tests.faults.client.peers import Peer, Setting, rows
from tests.faults.client.trying import by_admin, driver_of, said, tried

__all__ = ["leaving"]

# Of the server's side: what soils, and whether it is seen. The role is the last: it may do nothing more.
_KINDS = {
    "search_path": ("SET search_path = information_schema", "current_setting('search_path') = 'information_schema'"),
    "setting": ("SET custom.secret = 'mine'", "coalesce(current_setting('custom.secret', true), '') <> ''"),
    "temporary table": (
        "CREATE TEMPORARY TABLE left_over AS SELECT 1 AS a",
        "EXISTS (SELECT FROM pg_class WHERE relname = 'left_over' AND relnamespace = pg_my_temp_schema())",
    ),
    "advisory lock": (
        "SELECT pg_advisory_lock(pg_backend_pid())",
        "EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())",
    ),
    "LISTEN": ("LISTEN news", "EXISTS (SELECT FROM pg_listening_channels())"),
    "prepared statement": (
        "PREPARE left_plan AS SELECT 1",
        "EXISTS (SELECT FROM pg_prepared_statements WHERE name = 'left_plan')",
    ),
    "cursor": (
        "DECLARE left_cursor CURSOR WITH HOLD FOR SELECT 1",
        "EXISTS (SELECT FROM pg_cursors WHERE name = 'left_cursor')",
    ),
    "read-only default": (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "current_setting('default_transaction_read_only') = 'on'",
    ),
    "role": ("SET ROLE clerk", "current_user = 'clerk'"),
}
_SEEN = "SELECT " + ", ".join(f'{seen} AS "{kind}"' for kind, (_, seen) in _KINDS.items())
_DRIVERS = "driver's own side"
_ATTRIBUTES = ("encoding", "autocommit", "isolation_level", "readonly", "read_only", "cursor_factory", "row_factory")


class _Oops(Exception):
    """The application's own error."""


def leaving(peer: Peer, setting: Setting, link: Link, *, admin: Any, schema: str, **_: Any) -> list[list[Any]]:
    """In a pool of one: ten kinds of state and a row, not committed and committed, before the exception."""
    found = []
    for when, soil in (("not committed", _not_committed), ("committed, then raised", _committed)):
        fresh: Peer = type(peer)(setting)
        before = _drivers_side(fresh)
        ended = tried(soil, fresh, schema).error
        found.append([f"{when}: the exception", type(ended) is _Oops, said(ended)])
        found += [
            [f"{when}: {kind}", not seen, "is seen" if seen else "not seen"] for kind, seen in _left(fresh, before)
        ]
        fresh.close()
    [(kept,)] = by_admin(admin, f"SELECT count(*) FROM {schema}.entry")
    return [*found, ["not committed: the row", kept == 1, f"{kept} of the 2 rows are there"]]


def _not_committed(peer: Peer, schema: str) -> None:
    """As far as a transaction's block gives it; the driver's own side by a block of its own."""
    with suppress(_Oops), peer.checkout() as connection:
        _soil_driver(driver_of(connection))
        raise _Oops
    with peer.transaction() as run:
        run(f"INSERT INTO {schema}.entry VALUES ('not committed')")
        for text, _ in _KINDS.values():
            run(text)
        raise _Oops


def _committed(peer: Peer, schema: str) -> None:
    with peer.checkout() as connection:
        rows(connection, f"INSERT INTO {schema}.entry VALUES ('committed')")
        for text, _ in _KINDS.values():
            rows(connection, text)
        connection.commit()
        _soil_driver(driver_of(connection))
        raise _Oops


def _soil_driver(connection: Any) -> None:
    """psycopg2's, or psycopg's."""
    if hasattr(connection, "set_client_encoding"):
        from psycopg2.extras import DictCursor

        connection.set_client_encoding("LATIN1")
        connection.cursor_factory = DictCursor
    else:
        from psycopg.rows import dict_row

        connection.execute("SET client_encoding TO latin1")
        connection.row_factory = dict_row
    connection.isolation_level = 3  # repeatable read, by either


def _drivers_side(peer: Peer) -> list[Any]:
    with peer.checkout() as connection:
        driver = driver_of(connection)
        encoding = driver.info.parameter_status("client_encoding")
        return [encoding, *(getattr(driver, name, None) for name in _ATTRIBUTES)]


def _left(peer: Peer, before: list[Any]) -> list[tuple[str, bool]]:
    """Each kind, and whether the next user sees it."""
    drivers = _drivers_side(peer) != before
    with peer.checkout() as connection, driver_of(connection).cursor() as cursor:
        cursor.execute(_SEEN)
        found = cursor.fetchone()
        values = list(found.values()) if isinstance(found, dict) else list(found)
    return [*zip(_KINDS, values, strict=True), (_DRIVERS, drivers)]
