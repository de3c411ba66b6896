"""One client process, as the director sees it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["Broken", "Contestant"]

ROOT = Path(__file__).resolve().parents[2]


class Broken(RuntimeError):
    """The client's script failed, or said nothing in time; the message has what it wrote."""


class Contestant:
    """A pool under a script, in a process of its own: see ``tests.faults.client.__main__`` for the job's parts.

    ``under``: a command that makes itself the program that its arguments name.
    """

    def __init__(self, job: Mapping[str, Any], environment: Mapping[str, str], under: Sequence[str] = ()) -> None:
        self.peer = str(job["peer"])
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by close()
        self._child = subprocess.Popen(
            [*under, sys.executable, "-m", "tests.faults.client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
            env={**os.environ, **environment},
        )
        self._news: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.order(json.dumps(job))

    def order(self, line: str) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        except BrokenPipeError:
            raise Broken(self._said("it has ended")) from None

    def told(self, news: str, seconds: float) -> dict[str, Any]:
        """Wait for these news."""
        limit = time.monotonic() + seconds
        while True:
            try:
                found = self._news.get(timeout=max(0.0, limit - time.monotonic()))
            except queue.Empty:
                raise Broken(self._said(f"no {news!r} within {seconds:g} s")) from None
            if found is None or found["news"] == "broken":
                raise Broken(self._said(found["why"] if found else f"it ended without {news!r}"))
            if found["news"] == news:
                return found

    @property
    def pid(self) -> int:
        return self._child.pid

    def signal(self, number: signal.Signals) -> None:
        self._child.send_signal(number)

    def close(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self._child.wait()
        self._reader.join(5.0)
        for each in (self._child.stdin, self._child.stdout, self._errors):
            assert each is not None
            with suppress(BrokenPipeError):
                each.close()

    def _read(self) -> None:
        assert self._child.stdout is not None
        for line in self._child.stdout:
            self._news.put(json.loads(line))
        self._news.put(None)

    def _said(self, what: str) -> str:
        self._errors.seek(0)
        return f"{self.peer}: {what}\n{self._errors.read()[-3000:]}"
