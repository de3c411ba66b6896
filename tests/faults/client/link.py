"""The line between a client's process and the director: orders come in, news go out, as lines of JSON."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["Link"]


class Link:
    """The client's end. What else is printed in this process goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lock = threading.Lock()  # guards _out: one line at a time

    def orders(self) -> Iterator[str]:
        """Each order as it comes, until the director hangs up."""
        for line in sys.stdin:
            yield line.strip()

    def wait_for(self, order: str) -> None:
        """Return when this order has come; the director may only hang up after it."""
        if next((each for each in self.orders() if each == order), None) is None:
            raise EOFError(f"the director hung up before {order!r}")

    def tell(self, news: str, **facts: Any) -> None:
        with self._lock:
            self._out.write(json.dumps({"news": news, **facts}) + "\n")
            self._out.flush()
