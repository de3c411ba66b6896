"""What was measured, and what it says about the goals: plain data, and its wording."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

__all__ = ["Figure", "Goal", "Row", "in_words", "pairwise", "summary"]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Lower and upper quartile; of fewer than four values the least and the greatest."""
    if len(values) < 4:
        return min(values), max(values)
    lower, _, upper = quantiles(values, n=4)
    return lower, upper


def pairwise(ours: Iterable[float], theirs: Iterable[float]) -> list[float]:
    """Our figure over theirs, round by round: what slowed a whole round down cancels out."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


@dataclass(frozen=True)
class Figure:
    """What one contestant reached: a value for each round."""

    name: str
    values: Sequence[float]
    unit: str

    def __str__(self) -> str:
        lower, upper = quartiles(self.values)
        return f"{_short(median(self.values)):>8}   {_short(lower)} – {_short(upper)} {self.unit}"


@dataclass(frozen=True)
class Goal:
    """A bound for the median of ``values``, one of each round: at most ``limit``, or at least."""

    what: str
    values: Sequence[float]
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        reached = median(self.values)
        return reached >= self.limit if self.at_least else reached <= self.limit

    @property
    def verdict(self) -> str:
        return "met" if self.met else "not met"

    @property
    def bound(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {_short(self.limit)}"

    @property
    def spread(self) -> str:
        lower, upper = quartiles(self.values)
        return f"{_short(lower)} – {_short(upper)}"


@dataclass(frozen=True)
class Row:
    """A row of the table. ``how`` says what a round was; ``load`` is the load average before and after."""

    title: str
    how: str
    figures: Sequence[Figure]
    goals: Sequence[Goal]
    notes: Sequence[str] = field(default=())
    load: tuple[float, float] = (0.0, 0.0)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with the value of every round."""
        goals = [{**vars(goal), "median": median(goal.values), "verdict": goal.verdict} for goal in self.goals]
        return {**vars(self), "figures": [vars(figure) for figure in self.figures], "goals": goals}


def in_words(row: Row) -> str:
    """The row's figures and goals; each figure is the median of its rounds and their quartiles."""
    lines = [f"{row.title}", f"  {row.how}; load average {row.load[0]:.1f}, at its end {row.load[1]:.1f}"]
    lines += [f"    {figure.name:<56}{figure}" for figure in row.figures]
    for goal in row.goals:
        reached = f"{_short(median(goal.values)):>6} ({goal.spread})"
        lines.append(f"  {goal.verdict:<8} {reached}, goal {goal.bound}: {goal.what}")
    lines += [f"  note: {note}" for note in row.notes]
    return "\n".join([*lines, ""])


def summary(rows: Iterable[Row], failed: dict[str, str]) -> str:
    """The table of verdicts, in Markdown."""
    lines = ["| what | goal | median | quartiles | verdict |", "|---|---|---|---|---|"]
    for row in rows:
        for goal in row.goals:
            cells = [row.title, f"{goal.bound}: {goal.what}", _short(median(goal.values)), goal.spread, goal.verdict]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [f"| {name} | – | – | – | not measured: {why} |" for name, why in failed.items()]
    return "\n".join(lines)


def _short(value: float) -> str:
    """Three significant digits, thousands separated."""
    if value == int(value) and abs(value) < 1000:
        return f"{value:.0f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
