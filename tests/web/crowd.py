"""A service of gunicorn workers, and requests that stand still in chosen ones of them, each with what it holds.

A kept-alive connection leads to one worker: over it that worker is told what to do. A request that holds a connection goes
on when its client sends the last byte of the body, so nothing here rests on times.
"""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.gunicorn.test_gunicorn import Gunicorn
from tests.life import outcomes
from tests.servers import eventually
from tests.several import Replicas

APP = """
import json, os, pgdbpool
from contextlib import suppress
from pgdbpool.wsgi import status_app

with open(os.path.join(os.path.dirname(__file__), "config.json")) as file:
    pgdbpool.init(json.load(file))
status = status_app()
NAME = "SELECT current_setting('cluster_name')"
WHERE = "SELECT current_setting('cluster_name'), pg_backend_pid()"
SLEEP, UPDATE = "SELECT pg_sleep(600)", "UPDATE web.numbers SET n = n + 1"
KINDS = {
    "handler": (pgdbpool.Handler, "web", None),
    "asleep": (pgdbpool.Handler, "web", SLEEP),
    "transaction": (pgdbpool.transaction, "web", None),
    "row": (pgdbpool.transaction, "web", UPDATE),
    "report": (pgdbpool.transaction, "reports", None),
    "report asleep": (pgdbpool.Handler, "reports", SLEEP),
}


class Enough(Exception):
    pass


def held(kind, last_byte):
    block, group, statement = KINDS[kind]
    with suppress(Enough), block(group) as db:
        yield said(*db.query(WHERE).one())
        with suppress(pgdbpool.DBQueryError):
            db.query(statement or WHERE)
        yield said("it has it")
        last_byte()
        raise Enough  # so it is rolled back, and no later read has to see it
    yield said("gone on")


def said(*values):
    return json.dumps(values).encode() + b"\\n"


def application(environ, start_response):
    _, where, kind = environ["PATH_INFO"].split("/")
    if where == "pool":
        return status({**environ, "SCRIPT_NAME": "/pool", "PATH_INFO": f"/{kind}"}, start_response)
    if where == "hold":
        body = held(kind.replace("+", " "), lambda: environ["wsgi.input"].read(1))
    elif where == "read":
        body = [said(pgdbpool.query(NAME, group=kind).scalar())]
    else:
        body = [said(os.getpid())]
    start_response("200 OK", [("Content-Type", "application/json")])
    return body
"""
GROUPS = {
    "web": {"connection_count": 4, "min_connections": 2, "query_timeout": 0},
    "reports": {"connection_count": 1, "target": "standby", "query_timeout": 0},
}
PATIENT = {"timeout": 60, "idle_in_transaction_timeout": 0, "hold_warning": 0}


class Line:
    """A connection to one worker, which is ``worker``."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        try:
            [self.worker] = self.get("/who/")
        except BaseException:
            self.close()
            raise

    def get(self, path: str) -> Any:
        return json.loads(self.text(path))

    def text(self, path: str) -> str:
        self.connection.request("GET", path)
        response = self.connection.getresponse()
        body = response.read().decode()
        assert response.status == 200, body
        return body

    def close(self) -> None:
        self.connection.close()


class Held:
    """A request that holds a connection of the pool, or waits for one."""

    def __init__(self, line: Line, kind: str) -> None:
        self.kind, self.worker, self._connection = kind, line.worker, line.connection
        self.group = "reports" if kind.startswith("report") else "web"
        self.server, self.backend = "", 0
        self._is_answered = False
        self._connection.putrequest("POST", f"/hold/{kind.replace(' ', '+')}")
        self._connection.putheader("Content-Length", "1")
        self._connection.endheaders()

    def has(self) -> None:
        """Return when it has its connection."""
        self._response = self._connection.getresponse()
        self.server, self.backend = self._next()

    def is_answered(self) -> None:
        """Return when its statement is."""
        if not self._is_answered:
            assert self._next() == ["it has it"]
            self._is_answered = True

    def let_go(self) -> None:
        self._connection.send(b"!")

    def is_gone(self) -> None:
        """Return when its connection is back in the pool."""
        self.is_answered()
        assert self._next() == ["gone on"]
        self._response.read()

    def _next(self) -> Any:
        return json.loads(self._response.readline())


class Service(Gunicorn):
    """Gunicorn workers of the application above. ``given``: the connections that they have handed out, by group and server."""

    def __init__(self, folder: Path, config: dict[str, Any], count: int, *options: str) -> None:
        limits = ["--threads", "16", "--keep-alive", "60"]
        config = {**config, "groups": {name: {**PATIENT, **group} for name, group in config["groups"].items()}}
        self.given: Counter[tuple[str, str]] = Counter()
        self.count = count
        self.preloads = "--preload" in options
        super().__init__(folder, config, "-k", "gthread", "--workers", str(count), *limits, *options, app=APP)

    @contextmanager
    def lines(self, each: int) -> Iterator[dict[int, list[Line]]]:
        """So many connections to each worker, by process id."""
        found: dict[int, list[Line]] = {}

        def one_more(_: int) -> None:
            line = Line(self.port)  # which worker accepts it is up to the kernel
            if len(mine := found.setdefault(line.worker, [])) < each:
                mine.append(line)
            else:
                line.close()

        def complete() -> bool:
            outcomes(16, one_more, 20.0)
            return len(found) == self.count and min(map(len, found.values())) == each

        try:
            assert eventually(complete, 30.0), self.log()
            yield dict(sorted(found.items()))
        finally:
            for line in (line for mine in found.values() for line in mine):
                line.close()

    def processes(self) -> set[int]:
        """All that have a pool: with ``--preload`` the master has one too."""
        return self.workers() | ({self.process.pid} if self.preloads else set())

    def page(self, name: str) -> str:
        """As any worker has it."""
        line = Line(self.port)
        try:
            return line.text(f"/pool/{name}")
        finally:
            line.close()

    def stats(self) -> dict[str, Any]:
        return json.loads(self.page("stats.json"))  # type: ignore[no-any-return]


class Scene:
    """What all workers hold at one moment: ``held`` connections, and ``waiting`` requests for more.

    ``spare``: a connection to each worker, by process id, over which it can still be asked.
    """

    def __init__(self, service: Service, cluster: Replicas) -> None:
        self._service = service
        self._cluster = cluster
        self.spare: dict[int, Line] = {}
        self.held: list[Held] = []
        self.waiting: list[Held] = []

    def hold(self, line: Line, kind: str) -> Held:
        """Return when it has its connection; its statement may have to wait, for ever."""
        self.held.append(one := Held(line, kind))
        one.has()
        self._service.given[one.group, one.server] += 1
        return one

    def wait(self, line: Line, kind: str) -> None:
        self.waiting.append(Held(line, kind))

    def without(self, worker: int) -> None:
        """That one was killed, with all that it did."""
        del self.spare[worker]
        self.held = [one for one in self.held if one.worker != worker]
        self.waiting = [one for one in self.waiting if one.worker != worker]

    def end(self) -> None:
        """All go on, those that wait for a connection too, until each has given its own back."""
        for one in (*self.held, *self.waiting):
            one.let_go()
        for one in self.held:
            if one.kind.endswith("asleep"):
                assert self._cluster.by_label[one.server].sql("SELECT pg_cancel_backend(%s)", (one.backend,)) == [
                    (True,)
                ]
        for one in self.waiting:
            one.has()
            self._service.given[one.group, one.server] += 1
        for one in (*self.held, *self.waiting):
            one.is_gone()


def reads(service: Service, lines: Sequence[Line], group: str) -> None:
    """A query over each."""
    for line in lines:
        [server] = line.get(f"/read/{group}")
        service.given[group, server] += 1
