"""``make faults``: every row of the fault matrix, each pool under the same fault, and what became of its requests."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from pathlib import Path

from tests.faults import report
from tests.faults.client.peers import PEERS
from tests.faults.record import OURS, SHOWN_BY, Record, Run, here
from tests.faults.rows import ROWS, Row
from tests.faults.table import HEAD, lines, summary, title

__all__ = ["main"]

PAGE = Path(__file__).resolve().parents[2] / "doc" / "reliability.md"
CROWD = 3.0  # by which the limits of time are eased for all where seven pools share the machine
NETWORK = "PGDBPOOL_TEST_NETWORK"  # "required": a row that cannot run here is a failure


def main() -> int:
    options = _options()
    if options.written_from:
        PAGE.write_text(report.written(Record.read(options.written_from)), encoding="utf-8")
        return 0
    record = Record(here(), list(PEERS) if options.peers else [OURS, SHOWN_BY])
    print("\n".join(f"{name:<12}{text}" for name, text in record.place.items()), end=f"\n\n{HEAD}\n")
    try:
        for seed in range(options.seed, options.seed + options.seeds):
            for number in options.rows or ROWS:
                record.runs.append(_run(ROWS[number], record, seed, options))
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    finally:
        print(summary(record))
        if options.json:
            record.write(options.json)
    if options.peers and not options.rows and not options.short:
        PAGE.write_text(report.written(record), encoding="utf-8")
        print(PAGE)
    required = os.environ.get(NETWORK) == "required"
    return int(any(run.objections or (required and run.not_run) for run in record.runs))


def _run(row: Row, record: Record, seed: int, options: argparse.Namespace) -> Run:
    """Run it, and say so before and after."""
    print(f"{title(row)} ", end="", flush=True)
    run = Run(row.number, seed, not_run=row.needs())
    began = time.monotonic()
    if not run.not_run:
        try:
            ease = dict.fromkeys(record.peers, CROWD) if options.peers else {}
            run.results = row.run(record.peers, seed, short=options.short, ease=ease)
        except Exception:
            run.broken = traceback.format_exc()
    run.seconds = time.monotonic() - began
    said = [f"({f'seed {seed}, ' if options.seeds > 1 else ''}{run.seconds:.1f} s)"]
    said += [f"     not run: {run.not_run}"] if run.not_run else [run.broken] if run.broken else []
    said += [lines(row, run.results, verbose=options.verbose)] if run.results else []
    said += [f"       → {each}" for each in run.objections]
    print("\n".join(said), flush=True)
    return run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"these only: {', '.join(ROWS)}")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="so many seeds, one after the other")
    parser.add_argument("--peers", action="store_true", help=f"all pools side by side; writes doc/{PAGE.name}")
    parser.add_argument("--short", action="store_true", help="the short form, as in make test")
    parser.add_argument("--verbose", action="store_true", help="all problems and errors of the peers, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    parser.add_argument("--from", dest="written_from", type=Path, metavar="FILE", help=f"write doc/{PAGE.name} from it")
    found = parser.parse_args()
    if unknown := [number for number in found.rows if number not in ROWS]:
        parser.error(f"no such row: {', '.join(unknown)}")
    return found


if __name__ == "__main__":
    sys.exit(main())
