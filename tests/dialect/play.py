"""Runs one case with whichever pgdbpool is first in ``sys.path``: ``python play.py CASE SECONDS``.

Prints one line of JSON: what the case printed, what it raised, and which pgdbpool that was. Then it stays, for the sessions
to be counted, until its standard input ends. A case that still waits after so many seconds is told as it is then.
"""

from __future__ import annotations

import io
import json
import os
import sys
import threading
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

CLASSES = ("DBOfflineError", "DBConnectionError", "DBQueryError", "UnconfiguredGroupError")


def name_of(error: BaseException) -> str:
    """The class of 1.0 that it is an instance of, or else its own."""
    from pgdbpool import pool

    known = [name for name in CLASSES if isinstance(error, getattr(pool, name))]
    return known[-1] if known else type(error).__name__


def main(case: str, patience: float) -> None:
    from pgdbpool import pool

    stdout, printed, told = sys.stdout, io.StringIO(), threading.Lock()

    def tell(raised: str | None) -> None:
        if told.acquire(blocking=False):
            report = {"printed": printed.getvalue(), "raised": raised, "module": pool.__file__}
            stdout.write(json.dumps(report) + "\n")
            stdout.flush()
        sys.stdin.read()

    def give_up() -> None:
        tell("nothing: it still waits")
        os._exit(0)

    timer = threading.Timer(patience, give_up)
    timer.daemon = True
    timer.start()
    names: dict[str, Any] = {"__name__": "__main__"}
    raised = None
    with redirect_stdout(printed):
        try:
            exec(compile(Path(case).read_text(encoding="utf-8"), case, "exec"), names)
        except BaseException as error:
            traceback.print_exc()
            raised = name_of(error)
    timer.cancel()
    tell(raised)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
