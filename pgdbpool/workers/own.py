"""The file of this worker."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from uuid import uuid4

from pgdbpool.workers.content import Figures, pack
from pgdbpool.workers.folder import Folder
from pgdbpool.workers.records import name_of

_ALWAYS_NEW = ("at", "workers")  # these change although nothing has
_TRIES = 5


class Own:
    """As long as the descriptor of its file is open, all others see that this worker lives, whatever its process id."""

    def __init__(self) -> None:
        self.name = name_of(uuid4().hex)
        # The last is that of the file. Its own operations are atomic: each descriptor is closed once, whoever does it.
        self._descriptors: deque[int] = deque()
        self._written: Figures = {}
        self._at = float("-inf")

    def is_due(self, folder: Folder, now: float, every: float) -> bool:
        """Also where clocks were set back, or somebody removed the file."""
        return not 0 <= now - self._at < every or folder.inode(self.name) is None

    def write(self, folder: Folder, figures: Figures) -> None:
        """Put these in the place of older ones; nothing is written where nothing has changed."""
        at, changing = figures["at"], {key: value for key, value in figures.items() if key not in _ALWAYS_NEW}
        if changing != self._written or folder.inode(self.name) is None:
            self._descriptors.append(_written(folder, self.name, pack(figures)))
            self._close_but(1)
        self._written, self._at = changing, at

    def leave(self) -> None:
        """From now on the file is that of a dead worker. In the child of a fork: the parent's goes on living."""
        self._close_but(0)

    __del__ = leave

    def _close_but(self, last: int) -> None:
        with suppress(IndexError):
            while len(self._descriptors) > last:
                os.close(self._descriptors.popleft())


def _written(folder: Folder, name: str, data: bytes) -> int:
    """Its descriptor. Whoever looks for what the dead have begun may be in the way, for a moment."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError, BlockingIOError):
            return folder.write(name, data)
    return folder.write(name, data)
