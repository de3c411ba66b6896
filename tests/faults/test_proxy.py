"""What psycopg2 sees of each fault that the proxy makes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
from psycopg2.extras import wait_select

from tests.faults.proxy import Proxy
from tests.life import outcomes, thread_of
from tests.servers import Server, eventually
from tests.usage import TABLE, rows_of

LOST = (psycopg2.OperationalError, 2)  # what is raised, and `closed` afterwards

Connect = Callable[..., Any]


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.host, server.port) as proxy:
        yield proxy


@pytest.fixture
def connect(server: Server, proxy: Proxy) -> Iterator[Connect]:
    """Connects through the proxy; a connection that still hangs at the end is set free before it is closed."""
    made: list[Any] = []

    def connect(**options: Any) -> Any:
        place = {"host": "127.0.0.1", "port": proxy.port, "connect_timeout": 5}
        made.append(psycopg2.connect(**server.dsn(**{**place, **options})))
        if not options.get("async_"):
            made[-1].autocommit = True
        return made[-1]

    yield connect
    proxy.end_all("rst")
    for connection in made:
        connection.close()


def ask(connection: Any, text: str = "SELECT 42") -> Any:
    cursor = connection.cursor()
    cursor.execute(text)
    return cursor.fetchall() if cursor.description else None


def failure(connection: Any, text: str = "SELECT 42") -> tuple[type[BaseException], int]:
    """How a query fails within a second, and what ``closed`` is then."""
    error = thread_of(ask, connection, text).result(1.0).error
    assert error is not None
    return type(error), connection.closed


def hangs(connection: Any, text: str = "SELECT 42") -> thread_of:
    """A query that has no answer after a while."""
    asking = thread_of(ask, connection, text)
    asking.thread.join(0.2)
    assert asking.outcome is None
    return asking


def refusal(connect: Connect, **options: Any) -> str:
    with pytest.raises(psycopg2.OperationalError) as caught:
        connect(**options)
    return str(caught.value)


def test_what_passes_is_whole(proxy: Proxy, connect: Connect) -> None:
    """Large queries and answers of many clients at once pass unchanged, whether they ask for TLS or not."""

    def work(number: int) -> Any:
        connection = connect(sslmode="disable" if number % 2 else "prefer")
        sent = str(number) * 300_000
        return ask(connection, f"SELECT '{sent}' || repeat('x', 2000000)") == [(sent + "x" * 2_000_000,)]

    assert [each.value for each in outcomes(6, work)] == [True] * 6
    assert proxy.seen() == {"accepted": 6, "open": 6, "struck": 0}


def test_a_closed_connection_is_closed_on_the_other_side(server: Server, proxy: Proxy, connect: Connect) -> None:
    """The server learns that its client has gone, and the client that its session was terminated."""
    connection = connect(application_name="goes")
    connection.close()
    assert eventually(lambda: server.sessions("goes") == [] and proxy.seen()["open"] == 0)
    connection = connect(application_name="is ended")
    server.terminate("is ended")
    assert failure(connection) == LOST


def test_who_does_not_read_blocks_nobody(proxy: Proxy, connect: Connect) -> None:
    """A client that leaves a large answer unread delays no other, and finds it whole when it reads."""
    lazy, other = connect(async_=1), connect()
    wait_select(lazy)
    cursor = lazy.cursor()
    cursor.execute("SELECT repeat('x', 30000000)")
    for _ in range(20):
        assert ask(other) == [(42,)]
        time.sleep(0.01)
    wait_select(lazy)
    assert cursor.fetchone() == ("x" * 30_000_000,)


def test_delay(proxy: Proxy, connect: Connect) -> None:
    """What passes is late by the delay in each direction; healing delivers it at once."""
    connection = connect()
    proxy.delay(0.1)
    assert 0.2 <= thread_of(ask, connection).result().seconds < 1.0
    proxy.delay(30.0)
    waiting = hangs(connection)
    proxy.heal()
    assert waiting.result(1.0).value == [(42,)]


def test_drip(proxy: Proxy, connect: Connect) -> None:
    """An answer in small pieces takes its time and is whole; a connect exceeds its timeout."""
    connection = connect()
    proxy.drip(10, 0.02)
    assert thread_of(ask, connection).result().seconds > 0.1
    proxy.drip(1, 0.1)
    assert "timeout expired" in refusal(connect, connect_timeout=1)
    waiting = hangs(connection)
    proxy.heal()
    assert waiting.result(1.0).value == [(42,)]


def test_blackhole(proxy: Proxy, connect: Connect) -> None:
    """A query hangs and a connect ends at its timeout; afterwards the old answer arrives as if nothing had happened."""
    connection = connect()
    proxy.blackhole()
    waiting = hangs(connection)
    assert "timeout expired" in refusal(connect, connect_timeout=1)
    proxy.heal()
    assert waiting.result(1.0).value == [(42,)]
    assert ask(connect()) == [(42,)]


def test_deaf(proxy: Proxy, connect: Connect) -> None:
    """A new connection is not answered before all is healed, the old ones go on."""
    connection = connect()
    proxy.deaf()
    waiting = thread_of(connect)
    assert "timeout expired" in refusal(connect, connect_timeout=1)
    assert (ask(connection), waiting.outcome) == ([(42,)], None)
    proxy.heal()
    assert ask(waiting.result(1.0).value) == [(42,)]


def test_refuse(proxy: Proxy, connect: Connect) -> None:
    """A new connection is refused at once, the old ones go on; the port is the same afterwards."""
    connection = connect()
    proxy.refuse()
    for _ in range(2):
        assert "Connection refused" in refusal(connect)
    assert ask(connection) == [(42,)]
    proxy.heal()
    assert ask(connect()) == [(42,)]


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_hang_up(proxy: Proxy, connect: Connect, how: Any) -> None:
    """A new connection is accepted and ended at once, the old ones go on."""
    connection = connect()
    proxy.hang_up(how)
    assert "timeout expired" not in refusal(connect)
    assert (ask(connection), proxy.seen()["accepted"] > 1, proxy.seen()["open"]) == ([(42,)], True, 1)
    proxy.heal()
    assert ask(connect()) == [(42,)]


@pytest.mark.parametrize("how", ["rst", "fin", "half"])
def test_end_all(proxy: Proxy, connect: Connect, how: Any) -> None:
    """An idle connection and one in mid-query are lost at once."""
    idle, busy = connect(), connect()
    asking = hangs(busy, "SELECT pg_sleep(20)")
    proxy.end_all(how)
    assert isinstance(asking.result(1.0).error, psycopg2.OperationalError)
    assert (failure(idle), busy.closed) == (LOST, 2)
    assert ask(connect()) == [(42,)]


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_cut(proxy: Proxy, connect: Connect, how: Any) -> None:
    """An answer that ends in the middle is no answer; the connections after it are whole."""
    one, other = connect(), connect()
    proxy.cut(30, how)
    assert failure(one) == LOST
    assert (ask(other), proxy.seen()["struck"]) == ([(42,)], 1)


def test_cut_and_silence(proxy: Proxy, connect: Connect) -> None:
    """An answer that stops in the middle hangs, healed or not, until the connection is ended."""
    connection = connect()
    proxy.cut(30, "hang")
    asking = hangs(connection)
    proxy.heal()
    assert ask(connect()) == [(42,)]
    assert asking.outcome is None
    proxy.end_all("rst")
    assert isinstance(asking.result(1.0).error, psycopg2.OperationalError)


@pytest.mark.usefixtures("table")
@pytest.mark.parametrize("how", ["rst", "fin", "hang"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_on_commit(server: Server, proxy: Proxy, connect: Connect, when: Any, how: Any) -> None:
    """A COMMIT that was lost and one whose answer was lost look the same, and only the second is committed."""
    connection = connect(application_name="commits")
    connection.autocommit = False
    proxy.on("commit", when, how)
    ask(connection, f"INSERT INTO {TABLE} VALUES (1)")
    committing = thread_of(connection.commit)
    assert eventually(lambda: proxy.seen()["struck"] == 1)
    assert rows_of(server, TABLE) == ([1] if when == "after" else [])
    if how == "hang":
        server.terminate("commits")
        proxy.heal()
        assert (committing.outcome, proxy.seen()["open"]) == (None, 1)
        proxy.end_all("rst")
    error = committing.result(1.0).error
    assert (type(error), connection.closed) == LOST


@pytest.mark.usefixtures("table")
def test_on_strikes_as_often_as_it_is_told(server: Server, proxy: Proxy, connect: Connect) -> None:
    """A trigger strikes the next queries with its text and no others, and not before a long answer has its end."""
    proxy.on("Generate_Series", "after", "rst", times=2)
    long = f"/* {'z' * 200_000} */ SELECT 'Z', repeat('x', 1000) FROM generate_series(1, 20000);"
    for number in (1, 2):
        connection = connect()
        assert ask(connection) == [(42,)]
        with pytest.raises(psycopg2.OperationalError):
            ask(connection, f"{long} INSERT INTO {TABLE} VALUES ({number})")
    assert len(ask(connect(), long)) == 20_000
    assert (proxy.seen()["struck"], rows_of(server, TABLE)) == (2, [1, 2])


def test_point_at(server: Server, proxy: Proxy, connect: Connect) -> None:
    """New connections go to another port, the old ones stay where they are."""
    old = connect()
    with Proxy(server.host, server.port) as other:
        proxy.point_at(other.port)
        assert (ask(connect()), ask(old)) == ([(42,)], [(42,)])
        assert (other.seen()["open"], proxy.seen()["open"]) == (1, 2)


def test_its_cost(proxy: Proxy, connect: Connect) -> None:
    """A hundred queries one after the other take far less than a second: it adds no waiting of its own."""
    connection = connect()
    since = time.monotonic()
    for _ in range(100):
        ask(connection)
    assert time.monotonic() - since < 1.0
