"""What ``make faults`` prints: a line for each pool under each fault, and a summary."""

from __future__ import annotations

from tests.faults.measured import Measured
from tests.faults.record import OURS, Record, Run, worst
from tests.faults.rows import ROWS, Row
from tests.faults.words import in_short

__all__ = ["HEAD", "lines", "summary", "title"]

_COLUMNS = {  # name: width
    "pool": 22,
    "requests": 9,
    "failed": 8,
    "allowed": 17,
    "worst s": 9,
    "back s": 8,
    "GIL s": 8,
    "capacity": 10,
    "leaks": 8,
    "ledger": 8,
    "verdict": 0,
}
_INDENT, _WIDTH = 5, 158
HEAD = " " * _INDENT + "".join(f"{name:<{width}}" for name, width in _COLUMNS.items())


def title(row: Row) -> str:
    """The line over a row's lines."""
    return f"{row.number:<{_INDENT}}{row.name}: {row.sentence}"[: _WIDTH - 10]


def lines(row: Row, results: dict[str, Measured], *, verbose: bool = False) -> str:
    """One line for each pool; below it what it did not keep: of the peers the first of it, unless ``verbose``."""
    found: list[str] = []
    for peer, measured in results.items():
        found.append(_line(row, peer, measured))
        problems = [f"{' ' * (_INDENT + 2)}{each}"[:_WIDTH] for each in _problems(measured, verbose=verbose)]
        found += problems if verbose or peer == OURS else problems[:1]
    return "\n".join(found)


def _line(row: Row, peer: str, found: Measured) -> str:
    cells = (
        peer,
        str(found.requests),
        str(found.failed),
        str(row.limits.failed),
        f"{found.worst:.2f}",
        "never" if found.back is None else f"{found.back:.2f}",
        f"{found.gap:.2f}",
        found.capacity,
        "LEFT" if found.leaks else "none",
        found.ledger if found.ledger in ("", "exact") else "WRONG",
    )
    if "cases" in found.facts:  # a script's: only the cases were judged
        cells = (*cells[:3], *["-"] * 7)
    verdict = "fails" if found.problems else "OK"
    return " " * _INDENT + "".join(
        f"{cell:<{width}}" for cell, width in zip((*cells, verdict), _COLUMNS.values(), strict=True)
    )


def _problems(found: Measured, *, verbose: bool) -> list[str]:
    errors = [f"{number} × {error}" for error, number in found.facts.get("errors", ())] if found.problems else []
    note = [found.facts["note"]] if "note" in found.facts else []
    return [*note, *(each if verbose else in_short(each) for each in found.problems), *errors]


def summary(record: Record) -> str:
    """What is to be mended, and with several seeds the worst of them for each row."""
    said = [f"\nThe worst of seeds {_seeds(record)}\n\n{HEAD}"] if len(record.seeds) > 1 else []
    for number in record.rows if said else ():
        results = {peer: worst(record.of(number, peer)) for peer in record.peers if record.of(number, peer)}
        said += [title(ROWS[number]), lines(ROWS[number], results)]
    bad = [run for run in record.runs if run.objections]
    said += ["", *(_objection(run) for run in bad)]
    said += [f"{number} not run: {why}" for number in record.rows if (why := record.not_run(number))]
    ran = [run for run in record.runs if not run.not_run]
    said += [f"seeds {_seeds(record)}: {len(ran) - len(bad)} of {len(ran)} runs passed, {_seconds(ran):.0f} s"]
    return "\n".join(said)


def _objection(run: Run) -> str:
    return f"{run.row} {ROWS[run.row].name}, seed {run.seed}: {'; '.join(run.objections)}"


def _seeds(record: Record) -> str:
    return " ".join(map(str, record.seeds))


def _seconds(runs: list[Run]) -> float:
    return sum(run.seconds for run in runs)
