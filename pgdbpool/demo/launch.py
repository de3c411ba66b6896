"""What ``pgdbpool demo`` does: PostgreSQL, gunicorn and the shop, until it is told to stop."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from importlib.util import find_spec

from pgdbpool.demo import gunicorn_settings as settings
from pgdbpool.demo.cluster import Cluster, ClusterError
from pgdbpool.demo.ports import PREFERRED, listen
from pgdbpool.demo.serving import NotServing, database_for_shop, gunicorn, wait_until_it_answers
from pgdbpool.demo.signals import Signals

_CONNECTIONS = 4  # pooled ones per worker, for its sixteen threads


def run(port: int | None = None, duration: float | None = None) -> int:
    """Serve the shop until Ctrl-C, SIGTERM or the end of ``duration`` seconds; the exit status for the shell.

    ``port`` None is 8080, or a free one where that is taken; 0 is any free one; another one that is taken is an error.
    """
    say = _Progress()
    try:
        with Signals() as signals, ExitStack() as stack:
            try:
                _serve(stack, say, signals, port, duration)
            except KeyboardInterrupt:
                say("stopping")
    except (NotServing, ClusterError, OSError) as error:
        print(f"pgdbpool demo: {error}", file=sys.stderr)
        return 1
    say("gone: no process and no folder is left")
    return 0


def _serve(stack: ExitStack, say: _Progress, signals: Signals, port: int | None, duration: float | None) -> None:
    if find_spec("gunicorn") is None:
        raise NotServing("gunicorn is not installed: pip install 'pgdbpool[demo]'")
    listener = stack.enter_context(listen(port))
    number = listener.getsockname()[1]
    if port is None and number != PREFERRED:
        say(f"port {PREFERRED} is taken, so it will be {number}")
    cluster = Cluster()
    say(f"starting PostgreSQL from {cluster.binaries}")
    stack.enter_context(cluster)
    signals.check()
    version, where = cluster.sql("SHOW server_version")[0][0], f"-h {cluster.socket_dir} -p {cluster.port}"
    say(f"PostgreSQL {version} accepts connections: psql {where} -U {cluster.superuser}")
    environment = {**database_for_shop(cluster), "SHOP_CONNECTIONS": str(_CONNECTIONS)}
    say("made a database, and a role that may log in and nothing else")
    say(f"starting gunicorn: {settings.workers} workers with {settings.threads} threads and {_CONNECTIONS} connections")
    server = stack.enter_context(gunicorn(listener, environment))
    with signals.heard():
        wait_until_it_answers(server, number)
    say("the shop answers")
    end = "Ctrl-C ends it." if duration is None else f"It ends after {duration:g} s, or by Ctrl-C."
    print(f"\n    http://127.0.0.1:{number}/\n\n{end}", flush=True)
    with signals.heard(), suppress(subprocess.TimeoutExpired):
        raise NotServing(f"gunicorn ended by itself, with status {server.wait(duration)}")
    say("stopping")


class _Progress:
    """Lines that begin with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:5.1f} s  {text}", flush=True)
