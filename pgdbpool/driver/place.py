"""Where a server is: asked of the resolver, and of the network."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

from pgdbpool.config import EndpointOptions
from pgdbpool.config.address import read_dsn

_PATIENCE = 0.3  # seconds that a handshake may take


def _place(endpoint: EndpointOptions) -> tuple[str, int]:
    """Host and port as libpq finds them; an empty host where only libpq knows."""
    words: dict[str, Any] = {**read_dsn(endpoint.dsn)[0], **endpoint.libpq}
    said = [words.get("hostaddr"), endpoint.host, words.get("host"), *map(os.environ.get, ("PGHOSTADDR", "PGHOST"))]
    port = endpoint.port or words.get("port") or os.environ.get("PGPORT") or 5432
    return next(filter(None, said), ""), int(port)


def is_named(endpoint: EndpointOptions) -> bool:
    """Whether its address comes from a name, and so may change."""
    host = _place(endpoint)[0]
    if not host or host.startswith(("/", "@")):
        return False
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return True
    return False


def addresses(endpoint: EndpointOptions) -> set[str]:
    """What its name resolves to now; nothing where that cannot be told. May block as long as the resolver does."""
    host, port = _place(endpoint)
    with suppress(OSError, UnicodeError):
        return {str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return set()


def listens(endpoint: EndpointOptions) -> bool:
    """Whether anybody accepts connections there: a handshake and nothing more, which PostgreSQL does not even log."""
    host, port = _place(endpoint)
    with suppress(OSError, UnicodeError):
        if host.startswith("/"):
            with socket.socket(socket.AF_UNIX) as knock:
                knock.settimeout(_PATIENCE)
                knock.connect(f"{host}/.s.PGSQL.{port}")
        else:
            socket.create_connection((host, port), _PATIENCE).close()
        return bool(host)
    return False


def peer(connected: socket.socket) -> str:
    """The address at the other end; empty for a Unix socket."""
    return str(connected.getpeername()[0]) if connected.family in (socket.AF_INET, socket.AF_INET6) else ""
