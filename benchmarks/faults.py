"""The ways to lose a server."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

from psycopg2.extensions import make_dsn

from benchmarks.proxy import Proxy
from benchmarks.several import Node

__all__ = ["FAULTS", "Fault", "prepared", "unreported"]

FAULTS = {
    "refused": "shut down at once, connections are refused",
    "reset": "the network resets every connection, new ones too",
    "frozen": "all its processes stand still (SIGSTOP)",
    "silent": "the network swallows everything, handshakes too",
}


class Fault(NamedTuple):
    """Both return when it is done."""

    strike: Callable[[], object]
    mend: Callable[[], object]


@contextmanager
def prepared(name: str, node: Node) -> Iterator[tuple[Node, Fault]]:
    """The server as clients have to reach it so that the fault can strike it."""
    cluster = node.cluster
    if name == "refused":
        yield node, Fault(partial(cluster.stop, "immediate"), cluster.start)
    elif name == "frozen":
        yield node, Fault(cluster.freeze, cluster.thaw)
    else:
        with Proxy(cluster.port) as proxy:
            strike = {"reset": proxy.reset, "silent": proxy.silence}[name]
            yield node._replace(dsn=make_dsn(node.dsn, port=proxy.port)), Fault(strike, proxy.heal)


@contextmanager
def unreported() -> Iterator[None]:
    """Nothing is logged while the block lasts: that a server is lost is no news where it is lost on purpose."""
    logging.disable()
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
