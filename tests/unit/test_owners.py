"""Who borrows, which of it is lent by key, and that no two threads use it at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import pytest

from pgdbpool.engine.guard import Grip
from pgdbpool.engine.loans import Loans
from pgdbpool.engine.owners import Owner, describe, is_at_work, place_of_caller, present_owner, where_now
from pgdbpool.errors import PoolError
from tests.servers import eventually

T = TypeVar("T")


def in_thread(work: Callable[[], T], name: str | None = None) -> T:
    """What ``work`` returns in a thread of its own, which has ended."""
    answers: list[T] = []
    thread = threading.Thread(target=lambda: answers.append(work()), name=name)
    thread.start()
    thread.join(10)
    return answers[0]


def ended(owner: Owner) -> bool:
    """Whether the owner is known to be dead, by now or very soon: a thread's locals die a moment after ``join``."""
    return bool(eventually(lambda: not owner.alive))


def test_a_thread_is_one_owner() -> None:
    """A thread is the same owner whenever it asks, and no other thread is."""
    assert present_owner() is present_owner()
    other = in_thread(present_owner, "somebody")
    assert other is not present_owner()
    assert (other.name, present_owner().ident) == ("somebody", threading.get_ident())


def test_an_owner_dies_with_its_thread() -> None:
    """An owner is alive as long as its thread, and not a moment too short."""
    go, seen = threading.Event(), list[Owner]()

    def work() -> None:
        seen.append(present_owner())
        go.wait(10)

    thread = threading.Thread(target=work)
    thread.start()
    assert eventually(lambda: seen)
    assert seen[0].alive is True
    go.set()
    thread.join(10)
    assert ended(seen[0])
    assert present_owner().alive is True


def test_a_thread_that_raises_dies_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that an exception ended leaves an owner that is dead, though its traceback is kept."""
    kept: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", kept.append)
    seen: list[Owner] = []

    def work() -> None:
        seen.append(present_owner())
        raise ValueError

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert kept[0].exc_type is ValueError
    assert ended(seen[0])


def test_a_reused_ident_revives_nobody() -> None:
    """A thread that has a dead one's ident is another owner, and the dead one stays dead."""
    dead: dict[int, Owner] = {}
    for _ in range(200):
        owner = in_thread(present_owner)
        assert ended(owner)
        if owner.ident in dead:
            assert dead[owner.ident] is not owner
            assert dead[owner.ident].alive is False
            return
        dead[owner.ident] = owner
    pytest.skip("this platform reuses no thread idents")


def caller_of_the_pool(work: Callable[[], T]) -> T:
    return work()


def inside(name: str, source: str) -> Any:
    """What an expression gives where it is evaluated by the module of that name, two calls deep."""
    text = f"def asked():\n    return answer()\n\ndef answer():\n    return {source}\n"
    module: dict[str, Any] = {"__name__": name, "place_of_caller": place_of_caller, "sys": sys}
    exec(compile(text, "invented.py", "exec"), module)
    return module["asked"]


@pytest.mark.parametrize("module", ["pgdbpool.access.invented", "pgdbpool.engine.invented", "pgdbpool.facade"])
def test_a_place_is_the_nearest_code_outside(module: str) -> None:
    """A checkout's place is the user's line, however deep in this package it is noted."""
    place = caller_of_the_pool(inside(module, "place_of_caller()"))
    here = caller_of_the_pool.__code__
    assert place is not None
    assert place[0] is here
    assert describe(place) == f"{here.co_filename}:{here.co_firstlineno + 1} (caller_of_the_pool)"


def test_the_demos_shop_is_outside() -> None:
    """The example shop, though it is installed inside the package, is a user."""
    assert describe(inside("pgdbpool.demo.shop.views", "place_of_caller()")()) == "invented.py:2 (asked)"


def test_an_unknown_place() -> None:
    """A place that is not known is said to be so; of an instruction without a line the function's first is named."""
    assert describe(None) == "unknown place"
    code = caller_of_the_pool.__code__
    assert describe((code, 10**6)) == f"{code.co_filename}:{code.co_firstlineno} (caller_of_the_pool)"


def stands_here(seen: list[Owner], go: threading.Event) -> None:
    seen.append(present_owner())
    go.wait(10)


def test_where_a_thread_stands() -> None:
    """Of a thread that lives it can be said which code it is in; of one that ended, nothing, though its ident lives."""
    seen, go = list[Owner](), threading.Event()
    thread = threading.Thread(target=stands_here, args=(seen, go))
    thread.start()
    try:
        assert eventually(lambda: seen)
        assert eventually(lambda: describe(where_now(seen[0])).endswith("(stands_here)"))
    finally:
        go.set()
        thread.join(10)
    assert ended(seen[0])
    seen[0].ident = threading.get_ident()
    assert where_now(seen[0]) is None


@pytest.mark.parametrize(("module", "answer"), [("pgdbpool.access.invented", True), ("shop.views", False)])
def test_who_is_at_work(module: str, answer: bool) -> None:
    """A thread is at work while code of this package is anywhere on its stack; one that cannot be seen counts as such."""
    go = threading.Event()
    seen: list[Owner] = []
    text = "def asked():\n    stands_here(seen, go)\n"
    names = {"__name__": module, "stands_here": stands_here, "seen": seen, "go": go}
    exec(compile(text, "invented.py", "exec"), names)
    thread = threading.Thread(target=names["asked"])
    thread.start()
    try:
        assert eventually(lambda: seen)
        assert is_at_work(seen[0]) is answer
    finally:
        go.set()
        thread.join(10)
    assert eventually(lambda: is_at_work(seen[0]))


@pytest.mark.contract("4.protected.1", "4.protected.2")
def test_two_threads_on_one_connection() -> None:
    """A second thread is refused at once while the first is inside, and let in afterwards."""
    grip = Grip(threading.Lock(), None)

    def enter() -> str:
        try:
            with grip:
                return "inside"
        except PoolError as error:
            return str(error)

    with grip:
        assert "two threads" in in_thread(enter)
        assert "two threads" in enter()
    assert in_thread(enter) == "inside"


@pytest.mark.contract("4.protected.1")
def test_an_exception_lets_go_of_the_connection() -> None:
    """A use that raises is over."""
    grip = Grip(threading.Lock(), None)
    with pytest.raises(ValueError, match="of the statement"), grip:
        raise ValueError("of the statement")
    with grip:
        pass


class Raw:
    """What getconn lends."""


class Loan:
    """A connection and its key; whether it is held, and by this thread, is for the test to say."""

    def __init__(self, raw: Raw, key: Any = None) -> None:
        self.raw = raw
        self.key = key
        self.held = self.is_mine = True

    def lasts(self) -> bool:
        return self.held


@pytest.mark.contract("2.call.getconn.1")
def test_a_loan_is_found_by_its_key_until_it_ends() -> None:
    """A key leads to its loan while it is open, and a loan ends once."""
    loans, raw = Loans(), Raw()
    mine = Loan(raw, "key")
    loans.enter(mine)
    assert (loans.of_key("key"), loans.of_key("other"), loans.of_key(None)) == (mine, None, None)
    assert loans.enter(Loan(Raw(), "key")) is mine
    assert loans.leave(raw, "key") is mine
    assert (loans.of_key("key"), loans.leave(raw, "key")) == (None, None)


@pytest.mark.contract("2.call.getconn.1")
def test_a_loan_ends_by_its_connection_alone() -> None:
    """The key need not be said to end a loan, with or without one."""
    loans, first, second = Loans(), Raw(), Raw()
    loans.enter(Loan(first, "key"))
    loans.enter(Loan(second))
    assert [loans.leave(raw, None) is not None for raw in (first, second)] == [True, True]
    assert loans.of_key("key") is None


@pytest.mark.contract("4.protected.2")
def test_no_loan_ends_by_a_wrong_key_or_connection() -> None:
    """Another key, or a connection that was never lent, ends no loan."""
    loans, raw = Loans(), Raw()
    mine = Loan(raw, "key")
    loans.enter(mine)
    assert (loans.leave(raw, "other"), loans.leave(Raw(), "key"), loans.leave(Raw(), None)) == (None, None, None)
    assert loans.leave(raw, "key") is mine


@pytest.mark.contract("4.protected.2")
def test_no_loan_ends_by_a_thread_that_has_it_no_more() -> None:
    """Who gave it back cannot end the loan of whoever has got the same connection since."""
    loans, mine = Loans(), Loan(Raw())
    loans.enter(mine)
    mine.is_mine = False
    assert loans.leave(mine.raw, None) is None
    mine.is_mine = True
    assert loans.leave(mine.raw, None) is mine


@pytest.mark.contract("4.protected.2")
def test_a_key_leads_to_no_connection_that_was_taken_back() -> None:
    """What was taken from the thread that borrowed it, or is about to be, is nobody's by its old key."""
    loans, mine = Loans(), Loan(Raw(), "key")
    loans.enter(mine)
    assert loans.of_key("key") is mine
    mine.held = False
    assert loans.of_key("key") is None
