"""Three servers that know nothing of each other, and a pool over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pgdbpool
from benchmarks.server import embedded
from pgdbpool.demo.cluster import Cluster

__all__ = ["Node", "balanced", "three_servers"]

_LABELS = ("one", "two", "three")
_READY = 30.0  # seconds


class Node(NamedTuple):
    """One server. ``label`` is its ``cluster_name`` too, so that its answers can tell who gave them."""

    label: str
    cluster: Cluster
    dsn: str


@contextmanager
def three_servers() -> Iterator[list[Node]]:
    """Embedded ones always, for as long as the block lasts."""
    with ExitStack() as stack:
        yield [Node(label, *stack.enter_context(embedded(cluster_name=label))) for label in _LABELS]


@contextmanager
def balanced(
    nodes: Sequence[Node], connections: int, *, weights: Sequence[int] = (1, 1, 1), groups: Sequence[str] = ("bench",)
) -> Iterator[pgdbpool.Pool]:
    """pgdbpool over all of them, with all connections of every group open: so many to each server."""
    endpoints = [
        {"dsn": node.dsn, "label": node.label, "weight": weight} for node, weight in zip(nodes, weights, strict=False)
    ]
    group: dict[str, Any] = {"connection_count": connections, "min_connections": connections, "target": "any"}
    with pgdbpool.Pool({"db": endpoints, "groups": dict.fromkeys(groups, group)}, wait=_READY) as pool:
        yield pool
