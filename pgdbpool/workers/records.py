"""The files in the folder: one of each worker, one of the past, which holds the counters of the dead.

A dead worker's file is first counted in the past, which names it, and then removed; as long as it is there, the past goes
on naming it. So a process may be killed between any two steps of this, and nothing is lost or counted twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from time import time

from pgdbpool.workers.content import Figures, pack, unpack
from pgdbpool.workers.folder import ALL, MOST, TEMPORARY, File, Folder

LOCK = "lock"
WATCHED = "watched"  # changed when somebody looked at the page
_PAST = "past"
_WORKER = ".json"

_UNREADABLE = 600.0  # seconds after which a file of nobody goes that cannot be read
_TRIES = 10

Retired = Callable[[list[Figures]], Figures]


@dataclass(frozen=True, slots=True)
class Past:
    """``folded``: the files that it counts and that may still be there."""

    folded: frozenset[str] = frozenset()
    figures: tuple[Figures, ...] = ()  # one or none

    @classmethod
    def of(cls, file: File | None) -> Past:
        content = unpack(file.data) if file else None
        return cls(frozenset(content["folded"]), (content["figures"],)) if content else cls()


@dataclass(frozen=True, slots=True)
class Survey:
    """What there was at one moment, without the files that the past counts."""

    past: Past
    files: dict[str, File]

    def living(self, but: str) -> list[Figures]:
        contents = (unpack(file.data) for name, file in self.files.items() if file.held and name != but)
        return [content for content in contents if content is not None]

    def dead(self) -> dict[str, Figures]:
        contents = {name: unpack(file.data) for name, file in self.files.items() if not file.held}
        return {name: content for name, content in contents.items() if content is not None}


def name_of(worker: str) -> str:
    return worker + _WORKER


def survey(folder: Folder) -> Survey:
    for _ in range(_TRIES):
        before = folder.read(_PAST)
        files = {name: file for name in _workers(folder) if (file := folder.read(name)) is not None}
        after = folder.read(_PAST)
        if (before and before.data) == (after and after.data):
            break
    past = Past.of(after)
    return Survey(past, {name: file for name, file in files.items() if name not in past.folded})


def fold(folder: Folder, retired: Retired) -> None:
    """Take the counters of the dead into the past. Only for who has the lock."""
    seen = survey(folder)
    dead = {name: each for name, each in seen.dead().items() if can_be_counted(each, retired)}
    if dead:
        still_there = [name for name in seen.past.folded if folder.inode(name) is not None]
        content = {"folded": [*still_there, *dead], "figures": retired([*seen.past.figures, *dead.values()])}
        os.close(folder.write(_PAST, pack(content)))
    for name in (*seen.past.folded, *dead):
        folder.remove(name)
    for name, file in seen.files.items():
        if name not in dead and not file.held and time() - file.changed > _UNREADABLE:
            folder.remove(name)
    for name in folder.names():
        if name.endswith(TEMPORARY) and not folder.is_held(name):
            folder.remove(name)  # should its writer not yet have locked it, he tries again


def clear(folder: Folder) -> bool:
    """Remove all our files, unless somebody lives; whether nobody does. Only for who has the lock, which goes last."""
    names = folder.names()
    ours = [name for name in names if name.endswith((_WORKER, TEMPORARY)) or name in (_PAST, WATCHED)]
    if len(names) == ALL or any(folder.is_held(name) for name in ours):
        return False
    for name in (*ours, LOCK):
        folder.remove(name)
    return True


def can_be_counted(figures: Figures, retired: Retired) -> bool:
    """Not those of another program of our name; they go as what cannot be read goes."""
    with suppress(Exception):
        retired([figures])
        return True
    return False


def living(folder: Folder) -> int:
    """How many workers there are."""
    return sum(folder.is_held(name) for name in _workers(folder))


def _workers(folder: Folder) -> list[str]:
    return [name for name in folder.names() if name.endswith(_WORKER)][:MOST]
