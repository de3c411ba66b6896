"""``python -m tests.faults.client``: one pool in a process of its own, under one script.

The first line of standard input is the job: ``peer``, ``setting`` (the fields of ``peers.Setting``), ``script`` (a module
of this package, or any by its full name, and a function in it: ``load:load``) and ``args``. The script is called with the
pool, the ``Setting`` and the ``Link``; what it returns is told as the news ``done``. The process ends at once then,
whatever still hangs in it.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import select
import sys
import time
import traceback

from tests.faults.client.attempts import note_attempts
from tests.faults.client.link import Link
from tests.faults.client.peers import Setting, made


def main() -> None:
    link = Link()
    job = json.loads(sys.stdin.readline())
    logging.basicConfig(level=logging.WARNING, format="%(relativeCreated)d %(name)s %(message)s")
    if "libfaketime" in os.environ.get("LD_PRELOAD", ""):
        time.sleep = _sleep
    try:
        note_attempts()
        setting = Setting(**job["setting"])
        module, _, name = job["script"].partition(":")
        script = getattr(importlib.import_module(module if "." in module else f"tests.faults.client.{module}"), name)
        link.tell("done", result=script(made(job["peer"], setting), setting, link, **job["args"]))
    except BaseException:
        link.tell("broken", why=traceback.format_exc())
    sys.stdin.read()  # what it leaves at the server is counted while it lives
    os._exit(0)


def _sleep(seconds: float) -> None:
    """CPython sleeps until a time on the monotonic clock, which libfaketime 0.9.10 refuses (EINVAL)."""
    select.select([], [], [], seconds)


if __name__ == "__main__":
    main()
