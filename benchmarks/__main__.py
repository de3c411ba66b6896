"""``python -m benchmarks [NAME ...]``: measure, and say what is met."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import (
    absent,
    causal,
    checkout,
    choosing,
    failover,
    lost,
    machine,
    metrics,
    roundtrips,
    rows,
    scale,
    shares,
    statistics,
    threads,
    web,
)
from benchmarks.report import Row, in_words, summary
from benchmarks.server import Server, running

MEASURES: dict[str, Callable[[Server, int | None], Row]] = {
    "checkout": checkout.measure,
    "threads-16": threads.measure_16,
    "threads-64": threads.measure_64,
    "web": web.measure,
    "rows": rows.measure,
    "roundtrips": roundtrips.measure,
    "scale": scale.measure,
    "shares": shares.measure,
    "choosing": choosing.measure,
    **lost.MEASURES,
    "absent": absent.measure,
    "metrics": metrics.measure,
    **failover.MEASURES,
    **causal.MEASURES,
    **statistics.MEASURES,
}


def main() -> None:
    options = _options()
    began = time.monotonic()
    done: dict[str, Row] = {}
    failed: dict[str, str] = {}
    with running() as server:
        place = {**machine.described(server.name), "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])}
        print("\n".join(f"{name:<12}{text}" for name, text in place.items()), end="\n\n")
        for name in options.names or MEASURES:
            try:
                done[name] = _measured(name, server, options.rounds)
            except Exception as error:  # a row that cannot be measured is a result too
                failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
                print(f"{name}: not measured: {failed[name]}\n", flush=True)
            else:
                print(in_words(done[name]), flush=True)
    print(summary(done.values(), failed))
    print(f"\nmedians of all rounds, with quartiles; {time.monotonic() - began:.0f} s in all")
    if options.json:
        rows_ = {name: row.as_dict() for name, row in done.items()}
        _write(options.json, {"machine": place, "rows": rows_, "failed": failed})


def _measured(name: str, server: Server, rounds: int | None) -> Row:
    before = machine.load_average()
    row = MEASURES[name](server, rounds)
    return replace(row, load=(before, machine.load_average()))


def _write(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition(": ")[2])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"these rows only: {', '.join(MEASURES)}")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="instead of each row's own number")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's figures there too")
    found = parser.parse_args()
    if unknown := [name for name in found.names if name not in MEASURES]:
        parser.error(f"no such row: {', '.join(unknown)}; there are: {', '.join(MEASURES)}")
    return found


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


if __name__ == "__main__":
    main()
