"""A pool that has 4 connections and needs 8, which it cannot have for a while: the 4 serve everybody, in turn."""

from __future__ import annotations

import itertools
import os
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager

from psycopg2 import OperationalError

from tests.faults.rows.row import row
from tests.faults.scene import BUSY, ROLE, Load, Scene


def _without_prlimit() -> str:
    return "" if hasattr(resource, "prlimit") else "limits of another process: Linux only"


@row("15a", told=1.0, back=0.1, clean=0.1, rate=5)
def server_full(scene: Scene) -> None:
    """Others take all of the server's sessions for 5 s; no request fails, and when there is room the pool grows."""
    scene.settings["max_connections"] = "100"
    _grows_after(scene, lambda load: _crowded(scene), 5, 2.5)


@row("15b", told=1.0, back=0.1, clean=0.1, rate=5)
def role_limit_reached(scene: Scene) -> None:
    """The role may have no further session for 5 s; no request fails, and then the pool grows."""
    _grows_after(scene, lambda load: _limited(scene), 5, 2.5)


@row("29a", needs=_without_prlimit, told=1.0, back=0.1, clean=0.1, rate=5)
def no_descriptors_left(scene: Scene) -> None:
    """The client's process may open no file for 3 s; no request fails, and then the pool grows."""
    _grows_after(scene, _exhausted, 3, 2)


@row("29b", needs=_without_prlimit)
def no_descriptors_left_told(scene: Scene) -> None:
    """Whoever needs a further connection meanwhile is told at its deadline why there is none; no descriptor is lost."""
    scene.play("descriptors:exhausted", setting={"connections": 4, "minimum": 2, "acquire": 1.0})


def _grows_after(
    scene: Scene, fault: Callable[[Load], AbstractContextManager[None]], seconds: float, short: float
) -> None:
    """More than the 4 open connections are needed while the fault lasts; when it is over there are soon 8."""
    ours = scene.peers[0]
    with scene.load(minimum=4, first=3) as load:
        with load.fault(), fault(load):
            load.order(BUSY)
            load.order("resume")
            scene.sleep(seconds, short)
        after = scene.grown(ours, 5)
        scene.grown(ours, 8)
    if after > (allowed := 0.5 * scene.ease.get(ours, 1.0)):
        scene.results[ours].problems.append(f"grows after {after:.2f} s, allowed are {allowed:g}")


@contextmanager
def _crowded(scene: Scene) -> Iterator[None]:
    """Sessions of others take all that is free."""
    with ExitStack() as stack:
        limit = time.monotonic() + 20.0
        while time.monotonic() < limit:
            try:
                stack.enter_context(closing(scene.server.admin(user=ROLE, application_name="others")))
            except OperationalError:
                break
        yield


@contextmanager
def _limited(scene: Scene) -> Iterator[None]:
    scene.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0")
    yield
    scene.sql(f"ALTER ROLE {ROLE} CONNECTION LIMIT -1")


@contextmanager
def _exhausted(load: Load) -> Iterator[None]:
    """The clients have as many descriptors as are in use, and no more."""
    limits = {each.pid: resource.prlimit(each.pid, resource.RLIMIT_NOFILE) for each in load.contestants.values()}
    for pid, (_, hard) in limits.items():
        used = {int(each) for each in os.listdir(f"/proc/{pid}/fd")}
        free = next(number for number in itertools.count() if number not in used)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, hard))
    yield
    for pid, limit in limits.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limit)
