"""What it costs to choose between servers: checkout and release with one endpoint and with three."""

from __future__ import annotations

import timeit
from contextlib import ExitStack
from functools import partial

from benchmarks.checkout import GROUPS_OWN
from benchmarks.report import Figure, Goal, Row
from benchmarks.rounds import in_turns, microseconds
from benchmarks.server import Server
from benchmarks.several import balanced, three_servers
from pgdbpool.engine.owners import present_owner

__all__ = ["measure"]

ROUNDS = 100
_PAIRS = 2000
_CONNECTIONS = 4


def measure(_: Server, rounds: int | None) -> Row:
    with ExitStack() as stack:
        nodes = stack.enter_context(three_servers())
        timers = {}
        for count in (1, 2, 3):
            pool = stack.enter_context(balanced(nodes[:count], _CONNECTIONS))
            names = {"group": pool.desk(None).group, "present_owner": present_owner}
            timers[count] = timeit.Timer(GROUPS_OWN, "import gc; gc.enable()", globals=names)
        contestants = {str(count): partial(microseconds, timer, _PAIRS) for count, timer in timers.items()}
        results = in_turns(contestants, rounds or ROUNDS)
    more = [three - one for three, one in zip(results["3"], results["1"], strict=True)]
    return Row(
        title="choosing among three endpoints, per checkout",
        how=f"{len(more)} rounds of {_PAIRS:,} pairs of the group's checkout and release, one thread",
        figures=[Figure(f"endpoints: {count}", values, "µs") for count, values in results.items()],
        goals=[Goal("µs more than with one endpoint", more, 1)],
    )
