"""What was run and what came of it; as JSON, so that the page can be written anew without a run."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from pgdbpool.demo.installed import newest, version_of
from tests.faults.measured import Measured

__all__ = ["OURS", "SHOWN_BY", "Record", "Run", "here", "worst"]

OURS, SHOWN_BY = "pgdbpool", "psycopg2.pool"


@dataclass
class Run:
    """One row with one seed. ``not_run`` says why it could not be run here, ``broken`` how its script failed."""

    row: str
    seed: int
    seconds: float = 0.0
    results: dict[str, Measured] = field(default_factory=dict)
    not_run: str = ""
    broken: str = ""

    @property
    def objections(self) -> list[str]:
        """Why the run does not count as passed: ours has to be within the limits, and psycopg2.pool must not be."""
        if self.not_run:
            return []
        if self.broken or OURS not in self.results:
            return ["the script failed" if self.broken else f"{OURS} took no part"]
        ours, shown = self.results[OURS], self.results.get(SHOWN_BY)
        return [
            *([f"{OURS} is not within the limits"] if ours.problems else []),
            *([f"{SHOWN_BY} is within the limits, too: this proves nothing"] if shown and not shown.problems else []),
        ]


@dataclass
class Record:
    """``place`` says where, when and by which command, in the order in which it is printed."""

    place: dict[str, str]
    peers: list[str]
    runs: list[Run] = field(default_factory=list)

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(run.row for run in self.runs))

    @property
    def seeds(self) -> list[int]:
        return sorted({run.seed for run in self.runs})

    def of(self, row: str, peer: str) -> list[Measured]:
        """One for each seed; none if this pool took no part."""
        return [run.results[peer] for run in self.runs if run.row == row and peer in run.results]

    def not_run(self, row: str) -> str:
        return next((run.not_run for run in self.runs if run.row == row and run.not_run), "")

    def is_broken(self, row: str) -> bool:
        """Whether its script failed with every seed."""
        return all(run.broken for run in self.runs if run.row == row)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Record:
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(found["place"], found["peers"], [_run(each) for each in found["runs"]])


def _run(found: dict[str, Any]) -> Run:
    return Run(**{**found, "results": {peer: Measured(**each) for peer, each in found["results"].items()}})


def here() -> dict[str, str]:
    """Where, when and by which command this is."""
    version = ".".join(map(str, version_of(newest()) or ()))
    words = {"date": time.strftime("%Y-%m-%d"), **machine.described(f"{version}, embedded, fsync off, on 127.0.0.1")}
    return {**words, "command": shlex.join(["python", "-m", "tests.faults", *sys.argv[1:]])}


def worst(seeds: Sequence[Measured]) -> Measured:
    """The worst of every figure, whichever seed it is of; the problems are those of the seed that has most of them."""
    most = max(seeds, key=lambda each: (len(each.problems), each.failed))
    failed = max(seeds, key=lambda each: each.failed)
    backs = [each.back for each in seeds]
    return Measured(
        requests=failed.requests,
        failed=failed.failed,
        worst=max(each.worst for each in seeds),
        back=None if None in backs else max(each for each in backs if each is not None),
        gap=max(each.gap for each in seeds),
        capacity=min((each.capacity for each in seeds), key=_number),
        leaks=_first(each.leaks for each in seeds),
        ledger=_first((each.ledger for each in seeds if each.ledger != "exact"), "exact" if most.ledger else ""),
        facts=most.facts,
        problems=most.problems,
    )


def _first(texts: Iterable[str], otherwise: str = "") -> str:
    return next((text for text in texts if text), otherwise)


def _number(capacity: str) -> int:
    return int(capacity.partition("/")[0] or 0)
