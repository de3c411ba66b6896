"""Ctrl-C and SIGTERM without surprises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """Within the block a Ctrl-C or SIGTERM is noted, and raised as KeyboardInterrupt only where the program listens.

    So it never falls between making a thing and remembering to remove it, nor into the removing. It is raised once.
    """

    def __init__(self) -> None:
        self._noted = False
        self._raised = False
        self._heard = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        if threading.current_thread() is threading.main_thread():  # only that one may set handlers
            wanted = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]  # nohup
            self._before = {number: signal.signal(number, self._note) for number in wanted}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Listen during the block: what was noted before is raised at its start, and what comes now at once."""
        self._heard = True
        try:
            self.check()
            yield
        finally:
            self._heard = False

    def check(self) -> None:
        """Raise what was noted until now."""
        if self._noted and not self._raised:
            self._raised = True
            raise KeyboardInterrupt

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted = True
        if self._heard:
            self.check()
