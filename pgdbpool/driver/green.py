"""gevent: psycopg2 waits in C, where it would hold up every greenlet, unless it is given a way to wait by."""

from __future__ import annotations

import sys
from typing import Any

import psycopg2
from psycopg2 import extensions


def cooperate() -> None:
    """Have psycopg2 wait by gevent's hub where gevent has patched sockets, unless the application has seen to it.

    Under it psycopg2 refuses COPY and large objects (psycopg2's documentation, "Support for coroutine libraries").
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("socket") and extensions.get_wait_callback() is None:
        extensions.set_wait_callback(_wait)


def _wait(raw: Any) -> None:
    from gevent.socket import wait_read, wait_write

    while (state := extensions.connection.poll(raw)) != extensions.POLL_OK:
        if state == extensions.POLL_READ:
            wait_read(extensions.connection.fileno(raw))
        elif state == extensions.POLL_WRITE:
            wait_write(extensions.connection.fileno(raw))
        else:
            raise psycopg2.OperationalError(f"psycopg2 is in state {state}, which has no way on")
