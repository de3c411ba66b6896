"""What is configured and cannot work: limits that never fire, and more connections than a server gives."""

from __future__ import annotations

import logging

from pgdbpool.engine.engine import Engine
from pgdbpool.report.advice import fits
from pgdbpool.report.plan import from_environment, never, per_worker

log = logging.getLogger("pgdbpool.limits")


class Limits:
    """Of one pool. ``lines``: as they were last found."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.lines = self._never = never(engine.options)
        self._told: set[str] = set()

    def look(self, workers: int) -> None:
        """What follows from the servers' limits, as far as they are known; a WARNING where it was not found before.

        ``workers``: so many processes there are, where ``WEB_CONCURRENCY`` does not say it.
        """
        count, each = from_environment() or workers, per_worker(self._engine.options)
        known = {
            endpoint.label: endpoint.capacity for endpoint in self._engine.endpoints if endpoint.capacity is not None
        }
        found = {label: said for label, capacity in known.items() if (said := fits(count, each, capacity))}
        self.lines = [*self._never, *(f"{label}: {said}" for label, said in found.items())]
        for label in [*found]:
            if label not in self._told:
                self._told.add(label)
                self._engine.events.tell(log, "advice", label, found[label])
