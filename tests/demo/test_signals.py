"""When the demo listens to a Ctrl-C."""

from __future__ import annotations

import os
import signal

import pytest

from pgdbpool.demo.signals import STOPPING, Signals


def interrupt(number: signal.Signals = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", STOPPING)
def test_it_waits_until_somebody_listens(number: signal.Signals) -> None:
    """A signal that comes while nobody listens is raised where the next one does, and only once."""
    with Signals() as signals:
        interrupt(number)
        with pytest.raises(KeyboardInterrupt), signals.heard():
            pytest.fail("it was not raised at the start of the block")
        interrupt(number)
        with signals.heard():
            interrupt(number)


def test_it_interrupts_who_listens() -> None:
    """A signal that comes while somebody listens is raised at once."""
    with Signals() as signals, signals.heard(), pytest.raises(KeyboardInterrupt):
        interrupt()


def test_what_is_ignored_stays_ignored() -> None:
    """Under nohup, which ignores SIGHUP, the end of the terminal does not end the demo."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with Signals() as signals, signals.heard():
            interrupt(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_the_handlers_come_back() -> None:
    """After the block the handlers are those from before it."""
    before = [signal.getsignal(number) for number in STOPPING]
    with Signals():
        during = [signal.getsignal(number) for number in STOPPING]

    assert [signal.getsignal(number) for number in STOPPING] == before
    assert during != before
