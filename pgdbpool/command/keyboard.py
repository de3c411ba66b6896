"""Keys that are read as they are pressed."""

from __future__ import annotations

import os
import sys
import termios
from time import sleep
from typing import Any

TICK = 0.1  # seconds, a whole number of tenths


class Keyboard:
    """Within the block keys need no Enter and do not show; without a terminal there are none."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
        self._before: list[Any] = []

    def __enter__(self) -> Keyboard:
        if self._fd is not None:
            self._before = termios.tcgetattr(self._fd)
            *modes, characters = termios.tcgetattr(self._fd)
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            characters[termios.VMIN], characters[termios.VTIME] = 0, round(TICK * 10)
            # Ctrl-Z would leave the shell with a screen that is not its own.
            characters[termios.VSUSP] = os.fpathconf(self._fd, "PC_VDISABLE").to_bytes(1, "big")
            termios.tcsetattr(self._fd, termios.TCSADRAIN, [*modes, characters])
        return self

    def __exit__(self, *_: object) -> None:
        if self._fd is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def pressed(self) -> str:
        """What was pressed within a tick, or nothing."""
        if self._fd is None:
            sleep(TICK)
            return ""
        return os.read(self._fd, 64).decode("ascii", "replace")
