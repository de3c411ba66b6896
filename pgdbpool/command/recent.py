"""What counters did lately, for a view that sees only what they have come to."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

_LATELY = 60.0  # seconds


class Timeouts:
    """How many requests of each group waited in vain during the last minute, as far as that was watched."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def lately(self, figures: Mapping[str, Any]) -> dict[str, int]:
        """To be told of all figures, in their order."""
        at, now = figures["at"], {name: group["timeouts"] for name, group in figures["groups"].items()}
        self._seen.append((at, now))
        while self._seen[0][0] < at - _LATELY:
            self._seen.popleft()
        before = self._seen[0][1]
        return {name: max(0, count - before.get(name, 0)) for name, count in now.items()}
