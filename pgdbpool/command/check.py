"""``pgdbpool check``: ask every server of a configuration, all at once."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from functools import partial
from time import monotonic
from typing import Any

from pgdbpool import Pool
from pgdbpool.command.asking import Asking, NotYet
from pgdbpool.command.loading import load
from pgdbpool.command.words import printable
from pgdbpool.config import parse

Answer = dict[str, Any]


def check(chosen: Namespace) -> int:
    """Print what each server answers, in their order; 0 if all do."""
    found: dict[str, Answer] = {}
    for label, answer in _answers(load(chosen.config)):
        found[label] = answer
        if not chosen.json:
            print(_line(label, answer), flush=True)
    if chosen.json:
        print(json.dumps(found, indent=2))
    return 0 if all(answer["ok"] for answer in found.values()) else 1


def _answers(config: Any) -> Iterator[tuple[str, Answer]]:
    labels = [endpoint.label for endpoint in parse(config).endpoints]
    endpoints = [config["db"]] if isinstance(config["db"], Mapping) else config["db"]
    asked = [Asking(partial(_ask, config, endpoint)) for endpoint in endpoints]
    progress = _Progress()
    for label, asking in zip(labels, asked, strict=True):
        yield label, progress.wait(label, asking)


def _ask(config: Any, endpoint: Any) -> Answer:
    """One server's answer, to a pool that has this one only, takes it for whatever it is, and opens nothing by itself."""
    groups = {name: {**group, "min_connections": 0} for name, group in config["groups"].items()}
    alone = {"type": "non-threaded", "stats_dir": None, "db": {**endpoint, "role": "auto"}, "groups": groups}
    with Pool(alone) as pool:
        (answer,) = pool.check().values()
        return answer


def _line(label: str, answer: Answer) -> str:
    if not answer["ok"]:
        return f"{label}  FAILED  {printable(answer['error'])}"
    version, time = printable(answer["server_version"]), answer["round_trip"] * 1000
    return f"{label}  ok  {answer['role']}  PostgreSQL {version}  {time:.2f} ms"


class _Progress:
    """A line on standard error, where somebody looks on, as long as an answer is awaited."""

    def __init__(self) -> None:
        self._began = monotonic()
        self._seen = sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"

    def wait(self, label: str, asking: Asking[Answer]) -> Answer:
        try:
            while True:
                try:
                    return asking.next(1.0)
                except NotYet:
                    self._say(f"{label}: connecting for {monotonic() - self._began:.0f} s …")
        finally:
            self._say("")

    def _say(self, text: str) -> None:
        if self._seen:
            columns = os.get_terminal_size(sys.stderr.fileno()).columns or 80
            print(f"\r\033[K{text[: columns - 1]}", end="", file=sys.stderr, flush=True)
