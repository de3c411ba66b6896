"""The middleware around every kind of application of PEP 3333, over a primary whose standbys stand still (contract §6)."""

from __future__ import annotations

import io
import itertools
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from wsgiref.util import FileWrapper, setup_testing_defaults
from wsgiref.validate import validator

import psycopg2
import pytest

import pgdbpool
from pgdbpool.access import tokens
from pgdbpool.web import cookies
from pgdbpool.wsgi import Middleware
from tests.life import elsewhere, thread_of
from tests.servers import ROLE, eventually
from tests.several import Replicas, is_known
from tests.usage import fresh_table

SECRET = "of the tests"
INSERT = f"INSERT INTO {ROLE}.visited VALUES (%s)"
READ = f"SELECT max(id), current_setting('cluster_name') FROM {ROLE}.visited"
STANDBYS = {"standby1", "standby2"}
numbers = itertools.count(1)
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def cookie(self) -> str | None:
        """As the client's next request will carry it."""
        morsel = self.set.get("pgdbpool")
        return None if morsel is None else f"pgdbpool={morsel.value}"

    @property
    def set(self) -> SimpleCookie:
        return SimpleCookie("; ".join(value for name, value in self.headers if name == "Set-Cookie"))


def ask(app: App, cookie: str | None = None, scheme: str = "http") -> Answer:
    """One request, as a WSGI server makes it; the headers leave with the first part of the body that is not empty."""
    environ: dict[str, Any] = {"wsgi.url_scheme": scheme, "wsgi.file_wrapper": FileWrapper, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    if cookie is not None:
        environ["HTTP_COOKIE"] = cookie
    said: list[Any] = []
    sent: list[bytes] = []

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], Any]:
        assert exc_info is not None or not said, "start_response called twice"
        if exc_info is not None and any(sent):
            raise exc_info[1]
        said[:] = [status, headers]
        return sent.append

    body = app(environ, start_response)
    try:
        for part in body:
            assert said, "a part of the body before start_response"
            sent.append(part)
    finally:
        if hasattr(body, "close"):
            body.close()
    return Answer(*said, b"".join(sent))


def around(app: App, **options: Any) -> App:
    """The middleware between two that check whether both sides keep to PEP 3333."""
    made: App = validator(Middleware(validator(app), **{"secret": SECRET, **options}))
    return made


HEADERS = [("Content-Type", "text/plain")]


def responding(work: Callable[[], Any]) -> App:
    """An application that does its work and answers with what that returned."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        found = work()
        start_response("200 OK", [*HEADERS])
        return [repr(found).encode()]

    return app


def reading() -> tuple[Any, ...]:
    return tuple(pgdbpool.query(READ).one())


def seen(app_or_cookie: str | None) -> tuple[Any, ...]:
    """What a request with this cookie reads, and of whom."""
    answer = ask(around(responding(reading)), app_or_cookie)
    assert answer.set == {}, "set without a write"
    found: tuple[Any, ...] = eval(answer.body)
    return found


@pytest.fixture(scope="module")
def cluster(module_replicas: Replicas) -> Iterator[Replicas]:
    """A default pool over a primary and two standbys that stand still."""
    fresh_table(module_replicas.primary, "visited", "id int PRIMARY KEY")
    module_replicas.primary.sql(f"INSERT INTO {ROLE}.visited VALUES (0)")
    module_replicas.caught_up()
    with pgdbpool.init(module_replicas.config({"connection_count": 4, "timeout": 3})) as pool:
        assert eventually(lambda: is_known(pool))
        assert eventually(lambda: {reading()[1] for _ in range(8)} == STANDBYS, 15.0)
        for server in module_replicas.standbys:
            server.sql("SELECT pg_wal_replay_pause()")
            paused = lambda server=server: server.sql("SELECT pg_get_wal_replay_pause_state()") == [("paused",)]  # noqa: E731
            assert eventually(paused)
        yield module_replicas
        for server in module_replicas.standbys:
            server.sql("SELECT pg_wal_replay_resume()")


def by_query(number: int) -> None:
    pgdbpool.query(INSERT, (number,))


def by_transaction(number: int) -> None:
    with pgdbpool.transaction() as db:
        db.query(INSERT, (number,))


def by_connection(number: int) -> None:
    with pgdbpool.connection() as raw:
        raw.cursor().execute(INSERT, (number,))


WRITES = {"query": by_query, "transaction": by_transaction, "connection": by_connection}


# -- the next request -------------------------------------------------------------------------------------------------


@pytest.mark.contract("5.read-your-own.2")
@pytest.mark.parametrize("way", list(WRITES))
def test_the_next_request_sees_it(cluster: Replicas, way: str) -> None:
    """With the cookie a client sees what it wrote; without it, and for others in the same thread, standbys answer as before."""
    number = next(numbers)
    cookie = ask(around(responding(lambda: WRITES[way](number)))).cookie
    assert cookie is not None
    assert seen(cookie) == (number, "primary")
    assert seen(None) in {(0, server) for server in STANDBYS}
    assert thread_of(seen, cookie).result().value == (number, "primary")


@pytest.mark.contract("6.middleware.1")
def test_only_a_write_sets_it(cluster: Replicas) -> None:
    """Not a read, with or without a cookie of any kind; not what was rejected or rolled back."""
    cookie = ask(around(responding(lambda: by_transaction(next(numbers))))).cookie
    without_position = cookies.signer(SECRET).sign(f"1-0-0--{time.time() + 99:.0f}").decode()

    def rolled_back() -> None:
        with suppress(ZeroDivisionError), pgdbpool.transaction() as db:
            db.query(INSERT, (next(numbers),))
            raise ZeroDivisionError

    def rejected() -> None:
        with suppress(psycopg2.errors.UniqueViolation):
            pgdbpool.query(INSERT, (0,))

    def reads_in_transactions() -> None:
        with pgdbpool.transaction() as db:
            db.query(READ)
        with pgdbpool.Handler() as db:
            db.query(READ)
        with pgdbpool.connection(read_only=True) as raw:
            raw.cursor().execute(READ)

    for work in (reading, rolled_back, rejected, reads_in_transactions, lambda: None):
        for carried in (None, cookie, f"pgdbpool={without_position}", "pgdbpool=nonsense", "nonsense"):
            assert ask(around(responding(work)), carried).set == {}, (work, carried)


def test_the_cookie_says_more_with_each_write(cluster: Replicas) -> None:
    """A second write, with the cookie of the first one, gives a cookie for both."""
    first, second = next(numbers), next(numbers)
    cookie = ask(around(responding(lambda: by_transaction(first)))).cookie
    later = ask(around(responding(lambda: by_transaction(second))), cookie).cookie
    assert later not in (None, cookie)
    assert seen(later) == (second, "primary")


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_its_attributes(cluster: Replicas, scheme: str) -> None:
    """HttpOnly, SameSite=Lax, Max-Age is the token's life, Secure on https only; the name is as configured."""
    answer = ask(around(responding(lambda: by_query(next(numbers))), cookie="mine"), scheme=scheme)
    morsel = answer.set["mine"]
    attributes = {key: found for key, found in morsel.items() if found}
    token = cookies.found(f"mine={morsel.value}", "mine", cookies.signer(SECRET))
    assert token is not None
    life = int(token.rpartition("-")[2]) - time.time()
    assert attributes.pop("secure", False) is (scheme == "https")
    assert attributes == {"path": "/", "max-age": attributes["max-age"], "httponly": True, "samesite": "Lax"}
    assert abs(int(attributes["max-age"]) - life) < 5
    assert answer.headers[: len(HEADERS)] == HEADERS


# -- bad cookies ------------------------------------------------------------------------------------------------------


def carrying(token: str, secret: str = SECRET) -> str:
    return f"pgdbpool={cookies.signer(secret).sign(token).decode()}"


@pytest.fixture
def parts(cluster: Replicas) -> list[str]:
    """Of a token just made: format, cluster, timeline, position, end."""
    cookie = ask(around(responding(lambda: by_transaction(next(numbers))))).cookie
    assert cookie is not None
    return str(cookies.found(cookie, "pgdbpool", cookies.signer(SECRET))).split("-")


def test_what_nobody_signed_counts_for_nothing(parts: list[str]) -> None:
    """Forged, truncated, signed by another secret, or no token at all: read as if there was none."""
    token = "-".join(parts)
    good = carrying(token)
    assert seen(good)[1] == "primary"
    for bad in (
        f"pgdbpool={token}",
        good[:-2],
        good.replace("pgdbpool=1", "pgdbpool=2"),
        carrying(token, "another"),
        carrying(token[:-3]),
        carrying("nonsense"),
        carrying(""),
        carrying("-".join([*parts[:4], "1"])),
    ):
        assert seen(bad)[1] in STANDBYS, bad


def test_what_no_standby_can_show_is_read_from_the_primary(parts: list[str]) -> None:
    """Of another cluster, of a newer timeline, or without a position."""
    form, system, timeline, _, end = parts
    for token in (
        [form, "1", timeline, "0", end],
        [form, system, str(int(timeline) + 1), "0", end],
        [form, system, timeline, "ffffffffffffffff", end],
        [form, "0", "0", "", end],
    ):
        assert seen(carrying("-".join(token)))[1] == "primary", token
    assert seen(carrying("-".join([form, system, timeline, "1", end])))[1] in STANDBYS


@pytest.mark.contract("6.middleware.1")
def test_secrets_that_are_rotated(cluster: Replicas) -> None:
    """Workers with the new list take cookies of the old secret, and sign by the new one."""
    number = next(numbers)
    old = ask(around(responding(lambda: by_query(number)), secret="old")).cookie
    both = around(responding(reading), secret=["new", "old"])
    assert eval(ask(both, old).body) == (number, "primary")
    new = ask(around(responding(lambda: by_query(next(numbers))), secret=["new", "old"]), old).cookie
    assert new is not None
    assert cookies.found(new, "pgdbpool", cookies.signer("old")) is None
    assert eval(ask(around(responding(reading), secret="new"), new).body)[1] == "primary"
    assert eval(ask(around(responding(reading), secret="new"), old).body)[1] in STANDBYS


@pytest.mark.parametrize("ahead", [-86400.0, -200.0, 200.0, 500.0])
def test_clocks_that_differ(cluster: Replicas, monkeypatch: pytest.MonkeyPatch, ahead: float) -> None:
    """A host whose clock is minutes ahead, or behind by anything, still takes what another has just signed."""
    number = next(numbers)
    cookie = ask(around(responding(lambda: by_transaction(number)))).cookie
    monkeypatch.setattr(tokens, "time", lambda: time.time() + ahead)
    assert seen(cookie) == (number, "primary")


def test_a_token_whose_life_is_over(cluster: Replicas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long after its end a cookie that somebody still sends asks for nothing."""
    cookie = ask(around(responding(lambda: by_transaction(next(numbers))))).cookie
    monkeypatch.setattr(tokens, "time", lambda: time.time() + 86400)
    assert seen(cookie)[1] in STANDBYS


# -- applications of every kind ---------------------------------------------------------------------------------------


class Body:
    """An iterable that remembers whether it was closed."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self.parts = iter(parts)
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self.parts

    def close(self) -> None:
        self.closed += 1


def early(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """start_response first of all, the write afterwards."""
    start_response("200 OK", [*HEADERS])
    by_query(next(numbers))
    return [b"early"]


def early_generator(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """start_response at once, the write when the body is iterated."""
    start_response("200 OK", [*HEADERS])

    def parts() -> Iterator[bytes]:
        by_query(next(numbers))
        yield b"early "
        yield b"generator"

    return parts()


def generator(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    by_query(next(numbers))
    start_response("200 OK", [*HEADERS])
    yield b"gene"
    yield b"rator"


def empty_parts(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    start_response("200 OK", [*HEADERS])
    by_query(next(numbers))
    yield b""
    yield b"empty parts"


def nothing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
    """A body without a part."""
    start_response("200 OK", [*HEADERS])
    by_query(next(numbers))
    yield from ()


def writing(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The imperative way: ``write()``."""
    write = start_response("200 OK", [*HEADERS])
    by_query(next(numbers))
    write(b"wri")
    write(b"ting")
    return []


def twice(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """An error after start_response: the answer is another one."""
    start_response("200 OK", [*HEADERS])
    try:
        by_query(next(numbers))
        raise ZeroDivisionError
    except ZeroDivisionError:
        start_response("500 Oh", [*HEADERS], sys.exc_info())
    return [b"twice"]


def twice_while_iterated(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The same, found out when the body is iterated, before its first part."""
    start_response("200 OK", [*HEADERS])

    def parts() -> Iterator[bytes]:
        by_query(next(numbers))
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [*HEADERS], sys.exc_info())
        yield b"twice while iterated"

    return parts()


APPS = [early, early_generator, generator, empty_parts, nothing, writing, twice, twice_while_iterated]


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("app", APPS, ids=lambda app: app.__name__)
def test_every_way_to_answer(cluster: Replicas, app: App) -> None:
    """Status, headers and body arrive as the application gave them, and what was written before the first part is carried."""
    answer = ask(around(app))
    assert answer.status == ("500 Oh" if "twice" in app.__name__ else "200 OK")
    assert [header for header in answer.headers if header[0] != "Set-Cookie"] == HEADERS
    assert answer.body.decode() == ("" if app is nothing else app.__name__.replace("_", " "))
    written = cluster.primary.sql(f"SELECT max(id) FROM {ROLE}.visited")[0][0]
    assert seen(answer.cookie) == (written, "primary")


def test_an_error_after_the_first_part(cluster: Replicas) -> None:
    """It is too late for another answer: the server's start_response raises the error, as PEP 3333 has it."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        start_response("200 OK", [*HEADERS])
        yield b"first"
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            start_response("500 Oh", [*HEADERS], sys.exc_info())
        yield b"never"

    with pytest.raises(ZeroDivisionError):
        ask(around(app))


@pytest.mark.parametrize("started", [False, True])
def test_an_application_that_raises(cluster: Replicas, started: bool) -> None:
    """Its error reaches the server, whether it had called start_response or not."""

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if started:
            start_response("200 OK", [*HEADERS])
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask(around(app))


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("started", ["early", "late"])
def test_the_body_is_closed_once(cluster: Replicas, started: str, raises: bool) -> None:
    """However it ended, and whenever the response began."""
    bodies = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def parts() -> Iterator[bytes]:
            if started == "late":
                start_response("200 OK", [*HEADERS])
            yield b"one"
            if raises:
                raise ZeroDivisionError

        if started == "early":
            start_response("200 OK", [*HEADERS])
        bodies.append(Body(parts()))
        return bodies[0]

    with pytest.raises(ZeroDivisionError) if raises else nullcontext():
        ask(around(app))
    assert [body.closed for body in bodies] == [1]


@pytest.mark.parametrize("secret", [SECRET, None])
def test_a_file_stays_a_file(cluster: Replicas, secret: str | None) -> None:
    """The server's file wrapper comes back as it was, so that it may use sendfile; and so do lists."""
    given: list[Any] = []
    bodies: list[Any] = [FileWrapper(io.BytesIO(b"file")), [b"li", b"st"], (b"tu", b"ple")]
    rest = iter(bodies)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        by_query(next(numbers))
        start_response("200 OK", [*HEADERS])
        return next(rest)

    for count, body in enumerate(bodies, 1):
        environ: dict[str, Any] = {"wsgi.file_wrapper": FileWrapper}
        setup_testing_defaults(environ)
        found = Middleware(app, secret=secret)(environ, lambda *said: given.append(said))
        assert (found is body, len(given)) == (True, count)
        assert ("Set-Cookie" in dict(given[-1][1])) is (secret is not None)


# -- bad days ---------------------------------------------------------------------------------------------------------


@pytest.mark.contract("6.middleware.1")
def test_without_a_secret(cluster: Replicas, caplog: pytest.LogCaptureFixture) -> None:
    """No cookie is set, none is read, and that is logged once."""
    app = around(responding(lambda: by_query(next(numbers))), secret=None)
    for _ in range(3):
        assert ask(app).set == {}
    assert [each.getMessage() for each in caplog.records if "without secret" in each.getMessage()] == [
        "Middleware without secret: a client may not see in its next request what it wrote in its last one"
    ]


def taken(count: int) -> AbstractContextManager[None]:
    """All connections to the primary are in another thread's hands."""
    return elsewhere(pgdbpool.connection, count)


def test_nobody_can_tell_the_position_now(cluster: Replicas) -> None:
    """A good answer does not wait for a busy pool: the cookie stands for all that is there when it is read."""
    number = next(numbers)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        by_query(number)
        with taken(4):
            began.append(time.monotonic())
            start_response("200 OK", [*HEADERS])
            yield b"part"

    began: list[float] = []
    answer = ask(around(app))
    assert time.monotonic() - began[0] < 1.0
    assert answer.status == "200 OK"
    token = cookies.found(str(answer.cookie), "pgdbpool", cookies.signer(SECRET))
    assert token is not None
    assert "--" in token
    assert seen(answer.cookie) == (number, "primary")


def test_a_server_that_does_not_tell_positions(cluster: Replicas) -> None:
    """What was written is answered for all the same, by a cookie that stands for all that is there when it is read."""
    number = next(numbers)
    [function] = ["pg_current_wal_insert_lsn()"]
    cluster.primary.sql(f"REVOKE EXECUTE ON FUNCTION pg_catalog.{function} FROM PUBLIC")
    try:
        with pgdbpool.init(cluster.config()) as pool:
            assert eventually(lambda: is_known(pool))
            answer = ask(around(responding(lambda: by_query(number))))
            assert answer.status == "200 OK"
            assert seen(answer.cookie) == (number, "primary")
    finally:
        cluster.primary.sql(f"GRANT EXECUTE ON FUNCTION pg_catalog.{function} TO PUBLIC")
