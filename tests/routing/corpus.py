"""The statements, and what is excused among them.

Whether one may go to a standby is not said here: ``judge`` asks the servers. Only ``PLAIN`` must go there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg2 import sql
from psycopg2.extensions import AsIs

from tests.routing.changes import CHANGING_TEXTS, HIDDEN_TEXTS
from tests.routing.reads import OF_THE_SERVER_TEXTS, PLAIN_TEXTS
from tests.routing.schema import LONG


class Case(NamedTuple):
    """What is given to ``execute`` and to ``query``."""

    text: Any
    params: Any = None

    def __str__(self) -> str:
        text = repr(self.text) if not isinstance(self.text, str) else self.text
        shown = text if len(text) < 200 else f"{text[:100]} … {len(text)} characters"
        return shown if self.params is None else f"{shown} with {self.params!r}"[:300]


class _Text(str):
    """As a web framework's markup is."""

    __slots__ = ()


def _cases(block: str) -> list[Case]:
    texts = [line.replace("⏎", "\n") for line in block.strip().split("\n")]
    return [Case(text, (1,) if "%s" in text else None) for text in texts]


_MEGABYTES = "x" * 10_000_000

PLAIN = [
    *_cases(PLAIN_TEXTS),
    Case("SELECT name FROM item WHERE id = %(id)s OR name = %(name)s", {"id": 1, "name": "touch()"}),
    Case("SELECT %s, %s::int, %s::numeric(10,2)", ("); SELECT touch()", 1, 2)),
    Case("SELECT id FROM item WHERE id = ANY(%s) AND name IN %s ORDER BY id", ([1, 2, 3], ("item 1", "item 2"))),
    Case("SELECT 100 %% %s, '%%s'", (7,)),
    Case(b"SELECT name FROM item WHERE id = 1"),
    Case(
        sql.SQL("SELECT {} FROM {} WHERE id = %s").format(sql.Identifier("name"), sql.Identifier("web", "item")), (1,)
    ),
    Case("SELECT id FROM item WHERE id IN (" + ", ".join(map(str, range(2_000))) + ") ORDER BY id"),
]
CHANGING = [
    *_cases(CHANGING_TEXTS),
    Case(f"SELECT * FROM {LONG}"),
    Case("SELECT %s", (AsIs("touch()"),)),
    Case("SELECT * FROM %(view)s", {"view": AsIs("deeper")}),
    Case("SELECT id FROM item WHERE id = %s" + " " * 9_000 + "AND touch() = 1", (1,)),
    Case("INSERT INTO scratch VALUES (%s, %s)", (9, _MEGABYTES)),
    Case(f"SELECT length('{_MEGABYTES}')"),
    Case(f"SELECT 1 /* {_MEGABYTES} */; SELECT touch()"),
    Case(b"SELECT touch()"),
    Case(_Text("SELECT touch()")),
    Case(sql.SQL("SELECT {}()").format(sql.Identifier("touch"))),
    Case(sql.SQL("SELECT * FROM {}").format(sql.Identifier("deeper"))),
    Case(sql.SQL("INSERT INTO scratch VALUES ({}, '')").format(sql.Literal(10))),
]
HIDDEN = {kind: _cases(texts) for kind, texts in HIDDEN_TEXTS.items()}
CORPUS = [*PLAIN, *CHANGING, *_cases(OF_THE_SERVER_TEXTS)]

# Whose answer is meant to differ from server to server: the server that gives it is the one that is asked about.
OF_THE_SERVER = {
    "pg_is_in_recovery": "tells whether the server that answers is a standby, which is what such a question is for",
    "current_setting": "tells a setting of the session that answers",
    "pg_postmaster_start_time": "tells since when the server that answers has been running",
}
# What the catalog vouches for, or what the server alone knows: found out by a standby's refusal.
FOUND_OUT = [
    "SELECT bumps()",
    "SELECT writes_all_the_same()",
    "SELECT fixed()",
    "SELECT * FROM cache",
    "SELECT count(*) FROM item WHERE id IN (SELECT id FROM cache)",
    "SELECT * FROM measured",
]
