"""Where a pool sends what it is given: a proxy in front of each server keeps what comes by."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Any

import psycopg2

import pgdbpool
from pgdbpool.text import look
from tests.life import thread_of
from tests.routing.corpus import Case
from tests.routing.judge import Answer, plain_rows, session
from tests.servers import eventually
from tests.several import Replicas, is_known
from tests.usage import Wire, wire_to


@dataclass(frozen=True, slots=True)
class Sent:
    """One call of ``query``: the servers that got the text, in order of their labels, each as often as it got it."""

    answer: Answer
    servers: tuple[str, ...]

    @property
    def to_standby(self) -> bool:
        return any(label.startswith("standby") for label in self.servers)


class Wired:
    """A pool over the replicas, through proxies."""

    def __init__(self, replicas: Replicas, group: dict[str, Any] | None = None) -> None:
        self._stack = ExitStack()
        self.replicas = replicas
        self.wires: dict[str, Wire] = {
            label: self._stack.enter_context(wire_to(server)) for label, server in replicas.by_label.items()
        }
        each = {label: {"port": wire.port, "ssl": "disable"} for label, wire in self.wires.items()}
        self.pool = pgdbpool.Pool(replicas.config(group, each=each))
        self._stack.callback(self.pool.close, timeout=1)
        self._plain = self._stack.enter_context(closing(session(replicas.primary)))
        assert eventually(lambda: is_known(self.pool))

    def close(self) -> None:
        self._stack.close()

    def __enter__(self) -> Wired:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, case: Case, **options: Any) -> Sent:
        """By a thread that has written nothing yet, so that its reads may go anywhere."""
        text = self._written_out(case)
        for wire in self.wires.values():
            wire.sent = []
        answer = thread_of(self._query, case, options).result(30.0).value
        return Sent(answer, tuple(self._labels(text)))

    def learn(self, cases: Sequence[Case]) -> None:
        """Return when the pool knows what the names in these texts stand for, and those in the views behind them."""
        desk = self.pool.desk(None)
        texts = [self._written_out(case) for case in cases]
        while self._wishes(desk, texts):
            assert eventually(lambda: not desk._catalog._wished), "nobody learns the names"

    @staticmethod
    def _wishes(desk: Any, texts: list[str]) -> bool:
        """Ask for all of them; whether a name was unknown."""
        wished = False
        for text in texts:
            desk._catalog.allows(text, look(text), desk.options.standby_functions)
            wished = wished or bool(desk._catalog._wished)
        return wished

    def _written_out(self, case: Case) -> str:
        with self._plain.cursor() as cursor:
            return str(cursor.mogrify(case.text, case.params).decode())

    def _query(self, case: Case, options: dict[str, Any]) -> Answer:
        try:
            result = self.pool.query(case.text, case.params, **options)
        except psycopg2.Error as error:
            return "error", error.pgcode
        if result.description is None:
            return result.statusmessage, ()
        columns = ", ".join(f"{column.name} {column.type_code}" for column in result.description)
        return columns, plain_rows(result)

    def _labels(self, text: str) -> list[str]:
        return [
            label
            for label, wire in self.wires.items()
            for kind, said in list(wire.sent)
            if kind == "Q" and (said == text or said.endswith("\n" + text))
        ]
