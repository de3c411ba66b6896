"""The last quarter of an hour of each group, a point every few seconds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from pgdbpool.waiting import Histogram

STEP = 5  # seconds
_POINTS = 180
_GAUGES = ("in_use", "idle", "waiting")
_COUNTED = "timeouts"  # since the point before
_PERCENTILES = ("wait_p95", "hold_p95")

Point = dict[str, tuple[Any, ...]]  # by group


class History:
    """Of one process. One thread notes, any may read meanwhile: the points are exchanged as a whole."""

    def __init__(self) -> None:
        self._told: tuple[int, tuple[Point, ...]] = (0, ())  # when the last one was, in unix time, and all of them
        self._timeouts: dict[str, int] = {}
        self._before: dict[tuple[str, str], Counter[str]] = {}

    def is_due(self, at: float) -> bool:
        return at // STEP * STEP != self._told[0]

    def note(self, figures: dict[str, Any]) -> None:
        """Take a point down."""
        before, points = self._told
        end = int(figures["at"]) // STEP * STEP
        points = points if end > before else ()  # the clock was set back
        missed = (end - before) // STEP - 1 if points else 0  # nobody was here to look
        unknown: tuple[Point, ...] = ({},) * min(missed, _POINTS)
        point = {name: self._point(name, group) for name, group in figures["groups"].items()}
        self._told = end, (*points, *unknown, point)[-_POINTS:]

    def _point(self, name: str, group: dict[str, Any]) -> tuple[Any, ...]:
        servers = group["servers"].values()
        gauges = (sum(each["in_use"] for each in servers), sum(each["idle"] for each in servers), group["waiting"])
        holds: Counter[str] = Counter()
        for each in servers:
            holds.update(each["hold"]["buckets"])
        timeouts = group[_COUNTED] - self._timeouts.get(name, 0)
        self._timeouts[name] = group[_COUNTED]
        began = self._lately(name, "hold", holds)
        waited = self._lately(name, "wait", Counter(group["wait"]["buckets"]))
        at_once = max(0, began.count - waited.count)
        return (*gauges, timeouts, waited.quantile(0.95, at_once), began.quantile(0.95))

    def _lately(self, group: str, kind: str, buckets: Counter[str]) -> Histogram:
        """What has been counted since the last point."""
        before = self._before.get((group, kind), Counter())
        self._before[group, kind] = buckets
        return Histogram((int(number), count) for number, count in (buckets - before).items())

    def told(self) -> dict[str, Any]:
        end, points = self._told
        names = dict.fromkeys(name for point in points for name in point)
        labels = (*_GAUGES, _COUNTED, *_PERCENTILES)
        empty = (None,) * len(labels)
        columns = {name: zip(*(point.get(name, empty) for point in points), strict=True) for name in names}
        groups = {name: dict(zip(labels, map(list, each), strict=True)) for name, each in columns.items()}
        return {"step": STEP, "end": end, "groups": groups}


def together(histories: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of several processes: what was there is added, of the percentiles the worst counts."""
    end = max((each["end"] for each in histories), default=0)
    series: dict[str, dict[str, list[list[Any]]]] = {}
    for each in histories:
        late = (end - each["end"]) // STEP
        for name, columns in each["groups"].items():
            for label, values in columns.items():
                padded = [*values, *[None] * min(late, _POINTS)][-_POINTS:]
                series.setdefault(name, {}).setdefault(label, []).append(padded)
    groups = {
        name: {
            label: _joined(all_values, max if label in _PERCENTILES else sum) for label, all_values in columns.items()
        }
        for name, columns in series.items()
    }
    return {"step": STEP, "end": end, "groups": groups}


def _joined(all_values: list[list[Any]], join: Any) -> list[Any]:
    longest = max(map(len, all_values))
    padded = [[None] * (longest - len(values)) + values for values in all_values]
    known = ([each for each in moment if each is not None] for moment in zip(*padded, strict=True))
    return [join(each) if each else None for each in known]
