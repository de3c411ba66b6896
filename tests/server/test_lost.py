"""Lost connections are replaced, and a server that comes back serves at once (contract §4)."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

from pgdbpool import DBConnectionError, DBOfflineError, InDoubt, PoolTimeout
from tests.life import Crowd, full, pids_of, ticking, warm
from tests.servers import Server, eventually

NAME = "pgdbpool:web"


@pytest.fixture(autouse=True)
def it_runs_again(module_server: Server) -> Iterator[None]:
    """The server of this module runs after each test, also after one that failed."""
    yield
    if not module_server.running:
        module_server.start()


@pytest.fixture
def pool(module_server: Server, make_pool: Callable[..., Any]) -> Any:
    """Eight connections to a server that may be restarted; who waits outlasts its absence and the way back."""
    pool = make_pool(module_server.config({"connection_count": 8, "timeout": 6}))
    warm(pool, 8)
    return pool


@contextmanager
def counting(port: int) -> Iterator[Callable[[], int]]:
    """Somebody else on the port, who hangs up on everybody at once; tells how often he was called."""
    calls, going = [0], [True]
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        listener.settimeout(0.05)

        def serve() -> None:
            while going:
                with suppress(TimeoutError):
                    caller, _ = listener.accept()
                    calls[0] += 1
                    caller.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield lambda: calls[0]
        finally:
            going.clear()
            thread.join(5)


@pytest.mark.contract("4.lost.1", "4.alive.2")
@pytest.mark.parametrize("mode", ["fast", "immediate", "kill9"])
def test_a_restart_under_load_fails_what_was_in_flight(pool: Any, module_server: Server, mode: str) -> None:
    """A server restarted under load: at most one error per request in flight, served again at once, no slot lost."""
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.005)")) as crowd:
        if mode == "kill9":
            module_server.kill9()
        else:
            module_server.stop(mode)
        module_server.start()
        back = time.monotonic()
        crowd.goes_on()
    assert crowd.first_success_after(back) < 1.0
    assert len(crowd.errors) <= 8, crowd.errors
    assert {type(error) for error in crowd.errors} <= {DBConnectionError}
    assert full(pool, 8)


@pytest.mark.contract("4.lost.1", "4.alive.2")
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_while_idle_is_not_noticed(pool: Any, module_server: Server, mode: str) -> None:
    """A server restarted while the pool is idle costs no error, and capacity is whole at once."""
    module_server.restart(mode)
    since = time.monotonic()
    assert pool.query("SELECT 1").scalar() == 1
    assert time.monotonic() - since < 1.0
    assert full(pool, 8)


@pytest.mark.contract("4.lost.1")
def test_a_killed_backend_takes_all_with_it_and_all_come_back(pool: Any, module_server: Server) -> None:
    """kill -9 of one backend makes the server end all of them: one error per request in flight, then as before."""
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.005)")) as crowd:
        os.kill(pids_of(module_server, NAME)[0], signal.SIGKILL)
        assert eventually(lambda: crowd.errors)
        crowd.goes_on()
    assert len(crowd.errors) <= 8
    assert {type(error) for error in crowd.errors} <= {DBConnectionError}
    assert full(pool, 8)


@pytest.mark.contract("4.lost.1")
def test_a_server_away_for_three_seconds_costs_no_waiting_request(pool: Any, module_server: Server) -> None:
    """Down for 3 s: who can wait waits and is served well within a second of its return; connect attempts are few."""
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.005)")) as crowd, ticking() as gap:
        module_server.stop("fast")
        with counting(module_server.port) as attempts:
            time.sleep(3.0)
            dialled = attempts()
        module_server.start()
        back = time.monotonic()
        crowd.goes_on()
        assert gap() < 0.15
    assert crowd.first_success_after(back) < 1.0
    assert 1 <= dialled <= 12, dialled
    assert len(crowd.errors) <= 8, crowd.errors
    assert full(pool, 8)


@pytest.mark.contract("4.lost.1", "4.waiting.2")
def test_a_server_away_for_longer_than_timeout_is_offline(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """Requests whose time runs out while the server is away get DBOfflineError in time; then it serves again at once."""
    pool = make_pool(module_server.config({"connection_count": 8, "timeout": 0.5}))
    warm(pool, 8)
    with Crowd(lambda: pool.query("SELECT pg_sleep(0.005)")) as crowd:
        module_server.stop("immediate")
        time.sleep(2.0)
        module_server.start()
        back = time.monotonic()
        crowd.goes_on()
    assert crowd.first_success_after(back) < 1.0
    kinds = {type(error) for error in crowd.errors}
    assert DBOfflineError in kinds
    assert kinds <= {DBConnectionError, DBOfflineError, PoolTimeout}
    assert sum(type(error) is DBConnectionError for error in crowd.errors) <= 8
    assert max(each.seconds for each in crowd.all) < 1.5
    assert full(pool, 8)


@pytest.mark.contract("4.lost.1")
def test_an_idle_pool_finds_a_server_that_was_away(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """Nobody asks while the server is away and returns: the first request after that is served at once."""
    pool = make_pool(module_server.config({"connection_count": 4, "min_connections": 2}))
    warm(pool, 4)
    module_server.stop("immediate")
    time.sleep(1.5)
    module_server.start()
    since = time.monotonic()
    assert pool.query("SELECT 1").scalar() == 1
    assert time.monotonic() - since < 1.0
    assert full(pool, 4)


@pytest.mark.contract("4.lost.1")
def test_a_smart_shutdown_lets_open_connections_work(module_server: Server, make_pool: Callable[..., Any]) -> None:
    """While a smart shutdown waits, open connections serve on, and nothing new is opened."""
    pool = make_pool(module_server.config({"connection_count": 4, "timeout": 0.4}))
    warm(pool, 2)
    with pool.handler() as db:
        module_server.cluster._server.send_signal(signal.SIGTERM)  # type: ignore[attr-defined]
        assert eventually(lambda: module_server.cluster._status() == "stopping")  # type: ignore[attr-defined]
        assert db.query("SELECT 1").scalar() == 1
        assert pool.query("SELECT 1").scalar() == 1
        with pool.handler(), pytest.raises(PoolTimeout):
            pool.query("SELECT 1")
    module_server.stop("fast")
    module_server.start()
    assert full(pool, 4)


@pytest.mark.contract("4.lost.1", "4.a-write-that.5")
def test_a_handler_survives_the_loss_of_its_connection_as_an_object(module_server: Server, pool: Any) -> None:
    """After its connection was lost a handler goes on raising, sends nothing to anyone else's, and gives its slot back."""
    with pool.handler() as db:
        pid = db.query("SELECT pg_backend_pid()").scalar()
        module_server.sql("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        for _ in range(3):
            with pytest.raises(DBConnectionError):
                db.query("SELECT 1")
        with pytest.raises(DBConnectionError):
            db.commit()

    def lose() -> None:
        with pool.transaction() as db:
            pid = db.query("SELECT pg_backend_pid(), txid_current()").one()[0]
            module_server.sql("SELECT pg_terminate_backend(%s, 5000)", (pid,))

    with pytest.raises((DBConnectionError, InDoubt)):
        lose()
    assert full(pool, 8)


def own_answer(pool: Any, number: int) -> int:
    """Ask the server for a number, by one of four ways in."""
    if number % 4 == 0:
        return int(pool.query("SELECT %s::int", (number,)).scalar())
    if number % 4 == 1:
        with pool.transaction() as db:
            db.query("SET LOCAL work_mem = '65kB'")
            return int(db.query("SELECT %s::int FROM pg_sleep(0.002)", (number,)).scalar())
    if number % 4 == 2:
        with pool.handler() as db:
            db.query("SET custom.number = %s", (str(number),))
            return int(db.query("SELECT current_setting('custom.number')").scalar())
    with pool.connection() as raw, raw.cursor() as cursor:
        cursor.execute("SELECT %s::int", (number,))
        return int(cursor.fetchone()[0])


@pytest.mark.contract("4.lost.1", "4.given-back.1")
def test_random_faults_lose_no_slot_and_mix_no_answers(pool: Any, module_server: Server) -> None:
    """Seconds of random faults: every answer is the asker's own, and capacity is whole at the end."""
    seed = random.randrange(10**6)
    dice = random.Random(seed)
    numbers = iter(range(10**9))

    def ask() -> None:
        number = next(numbers)
        answer = own_answer(pool, number)
        if answer != number:
            wrong.append((number, answer))

    def one_backend() -> int:
        return dice.choice(pids_of(module_server, NAME) or [0])

    def terminate_one() -> None:
        module_server.sql("SELECT pg_terminate_backend(%s)", (one_backend(),))

    def cancel_one() -> None:
        module_server.sql("SELECT pg_cancel_backend(%s)", (one_backend(),))

    def pause_one() -> None:
        if pid := one_backend():
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(pid, signal.SIGCONT)

    wrong: list[tuple[int, int]] = []
    faults = [terminate_one, cancel_one, pause_one, lambda: module_server.restart("fast")]
    with Crowd(ask, threads=12) as crowd:
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            dice.choice(faults)()
            time.sleep(dice.random() * 0.2)
        crowd.goes_on()
    assert wrong == [], f"seed {seed}"
    assert full(pool, 8), f"seed {seed}"
