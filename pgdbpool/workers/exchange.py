"""Placeholder."""

from collections.abc import Callable
from typing import Any


class Exchange:
    alone: str | None = None
    is_watched = False

    def __init__(
        self,
        stats_dir: str | None,
        key: str,
        figures: Callable[[], dict[str, Any]],
        retired: Callable[[list[dict[str, Any]]], dict[str, Any]],
    ) -> None:
        self.f = figures

    def tick(self, now: float) -> float:
        self.f()
        return 5.0

    def others(self) -> list[dict[str, Any]]:
        return []

    def watched(self) -> None: ...
    def close(self) -> None: ...
    def after_fork_in_child(self) -> None: ...
