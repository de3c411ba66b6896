"""How far a standby is behind, from samples alone: every case is worked out by hand in seconds and bytes."""

from __future__ import annotations

import random

import pytest

from pgdbpool.waiting import History, Lag

pytestmark = pytest.mark.contract("5.eligible.1")


def history(*samples: tuple[int, float]) -> History:
    made = History()
    for written, at in samples:
        made.note(written, at)
    return made


def seen(
    made: History,
    replayed: int,
    now: float,
    *,
    complete: bool | None = None,
    age: float | None = None,
    at: float | None = None,
) -> Lag:
    return made.lag(replayed, complete, age, now if at is None else at, now)


def test_a_standby_that_has_it_all_is_not_behind() -> None:
    """What was replayed is at or behind the primary's last sample: no second, no byte."""
    made = history((100, 10.0), (200, 11.0))
    assert seen(made, 200, 11.5, age=None) == seen(made, 250, 11.5, age=3.0) == Lag(0.0, 0)


def test_a_quiet_primary_is_no_lag() -> None:
    """However long ago the last transaction was, whoever has replayed it is up to date."""
    made = history(*((100, float(second)) for second in range(3600)))
    assert seen(made, 100, 3600.0, complete=True, age=3590.0) == Lag(0.0, 0)


def test_between_two_samples() -> None:
    """Data of a moment between the samples at 10 s and 11 s is, at 15 s, between 4 and 5 seconds old; the age says when."""
    made = history((100, 10.0), (200, 11.0), (300, 12.0))
    for age, seconds in ((None, 5.0), (4.5, 4.5), (0.25, 4.0), (99.0, 5.0)):
        assert seen(made, 150, 15.0, age=age) == Lag(seconds, 150)


def test_at_a_sample() -> None:
    """Exactly what the primary had written at 10 s: at least as old as the sample that shows more, at most as that one."""
    made = history((100, 10.0), (200, 11.0))
    assert seen(made, 100, 15.0) == Lag(5.0, 100)
    assert seen(made, 99, 15.0, age=7.0) == Lag(7.0, 101)


def test_before_the_first_sample() -> None:
    """Older than all that is known: at least since the first sample; how much longer the age alone can say."""
    made = history((100, 10.0), (200, 11.0))
    assert seen(made, 50, 15.0, age=20.0) == Lag(20.0, 150)
    assert seen(made, 50, 15.0, age=1.0) == Lag(5.0, 150)  # clocks that differ
    assert seen(made, 50, 15.0) == Lag(None, 150)


def test_nobody_has_seen_a_primary() -> None:
    """Without one sample: what is streamed and replayed completely is no lag, else the age, else it is unknown."""
    made = History()
    assert seen(made, 5, 10.0, complete=True, age=99.0) == Lag(0.0, None)
    assert seen(made, 5, 10.0, age=3.0) == Lag(3.0, None)
    assert seen(made, 5, 10.0) == Lag(None, None)


def test_time_goes_on_between_two_probes() -> None:
    """What was said a while ago is older now, by exactly that."""
    made = history((100, 10.0), (200, 11.0))
    assert seen(made, 50, 15.0, age=20.0, at=15.0) == Lag(20.0, 150)
    assert seen(made, 50, 17.5, age=20.0, at=15.0) == Lag(22.5, 150)
    assert seen(made, 150, 15.0, age=4.5, at=14.8).seconds == pytest.approx(4.7)


def test_a_sample_that_comes_late() -> None:
    """What was asked for earlier than the last one is no news."""
    made = history((100, 10.0), (300, 12.0), (200, 11.5))
    assert seen(made, 150, 15.0) == Lag(5.0, 150)
    assert seen(made, 300, 15.0) == Lag(0.0, 0)


def test_a_primary_that_crashed_may_be_back_behind_itself() -> None:
    """What it had not flushed is no more: a standby that has all that there is is not behind a position of before."""
    made = history((100, 10.0), (300, 12.0), (200, 14.0))
    assert seen(made, 200, 60.0) == Lag(0.0, 0)


def test_another_timeline_begins_anew() -> None:
    """After ``clear`` positions may be lower than before."""
    made = history((1000, 10.0))
    made.clear()
    assert seen(made, 5, 10.0) == Lag(None, None)
    made.note(100, 20.0)
    assert seen(made, 100, 21.0) == Lag(0.0, 0)


def test_a_quiet_time_costs_no_memory_and_no_truth() -> None:
    """Of many samples at one position the first and the last are enough: what is replayed up to there is as old as that."""
    made = history((100, 0.0), *((200, float(second)) for second in range(1, 1000)), (300, 1000.0))
    assert len(made._samples) == 4
    assert seen(made, 200, 1005.0) == Lag(6.0, 100)  # it was the primary's state until 999 s at least
    assert seen(made, 100, 1005.0) == Lag(1005.0, 200)


def test_it_forgets_the_oldest() -> None:
    """Thousands of samples are bounded; the latest are exact, and whoever is behind all of them is not called up to date."""
    made = history(*((position, float(position)) for position in range(20_000)))
    assert len(made._samples) <= 4096
    assert seen(made, 19_990, 20_000.0) == Lag(10.0, 9)
    assert seen(made, 5, 20_000.0, age=19_995.0) == Lag(19_995.0, 19_994)
    assert seen(made, 5, 20_000.0).seconds is None


@pytest.mark.parametrize("seed", range(20))
def test_never_less_than_the_truth_by_more_than_a_sample(seed: int) -> None:
    """A made-up primary and standby: the truth is within the samples' bounds, whatever the age says, and more is never less."""
    rng = random.Random(seed)
    made, written, state = History(), 0, [(0.0, 0)]
    for second in range(60):
        written += rng.choice([0, 0, 1, 50])
        state.append((second + rng.random(), written))
        made.note(written, second + 1.0)
    last = None
    for replayed in range(written, -1, -1):
        since = max((at for at, position in state if position <= replayed), default=0.0)
        found = seen(made, replayed, 61.0, age=61.0 - since).seconds
        assert found is not None
        # Its data was the primary's until the next write; that, and no more than a sample less, is what may be said.
        until = min((at for at, position in state if position > replayed), default=61.0)
        assert 61.0 - until - 1.0 - 1e-9 <= found
        assert last is None or found >= last
        last = found
