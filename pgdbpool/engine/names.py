"""Host names whose address changes: connections to the old one are replaced, without waiting for their lifetime."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import monotonic

from pgdbpool.driver.place import addresses, is_named
from pgdbpool.engine.endpoint import Endpoint
from pgdbpool.engine.keeper import Stock
from pgdbpool.engine.monitor import Monitor
from pgdbpool.engine.worker import Worker

log = logging.getLogger("pgdbpool.endpoint")

PERIOD = 4.0  # seconds; libpq and the C library know no time to live
_ROTATION = 60.0  # seconds


class Names:
    """Resolves each server's name in a thread of its own, because a resolver may take its time.

    An empty answer says nothing about the server, so nothing changes. Nor does it where an address comes back that had
    just gone: such a name stands for many servers in turn, as the reader endpoints of cloud services do.
    """

    def __init__(self, stocks: list[Stock], monitors: Mapping[Endpoint, Monitor]) -> None:
        self._monitors = monitors
        self._stocks = [stock for stock in stocks if is_named(stock.shelf.source.options)]
        self._gone: dict[tuple[str, str], float] = {}  # when an endpoint's address was last found missing
        self.worker = Worker("pgdbpool-names", self._round)

    def __bool__(self) -> bool:
        """Whether there is anything to resolve."""
        return bool(self._stocks)

    def _round(self) -> float:
        endpoints: set[Endpoint] = {stock.shelf.source for stock in self._stocks}
        for endpoint in endpoints:
            found = addresses(endpoint.options)
            if found and not self._rotates(endpoint.label, found):
                self._replace(endpoint, found)
        return PERIOD

    def _rotates(self, label: str, found: set[str]) -> bool:
        limit = monotonic() - _ROTATION
        return any(self._gone.get((label, address), limit) > limit for address in found)

    def _replace(self, endpoint: Endpoint, found: set[str]) -> None:
        self._monitors[endpoint].move(found)
        moved = 0
        for stock in self._stocks:
            if stock.shelf.source is endpoint:
                for slot in stock.group.members(stock.shelf):
                    if slot.resource.peer not in found:
                        self._gone[endpoint.label, slot.resource.peer] = monotonic()
                        moved += stock.group.outdate(slot)
        if moved:
            where = ", ".join(sorted(found))
            log.warning("%s: the name leads to %s now; %d connections are replaced", endpoint.label, where, moved)
