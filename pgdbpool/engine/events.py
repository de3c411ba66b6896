"""What has happened to servers and connections lately: logged, and kept for the time line."""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import time
from typing import Literal, NamedTuple

_KEPT = 50
_OF_CONNECTIONS = ("hold", "taken back")

Kind = Literal[
    "down", "back", "silent", "role", "promotion", "cluster", "drain", "size", "hold", "taken back", "advice"
]


class Event(NamedTuple):
    """``at`` is unix time; ``about`` the label of a server, the name of a group, or nothing."""

    at: float
    kind: Kind
    about: str
    text: str


class Events:
    """The last of them, oldest first."""

    def __init__(self) -> None:
        # One for servers and one for connections, so that many of these drive out none of those.
        self._lately: tuple[deque[Event], deque[Event]] = deque(maxlen=_KEPT), deque(maxlen=_KEPT)
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        # Guards the events. Forbidden under it: logging, any other lock.
        self._lock = threading.Lock()
        for each in self._lately:
            each.clear()

    def lately(self) -> list[Event]:
        with self._lock:
            return sorted((*self._lately[0], *self._lately[1]))

    def tell(
        self, log: logging.Logger, kind: Kind, about: str, text: str, level: int = logging.WARNING, more: str = ""
    ) -> None:
        """Not under a lock, because it logs. ``more`` is for the log alone."""
        event = Event(time(), kind, about, text)
        with self._lock:
            self._lately[kind in _OF_CONNECTIONS].append(event)
        log.log(level, "%s%s", f"{about}: {text}" if about else text, more)
