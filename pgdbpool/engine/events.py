"""What has happened to servers and connections lately: logged, and kept for the time line."""

from __future__ import annotations

import logging
import threading
from collections import deque
from time import time
from typing import Literal, NamedTuple

_KEPT = 100

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
        self._lately: deque[Event] = deque(maxlen=_KEPT)
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        # Guards the events. Forbidden under it: logging, any other lock.
        self._lock = threading.Lock()
        self._lately.clear()

    def lately(self) -> list[Event]:
        with self._lock:
            return list(self._lately)

    def tell(
        self, log: logging.Logger, kind: Kind, about: str, text: str, level: int = logging.WARNING, more: str = ""
    ) -> None:
        """Not under a lock, because it logs. ``more`` is for the log alone."""
        event = Event(time(), kind, about, text)
        with self._lock:
            self._lately.append(event)
        log.log(level, "%s%s", f"{about}: {text}" if about else text, more)
