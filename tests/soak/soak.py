"""A soak: one program, a primary and two standbys, proxies between them, and a fault every two seconds."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

from tests.faults.measured import Limits, Request
from tests.faults.scene import Scene
from tests.servers import eventually
from tests.soak.faults import NETWORK, PROGRAM, ROLES, SERVER, Stage
from tests.soak.judged import Found, Sample, Struck

__all__ = ["soaked"]

_FAULTS = [*SERVER, *NETWORK, *ROLES, *PROGRAM]
_CONNECTIONS, _MINIMUM, _THREADS = 8, 2, 16
_EVERY = 2.0  # seconds from one fault to the next
_BREATH = 1.0  # seconds without a fault at least
_WARM = 2.0  # seconds before the first
_CALM = 4.0  # seconds after the last


def soaked(seconds: float, seed: int, news: Callable[[str], None], every: float = 30.0) -> Found:
    """Soak for so long; ``news`` is given a line every ``every`` seconds, and one for each fault that failed to strike."""
    with tempfile.TemporaryDirectory() as folder, Scene(["pgdbpool"], seed, short=False, limits=Limits()) as scene:
        stage, journal = Stage(scene, _CONNECTIONS), Path(folder, "journal")
        args = {"schema": scene.schema("pgdbpool"), "seed": seed, "threads": _THREADS, "journal": str(journal)}
        setting = {"connections": _CONNECTIONS, "minimum": _MINIMUM, "place": stage.place}
        program = stage.program = scene.contestant("pgdbpool", "tests.soak.client:soak", args, **setting)
        program.told("ready", 60)
        return _Soak(stage, news, every).run(seconds, journal)


class _Soak:
    def __init__(self, stage: Stage, news: Callable[[str], None], every: float) -> None:
        self.stage, self.news, self.every = stage, news, every
        self.samples: list[Sample] = []
        self.struck: list[Struck] = []
        self._process = psutil.Process(stage.program.pid)

    def run(self, seconds: float, journal: Path) -> Found:
        self.stage.tell("hold")
        time.sleep(_WARM)
        objects, first, began = self.stage.tell("objects"), self._sample(), time.monotonic()
        said = began
        while time.monotonic() < began + seconds:
            self._strike()
            self.samples.append(self._sample())
            if time.monotonic() > said + self.every:
                said += self.every
                self.news(self._line(said - began))
        time.sleep(_CALM)
        return self._found(first, objects, journal)

    def _strike(self) -> None:
        fault = self.stage.dice.choice(_FAULTS)
        began = time.monotonic()
        what = fault(self.stage)
        self.struck.append(Struck(fault.__name__.replace("_", " "), what, began, time.monotonic()))
        time.sleep(max(_BREATH, began + _EVERY - time.monotonic()))

    def _sample(self) -> Sample:
        with self._process.oneshot():
            memory = self._process.memory_info().rss / 1e6
            return Sample(
                time.monotonic(),
                memory,
                self._process.num_fds(),
                self._process.num_threads(),
                len(self.stage.sessions()),
            )

    def _line(self, seconds: float) -> str:
        figures, sample = self.stage.tell("figures"), self.samples[-1]
        done = sum(figures.get(each, 0) for each in ("ok", "failed", "doubt", "wrong", "hung"))
        return (
            f"{seconds:6.0f} s{done:9d} requests{figures.get('failed', 0):6d} failed{figures.get('doubt', 0):5d} in doubt"
            f"{sample.memory:7.1f} MB{sample.descriptors:5d} descriptors{sample.threads:4d} threads"
            f"{sample.sessions:4d} sessions   {len(self.struck)} faults, the last: {self.struck[-1].name}"
        )

    def _found(self, first: Sample, objects: Any, journal: Path) -> Found:
        """What is there at the end, once the pool has all its connections again."""
        scene, able = self.stage.scene, self.stage.tell("hold")
        settled = lambda last: last.threads <= first.threads and last.sessions == first.sessions  # noqa: E731
        eventually(lambda: settled(self._sample()), 5.0)
        last, gaps, after = self._sample(), self.stage.tell("figures")["gaps"], self.stage.tell("objects")
        self.stage.program.order("finish")
        self.stage.program.told("done", 60)
        return Found(
            requests=list(_read(journal)),
            book=scene.book("pgdbpool"),
            struck=self.struck,
            stopped=self.stage.stopped,
            samples=self.samples,
            first=first,
            last=last,
            capacity=(sum(able), self.stage.connections * len(self.stage.proxies)),
            objects=(objects, after),
            gaps=[tuple(each) for each in gaps],
        )


def _read(journal: Path) -> Iterator[Request]:
    with open(journal, encoding="utf-8") as lines:
        for line in lines:
            yield Request(*json.loads(line))
