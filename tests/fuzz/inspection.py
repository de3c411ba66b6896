"""Looking into a pool, from inside and from the server's side."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pgdbpool.waiting import GONE, IDLE
from tests.servers import DATABASE, Server

__all__ = ["Observer", "breaches", "soon"]


PATIENCE = 10.0  # seconds; what takes longer has failed


def soon(condition: Callable[[], Any]) -> bool:
    """As ``tests.servers.eventually``, in smaller steps: it is asked after each step of a machine."""
    limit = time.monotonic() + PATIENCE
    pause = 0.0005
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.01)
    return True


class Observer:
    """The server as its administrator sees it, over one connection."""

    def __init__(self, server: Server) -> None:
        self.connection = server.admin(dbname=DATABASE)

    def sql(self, text: str, *params: Any) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor()
        cursor.execute(text, params or None)
        return cursor.fetchall() if cursor.description else []

    def pids(self, name: str) -> set[int]:
        """The backends whose ``application_name`` is LIKE this."""
        return {pid for (pid,) in self.sql("SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s", name)}

    def terminate(self, pid: int) -> None:
        self.sql("SELECT pg_terminate_backend(%s, 5000)", pid)

    def close(self) -> None:
        self.connection.close()


def breaches(group: Any, borrowed: dict[str, int]) -> list[str]:
    """What is not as it must be in the books of a group that has come to rest, given how much of each server is borrowed."""
    found = []
    with group.frozen() as (shelves, _, _):
        for shelf in shelves:
            members, idle, lent = shelf.members, shelf.idle, borrowed.get(shelf.source.label, 0)
            found += [f"{slot} is twice a member" for slot in members if members.count(slot) > 1]
            found += [f"{slot} is idle twice" for slot in idle if idle.count(slot) > 1]
            found += [f"{slot} is idle, but no member" for slot in idle if slot not in members]
            found += [f"{slot} is a member" for slot in members if slot.rest is GONE]
            found += [f"{slot} is not where it should be" for slot in members if (slot.state is IDLE) != (slot in idle)]
            found += [f"{len(members) - len(idle)} lent, not {lent}"] if len(members) - len(idle) != lent else []
            found += [f"{len(members)} of {shelf.capacity}"] if len(members) > max(shelf.capacity, lent) else []
            found += [f"{shelf.opening} are opening"] if shelf.opening else []
    return found
