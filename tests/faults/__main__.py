"""``make faults``: every row of the fault matrix, each pool under the same fault, and what became of its requests."""

from __future__ import annotations

import argparse
import sys
import time
import traceback

from tests.faults.client.peers import PEERS
from tests.faults.measured import Measured
from tests.faults.rows import ROWS, Row
from tests.faults.table import HEAD, line

__all__ = ["SHOWN_BY", "main"]

OURS, SHOWN_BY = "pgdbpool", "psycopg2.pool"


def main() -> int:
    options = _options()
    peers = list(PEERS) if options.peers else [OURS, SHOWN_BY]
    began, bad = time.monotonic(), []
    print(HEAD, flush=True)
    for seed in range(options.seed, options.seed + options.seeds):
        for number in options.rows or ROWS:
            if not _run(ROWS[number], peers, seed, short=options.short):
                bad.append(f"{number} (seed {seed})")
    print(f"\nseeds {options.seed} to {seed}, {time.monotonic() - began:.0f} s: ", end="")
    print(f"FAILED: {', '.join(bad)}" if bad else "every row within its limits")
    return bool(bad)


def _run(row: Row, peers: list[str], seed: int, *, short: bool) -> bool:
    """Whether ours is within the row's limits, and psycopg2.pool is not: else the row proves nothing."""
    if why := row.needs():
        print(f"{row.number:<4}{row.name}: not run: {why}", flush=True)
        return True
    try:
        results = row.run(peers, seed, short=short)
    except Exception:
        results = {OURS: Measured(problems=[traceback.format_exc()])}
    for peer in peers:
        if peer in results:
            print(line(row, peer, results[peer]), flush=True)
    return not results[OURS].problems and bool(results[SHOWN_BY].problems)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"these only: {', '.join(ROWS)}")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="so many seeds, one after the other")
    parser.add_argument("--peers", action="store_true", help="all pools side by side, not only psycopg2's")
    parser.add_argument("--short", action="store_true", help="the short form, as in make test")
    found = parser.parse_args()
    if unknown := [number for number in found.rows if number not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
