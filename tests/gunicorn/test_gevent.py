"""Under gunicorn's gevent worker, where psycopg2 must wait by gevent's hub (contract §6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.servers import Server, _free_port, eventually

PATCHED = "from gevent import monkey; monkey.patch_all()\n"
APP = """
import json, os, psycopg2, pgdbpool
pgdbpool.init(json.load(open(os.path.join(os.path.dirname(__file__), "config.json"))))


def application(environ, start_response):
    number = environ["QUERY_STRING"]
    with pgdbpool.transaction() as db:
        answer = db.query("SELECT %s FROM pg_sleep(0.3)", (number,)).scalar()
    if number == "copy":
        try:
            with pgdbpool.connection() as conn:
                conn.cursor().copy_expert("COPY (SELECT 1) TO STDOUT", open(os.devnull, "w"))
        except psycopg2.ProgrammingError:
            answer = "refused"
    start_response("200 OK", [])
    return [answer.encode()]
"""


@pytest.mark.contract("6.gunicorn-sync-gthread.1")
@pytest.mark.parametrize(("first", "options"), [("", []), (PATCHED, ["--preload"])], ids=["", "preload"])
def test_greenlets_wait_side_by_side(server: Server, tmp_path: Path, first: str, options: list[str]) -> None:
    """Eight requests of 0.3 s on eight connections take well under their 2.4 s; COPY is refused; no session is left.

    With ``--preload`` the application patches first, as gevent asks for: gunicorn patches the worker only.
    """
    config = server.config({"connection_count": 8, "min_connections": 8, "application_name": "gevent-web"})
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "shop.py").write_text(first + APP)
    (tmp_path / "gunicorn.conf.py").write_text("control_socket_disable = True\n")
    port, root = _free_port(), str(Path(__file__).parents[2])
    command = [
        sys.executable,
        "-m",
        "gunicorn",
        "-k",
        "gevent",
        "-b",
        f"127.0.0.1:{port}",
        *options,
        "shop:application",
    ]

    def ask(number: object) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/?{number}", timeout=10) as answer:
            return str(answer.read().decode())

    def answers() -> bool:
        try:
            return ask("first") == "first"
        except OSError:
            return False

    environment = {**os.environ, "PYTHONPATH": root}
    if options:  # coverage, which begins anew in a fork's child, would wait there for ever by gevent's locks
        environment.pop("COVERAGE_PROCESS_CONFIG", None)
    with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
        try:
            assert eventually(answers, 10)
            assert eventually(lambda: len(server.sessions("gevent-web")) >= 8, 5)
            began = time.monotonic()
            with ThreadPoolExecutor(8) as threads:
                assert list(threads.map(ask, range(8))) == [str(number) for number in range(8)]
            assert time.monotonic() - began < 1.5
            assert ask("copy") == "refused"
        finally:
            process.terminate()
    assert eventually(lambda: not server.sessions("gevent-web"), 5)
