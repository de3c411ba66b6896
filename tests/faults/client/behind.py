"""A pool behind a proxy of its own, for scripts that decide themselves when it strikes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from tests.faults.client.peers import Peer, Setting
from tests.faults.proxy import Proxy

__all__ = ["behind_proxy", "hung_after"]

_GRACE = 0.5  # seconds


@contextmanager
def behind_proxy(peer: Peer, setting: Setting) -> Iterator[tuple[Peer, Proxy]]:
    """Another pool like this one. It is not closed: what hangs in it may not let it."""
    place = setting.place
    with Proxy(place["host"], int(place["port"])) as proxy:
        yield type(peer)(replace(setting, place={**place, "host": "127.0.0.1", "port": proxy.port})), proxy


def hung_after(setting: Setting, ease: float) -> float:
    """So many seconds after it was sent, a statement hangs."""
    return setting.query + _GRACE * ease
