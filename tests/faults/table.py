"""The table that ``make faults`` prints."""

from __future__ import annotations

from tests.faults.measured import Measured
from tests.faults.rows import Row

__all__ = ["HEAD", "line"]

_WIDTHS = (4, 36, 20, 9, 7, 17, 9, 9, 7, 9)
_NAMES = ("row", "fault", "pool", "requests", "failed", "allowed", "worst s", "back s", "GIL s", "capacity")


def _cells(*cells: str) -> str:
    return "".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True))


HEAD = _cells(*_NAMES) + "leaks, ledger, verdict"


def line(row: Row, peer: str, found: Measured) -> str:
    """One pool under one fault; below it each limit that it did not keep."""
    back = "-" if found.back is None else f"{found.back:.2f}"
    cells = _cells(
        row.number,
        row.name[:35],
        peer,
        str(found.requests),
        str(found.failed),
        str(row.limits.failed),
        f"{found.worst:.2f}",
        back,
        f"{found.gap:.2f}",
        found.capacity or "-",
    )
    verdict = "OK" if not found.problems else "NO"
    rest = ", ".join(filter(None, [found.leaks or "no leaks", found.ledger or "-", found.facts.get("note"), verdict]))
    errors = [f"{number} x {error}" for error, number in found.facts.get("errors", ())] if found.problems else []
    return "\n".join([cells + rest, *(f"      {each}" for each in [*found.problems, *errors])])
