"""A background thread that exists while it has work."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import pytest

from pgdbpool.engine import worker as module
from pgdbpool.engine.worker import Worker
from tests.servers import eventually


class Work:
    """Work that says when it begins, ends when it is told to, and then does what it is told."""

    def __init__(self) -> None:
        self.worker = Worker("pgdbpool-test", self)
        self.runs = 0
        self._begun = threading.Semaphore(0)
        self._orders: queue.Queue[Callable[[], float | None]] = queue.Queue()

    def __call__(self) -> float | None:
        self.runs += 1
        self._begun.release()
        return self._orders.get(timeout=10)()

    def begun(self) -> bool:
        return self._begun.acquire(timeout=10)

    def ends(self, answer: float | BaseException | None = None) -> None:
        def obey() -> float | None:
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self._orders.put(obey)

    def threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "pgdbpool-test"]

    def rests(self, runs: int) -> bool:
        """Whether it has run so often, and a quarter of a second later no more often."""
        assert eventually(lambda: self.runs >= runs)
        eventually(lambda: self.runs > runs, 0.25)
        return self.runs == runs


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    """Work whose thread is gone at the end."""
    made = Work()
    yield made
    made.worker.stop()
    for _ in range(3):
        made.ends()
    assert eventually(lambda: not made.threads())


def test_a_nudge_runs_the_work_once_in_a_daemon(work: Work) -> None:
    """There is no thread before the first nudge; after it the work runs once, in a daemon of that name."""
    assert not work.threads()
    work.worker.nudge()
    assert work.begun()
    assert [thread.daemon for thread in work.threads()] == [True]
    work.ends()
    assert work.rests(1)


def test_a_nudge_during_the_work_runs_it_again(work: Work) -> None:
    """What comes while the work runs is not overlooked: it runs again, once, however many nudges came, in one thread."""
    work.worker.nudge()
    assert work.begun()
    for _ in range(5):
        work.worker.nudge()
    assert len(work.threads()) == 1
    work.ends()
    assert work.begun()
    work.ends()
    assert work.rests(2)


def test_the_thread_waits_for_more(work: Work) -> None:
    """After its work the thread lingers, and the next nudge finds it."""
    work.worker.nudge()
    assert work.begun()
    (thread,) = work.threads()
    work.ends()
    assert work.rests(1)
    work.worker.nudge()
    assert work.begun()
    assert work.threads() == [thread]
    work.ends()


def test_the_thread_ends_after_lingering(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without work ends after a while, and the next nudge starts another."""
    monkeypatch.setattr(module, "_LINGER", 0.02)
    for run in (1, 2):
        work.worker.nudge()
        assert work.begun()
        work.ends()
        assert eventually(lambda: not work.threads())
        assert work.runs == run


def test_work_asks_to_run_again(work: Work) -> None:
    """Work that asks for it runs again at once, or after the pause it names, without a nudge."""
    work.worker.nudge()
    assert work.begun()
    work.ends(0)
    assert work.begun()
    begun = monotonic()
    work.ends(0.1)
    assert work.begun()
    assert 0.09 < monotonic() - begun < 5
    work.ends()
    assert work.rests(3)


def test_a_nudge_ends_a_pause(work: Work) -> None:
    """Work that paused for long runs at once when it is nudged."""
    work.worker.nudge()
    assert work.begun()
    work.ends(1000.0)
    work.worker.nudge()
    assert work.begun()
    work.ends()


def test_a_pause_does_not_end_the_thread(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pause longer than the lingering is kept: the thread is there when it is over."""
    monkeypatch.setattr(module, "_LINGER", 0.01)
    work.worker.nudge()
    assert work.begun()
    (thread,) = work.threads()
    work.ends(0.1)
    assert work.begun()
    assert work.threads() == [thread]
    work.ends()


def test_an_exception_is_logged_and_the_next_nudge_works(work: Work, caplog: pytest.LogCaptureFixture) -> None:
    """Work that fails says so once in the log, does not run again by itself, and does at the next nudge."""
    work.worker.nudge()
    assert work.begun()
    work.ends(ValueError("broken work"))
    assert work.rests(1)
    (record,) = caplog.records
    assert (record.levelno, record.exc_info is not None) == (logging.ERROR, True)
    assert "pgdbpool-test" in record.getMessage()
    work.worker.nudge()
    assert work.begun()
    work.ends()
    assert work.rests(2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt], ids=lambda error: error.__name__)
def test_no_failure_is_for_ever(work: Work, error: type[BaseException]) -> None:
    """Work that ends by what is no Exception (``sys.exit`` in the user's code) runs again at the next nudge."""
    work.worker.nudge()
    assert work.begun()
    work.ends(error("of the user's code"))
    assert work.rests(1)
    work.worker.nudge()
    assert eventually(lambda: work.runs == 2, 2.0)


def test_stop_ends_the_thread_after_what_it_does(work: Work) -> None:
    """A stopped worker ends what it is doing, runs no more, and takes no more nudges."""
    work.worker.nudge()
    assert work.begun()
    work.worker.nudge()
    work.worker.stop()
    work.ends(0)
    assert eventually(lambda: not work.threads())
    work.worker.nudge()
    assert not work.threads()
    assert work.runs == 1


def test_stop_wakes_a_thread_that_rests(work: Work) -> None:
    """A thread that lingers ends at once when its worker is stopped."""
    work.worker.nudge()
    assert work.begun()
    work.ends()
    assert work.rests(1)
    work.worker.stop()
    assert eventually(lambda: not work.threads())


def test_stop_waits_as_long_as_it_is_told(work: Work) -> None:
    """``stop(patience)`` comes back when the thread has ended its work, or when its patience has."""
    work.worker.nudge()
    assert work.begun()
    begun = monotonic()
    work.worker.stop(0.05)
    assert 0.04 < monotonic() - begun < 5
    work.ends()
    begun = monotonic()
    work.worker.stop(30.0)
    assert monotonic() - begun < 5
    assert eventually(lambda: not work.threads())


def test_a_thread_that_cannot_start(
    work: Work, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where no thread can be started a nudge logs that and raises nothing, and the next one tries again."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        work.worker.nudge()
    (record,) = caplog.records
    assert record.getMessage() == "cannot start thread pgdbpool-test: can't start new thread"
    work.worker.nudge()
    assert work.begun()
    work.ends()
    assert work.rests(1)


@pytest.mark.contract("4.fork.1")
def test_a_forks_child_starts_anew(work: Work) -> None:
    """In the child of a fork, which has no thread and may have a lock that is held, a nudge starts the worker."""
    lock: Any = work.worker._lock
    lock.acquire()
    work.worker._thread = threading.current_thread()
    work.worker.after_fork()
    work.worker.nudge()
    assert work.begun()
    work.ends()
