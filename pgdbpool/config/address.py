"""Where an endpoint is: its DSN taken apart, and the label that follows. psycopg2's own messages echo the DSN."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from psycopg2 import ProgrammingError, extensions


def read_dsn(dsn: str | None) -> tuple[dict[str, Any], str]:
    """The DSN's keywords and values, empty ones omitted; and what is wrong with it, in words that hold no part of it."""
    try:
        parts = extensions.parse_dsn(dsn or "")
    except ProgrammingError as error:
        if "invalid connection option" in str(error) or "invalid URI query parameter" in str(error):
            return {}, "it has a keyword that this libpq does not know; allowed: libpq's parameter key words"
        return {}, "libpq cannot read it; allowed: a URI (postgresql://…) or a keyword string (host=… dbname=…)"
    if dsn and dsn.startswith(("postgresql://", "postgres://")) and _misread(dsn):
        return {}, "it has an @ too many; allowed: special characters of user and password as %40 and the like"
    return {word: value for word, value in parts.items() if value}, ""


def _misread(uri: str) -> bool:
    """Whether libpq, for which a bare @ or / ends the password, has taken a part of it for host or database."""
    authority, _, rest = uri.partition("://")[2].partition("/")
    return authority.count("@") > 1 or "@" in rest.partition("?")[0]


def default_label(host: str | None, port: int | None, words: Mapping[str, Any]) -> str:
    """``host:port`` as libpq resolves them: what is said, the service file, the environment, its defaults.

    ``words`` is what the DSN and ``libpq`` say. A service file is not read: the label then names the service.
    """
    said = host or words.get("host") or words.get("hostaddr")
    service = words.get("service") or os.environ.get("PGSERVICE")
    if service and not said:
        return f"service:{service}"
    where = said or os.environ.get("PGHOST") or os.environ.get("PGHOSTADDR") or "localhost"
    if ":" in where and not where.startswith("/"):
        where = f"[{where}]"
    return f"{where}:{port or words.get('port') or os.environ.get('PGPORT') or 5432}"
