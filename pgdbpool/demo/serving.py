"""The shop in gunicorn: a child process that does not outlive this one."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from pgdbpool.demo import gunicorn_settings as settings
from pgdbpool.demo import processes
from pgdbpool.demo.cluster import Cluster


class NotServing(RuntimeError):
    """The shop did not start; what gunicorn says of it is on standard error."""


def database_for_shop(cluster: Cluster, name: str = "shop") -> dict[str, str]:
    """Make a database and a role that owns it and has LOGIN only; the environment by which the shop finds them.

    Standbys that are made afterwards have both from the start.
    """
    password = secrets.token_urlsafe(16)
    cluster.create_role(name, password)
    cluster.create_database(name, name)
    place = {"PGHOST": "127.0.0.1", "PGPORT": str(cluster.port), "PGDATABASE": name, "PGUSER": name}
    return {**place, "PGPASSWORD": password}


def several_for_shop(*clusters: Cluster) -> dict[str, str]:
    """What the environment says in addition where the shop has more servers than one."""
    return {"SHOP_SERVERS": " ".join(f"127.0.0.1:{cluster.port}" for cluster in clusters)}


@contextmanager
def gunicorn(listener: socket.socket, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run gunicorn with the shop on a listening socket, and stop it at the end of the block.

    Its workers share a new secret, so that each takes the cookies of the other.
    The listener is closed here: from now on it is gunicorn's, and when gunicorn ends the port is free.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PG", "SHOP_", "GUNICORN_"))}
    folder = tempfile.mkdtemp(prefix="pgdbpool-gunicorn-")
    command = [sys.executable, "-m", "gunicorn", "pgdbpool.demo.shop.app:application"]
    options = ["-c", f"python:{settings.__name__}", "--bind", f"fd://{listener.fileno()}", "--worker-tmp-dir", folder]
    with closing(processes.Watcher(Path(folder))) as watcher:
        server = subprocess.Popen(
            [*command, *options],
            env={**inherited, "SHOP_SECRET": secrets.token_urlsafe(32), **environment},
            pass_fds=[listener.fileno()],
            start_new_session=True,  # a Ctrl-C at the terminal is for this process, which stops it in order
        )
        watcher.add(server.pid)
        listener.close()
        try:
            yield server
        finally:
            _stop(server)
            watcher.remove(server.pid)


def wait_until_it_answers(server: subprocess.Popen[bytes], port: int, timeout: float = 30.0) -> None:
    """Return when the shop's first page is served; ``NotServing`` if gunicorn ends or the time is over before."""
    limit = time.monotonic() + timeout
    while server.poll() is None:
        if _answers(port):
            return
        if time.monotonic() > limit:
            raise NotServing(f"the shop did not answer within {timeout:g} s")
        time.sleep(0.05)
    raise NotServing(f"gunicorn ended with status {server.returncode} instead of serving the shop")


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()  # graceful: requests under way are answered
    try:
        server.wait(settings.graceful_timeout + 2)
    except subprocess.TimeoutExpired:
        processes.end(server.pid, 1.0)
        server.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
