"""Where the workers of one pool on one host meet."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import time

from pgdbpool.workers.folder import MOST, Folder
from pgdbpool.workers.records import LOCK, clear

_STALE = 3600.0  # seconds without a change, after which a folder that nobody is in may go


class Rendezvous:
    """``<stats_dir>/<key>``; by default ``<temporary folder>/pgdbpool-<uid>/<key>-<session>``.

    The session is that of the terminal or service (``setsid``): gunicorn's master and workers have one, also after a
    reload, and two services have two. Both are asked for each time, for a process may change its user and session.
    """

    def __init__(self, stats_dir: str, key: str) -> None:
        self._stats_dir = stats_dir and os.path.abspath(stats_dir)
        self._key = key
        self.path = ""  # as of the last time

    @contextmanager
    def entered(self, make: bool = False) -> Iterator[Folder]:
        """The folder, made if need be. What the user named may be a link, and open to others; what we make in it may not."""
        if self._stats_dir:
            base, name = self._stats_dir, self._key
        else:
            base = os.path.join(tempfile.gettempdir(), f"pgdbpool-{os.geteuid()}")
            name = f"{self._key}-{os.getsid(0)}"
        self.path = os.path.join(base, name)
        if make:
            with suppress(FileExistsError):
                os.mkdir(base, 0o700)
        with Folder(base, private=not self._stats_dir) as outer:
            if make and outer.make(name) and not self._stats_dir:
                _sweep(outer)
            with Folder(name, outer) as folder:
                yield folder

    def leave(self, folder: Folder) -> None:
        """Remove the folder, and the default's one above it, unless somebody is in them."""
        if clear(folder):
            with suppress(OSError):
                os.rmdir(folder.path)
                if not self._stats_dir:
                    os.rmdir(os.path.dirname(folder.path))


def _sweep(outer: Folder) -> None:
    """Remove what services left that were killed."""
    for name in outer.names()[:MOST]:
        with suppress(OSError), Folder(name, outer) as folder:
            if time() - folder.changed > _STALE:
                with folder.locked(LOCK) as ours:
                    if ours and clear(folder):
                        os.rmdir(folder.path)
