"""What ``pgdbpool demo`` does: a PostgreSQL primary with two standbys, gunicorn and the shop, until it is told to stop."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from importlib.util import find_spec

from pgdbpool.demo import gunicorn_settings as settings
from pgdbpool.demo.cluster import Cluster, ClusterError
from pgdbpool.demo.ports import PREFERRED, listen
from pgdbpool.demo.serving import NotServing, database_for_shop, gunicorn, several_for_shop, wait_until_it_answers
from pgdbpool.demo.signals import Signals

_STANDBYS = 2
_CONNECTIONS = 4  # pooled ones per worker and server, for its sixteen threads


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
    environment = _databases(stack, say, signals)
    pooled = f"{_CONNECTIONS} connections to each server"
    say(f"starting gunicorn: {settings.workers} workers with {settings.threads} threads and {pooled}")
    server = stack.enter_context(gunicorn(listener, environment))
    with signals.heard():
        wait_until_it_answers(server, number)
    say("the shop answers")
    end = "Ctrl-C ends it." if duration is None else f"It ends after {duration:g} s, or by Ctrl-C."
    print(f"\n    http://127.0.0.1:{number}/\n    http://127.0.0.1:{number}/pool/\n\n{end}", flush=True)
    with signals.heard(), suppress(subprocess.TimeoutExpired):
        raise NotServing(f"gunicorn ended by itself, with status {server.wait(duration)}")
    say("stopping")


def _databases(stack: ExitStack, say: _Progress, signals: Signals) -> dict[str, str]:
    """Start a primary and its standbys; the environment by which the shop finds them."""
    primary = Cluster()
    say(f"starting PostgreSQL from {primary.binaries}")
    stack.enter_context(primary)
    signals.check()
    version = primary.sql("SHOW server_version")[0][0]
    say(f"PostgreSQL {version} accepts connections: {_psql(primary)}")
    environment = database_for_shop(primary)
    say("made a database, and a role that may log in and nothing else")
    standbys = [Cluster(primary=primary) for _ in range(_STANDBYS)]
    for number, standby in enumerate(standbys, 1):
        stack.enter_context(standby)
        signals.check()
        say(f"standby {number} replays what the primary does: {_psql(standby)}")
    for standby in standbys:
        standby.follow(primary, *(other for other in standbys if other is not standby))
    return {**environment, **several_for_shop(primary, *standbys), "SHOP_CONNECTIONS": str(_CONNECTIONS)}


def _psql(cluster: Cluster) -> str:
    return f"psql -h {cluster.socket_dir} -p {cluster.port} -U {cluster.superuser}"


class _Progress:
    """Lines that begin with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, text: str) -> None:
        print(f"{time.monotonic() - self._start:5.1f} s  {text}", flush=True)
