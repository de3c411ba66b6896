"""How many connections a server gives to this role."""

from __future__ import annotations

from pgdbpool.driver.session import Session

# Since PostgreSQL 16 some are reserved for pg_use_reserved_connections, too (manual, 20.3). -1 stands for no limit.
_ASKED = """
SET LOCAL statement_timeout = 1000;
SELECT pg_catalog.concat_ws(' ', pg_catalog.current_setting('max_connections')::int
  - pg_catalog.current_setting('superuser_reserved_connections')::int
  - coalesce(pg_catalog.current_setting('reserved_connections', true), '0')::int,
  (SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
  (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
"""


def capacity(session: Session, limit: float) -> int:
    """``max_connections`` less what is reserved, or the limit of the role or the database. Raises as ``Session.ask``."""
    [(said,)] = session.ask(_ASKED, None, limit)
    return min(number for number in map(int, said.split()) if number >= 0)
