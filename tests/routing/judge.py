"""What the servers themselves say of a statement: each is run on the primary and on a standby, and nothing is taken from
what the pool knows of functions.

It is run in a transaction on the primary, which is looked at from inside and rolled back, twice; on a standby; and in
autocommit on the primary. Each run has a session of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg2

from tests.routing.corpus import Case
from tests.servers import DATABASE, ROLE, Server
from tests.several import Replicas

# What of a session may be otherwise after a statement.
_SESSION = """
SELECT ARRAY(SELECT name || '=' || setting FROM pg_settings WHERE name <> 'transaction_read_only' ORDER BY 1),
  current_setting('corpus.touched', true), current_user, session_user,
  ARRAY(SELECT name FROM pg_prepared_statements ORDER BY 1), ARRAY(SELECT name FROM pg_cursors ORDER BY 1),
  ARRAY(SELECT pg_listening_channels() ORDER BY 1),
  ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = pg_my_temp_schema() ORDER BY 1),
  ARRAY(SELECT concat_ws(' ', mode, classid, objid) FROM pg_locks
    WHERE pid = pg_backend_pid() AND locktype = 'advisory' ORDER BY 1)
"""
# What a transaction that only reads has not: an id, and locks that anybody would have to wait for.
_TRANSACTION = """
SELECT pg_current_xact_id_if_assigned() IS NOT NULL, ARRAY(SELECT DISTINCT concat_ws(' ', locktype, mode) FROM pg_locks
  WHERE pid = pg_backend_pid() AND mode <> 'AccessShareLock' AND locktype <> 'virtualxid' ORDER BY 1)
"""
_READS_ONLY = [(False, [])]

# Of the whole database: the next transaction id, each sequence, and what is in each table. Superusers' affair.
_CONTENTS = """
CREATE FUNCTION public.contents() RETURNS TABLE (name text, content text) LANGUAGE plpgsql AS $$
BEGIN
  FOR name IN SELECT c.oid::regclass::text FROM pg_class c WHERE relkind IN ('r', 'm', 'S') AND relispopulated
      AND relpersistence <> 't' AND relnamespace::regnamespace::text IN ('web', 'a', 'b', 'public') ORDER BY 1 LOOP
    EXECUTE format('SELECT md5(string_agg(t::text, '','' ORDER BY t::text)) FROM (SELECT * FROM %s) AS t', name) INTO content;
    RETURN NEXT;
  END LOOP;
END$$
"""
_WORLD = """
SELECT pg_snapshot_xmax(pg_current_snapshot())::text, ARRAY(SELECT c::text FROM contents() AS c),
  (SELECT count(*) FROM pg_largeobject_metadata)
"""

Answer = tuple[Any, ...]


@dataclass(slots=True)
class Seen:
    """One statement: an answer is ``("error", SQLSTATE)``, or columns and rows, or only the command's tag."""

    here: Answer = ()  # on the primary, in a transaction
    again: Answer = ()
    there: Answer = ()  # on the standby
    alone: Answer = ()  # on the primary, in autocommit
    inside: str = ""  # what the transaction had done
    after: str = ""  # what was otherwise afterwards

    def against(self) -> str:
        """Why it may not go to a standby, by what the servers have shown; ``""``: nothing speaks against it."""
        if self.refused:
            return "refused"
        if self.inside or self.after:
            return "changes: " + (self.inside or self.after)
        if self.alone[0] == "error" or self.there[0] == "error":
            return "" if self.alone == self.there else f"fails otherwise: {self.alone} and {self.there}"
        return differs(self.here, self.again, self.there)

    @property
    def refused(self) -> bool:
        return self.there[0] == "error" and self.alone[0] != "error"


def differs(one: Answer, again: Answer, other: Answer) -> str:
    """How ``other`` is not what the two have in common, cell by cell."""
    if one[0] == "error" or again[0] == "error":
        return ""
    if one[0] != other[0]:
        return f"differs: {one[0]} and {other[0]}"
    if len(one[1]) == len(again[1]) != len(other[1]):
        return f"differs: {len(one[1])} rows and {len(other[1])}"
    for rows in zip(one[1], again[1], other[1], strict=False):
        for cell, same, elsewhere in zip(*rows, strict=True):
            if cell == same != elsewhere:
                return f"differs: {cell} and {elsewhere}"[:200]
    return ""


def judge(replicas: Replicas, cases: Sequence[Case]) -> list[Seen]:
    """All of them, in order. The two runs that keep what they change come when all comparisons are over."""
    replicas.primary.sql(_CONTENTS)
    replicas.caught_up()
    seen = [Seen() for _ in cases]
    for case, each in zip(cases, seen, strict=True):
        _compare(replicas, case, each)
    with closing(replicas.primary.admin(dbname=DATABASE)) as observer:
        before = _asked(observer, _WORLD)
        for case, each in zip(cases, seen, strict=True):
            each.after = _keep(replicas.primary, case, each)
            world, before = before, _asked(observer, _WORLD)
            each.after = each.after or ("the database" if world != before else "")
    return seen


def session(server: Server) -> Any:
    """A new one of the tests' role, in autocommit."""
    return server.admin(user=ROLE, dbname=DATABASE, options="-c statement_timeout=10s")


def run(connection: Any, case: Case) -> Answer:
    """The answer as plain text, so that any two can be compared."""
    with connection.cursor() as cursor:
        try:
            cursor.execute(case.text, case.params)
            if cursor.description is None:
                return cursor.statusmessage, ()
            columns = ", ".join(f"{column.name} {column.type_code}" for column in cursor.description)
            return columns, tuple(tuple(map(str, row)) for row in cursor)
        except psycopg2.Error as error:
            return "error", error.pgcode


def _compare(replicas: Replicas, case: Case, seen: Seen) -> None:
    seen.here, seen.inside, chance = _within(replicas.primary, case)
    seen.again, _, second_chance = _within(replicas.primary, case)
    if chance == second_chance:
        seen.inside = "the seed of random()"
    with closing(session(replicas.standbys[0])) as standby:
        seen.there = run(standby, case)


def _within(server: Server, case: Case) -> tuple[Answer, str, Any]:
    """In a transaction that is rolled back: the answer, what there is in it that a mere reader's has not, and a random()."""
    with closing(session(server)) as connection:
        before = _asked(connection, _SESSION)
        _asked(connection, "BEGIN")
        answer, inside = run(connection, case), ""
        if answer[0] != "error":
            done = _asked(connection, _TRANSACTION)
            inside = f"{done}" if done != _READS_ONLY else _other(before, _asked(connection, _SESSION))
        _asked(connection, "ROLLBACK")
        return answer, inside, _asked(connection, "SELECT random()")


def _keep(server: Server, case: Case, seen: Seen) -> str:
    with closing(session(server)) as connection:
        before = _asked(connection, _SESSION)
        seen.alone = run(connection, case)
        if connection.closed or connection.info.transaction_status == psycopg2.extensions.TRANSACTION_STATUS_INERROR:
            return "the transaction"
        return _other(before, _asked(connection, _SESSION))


def _other(before: Any, after: Any) -> str:
    changed = (str(new) for old, new in zip(before[0], after[0], strict=True) if old != new)
    return next(changed, "")[:200]


def _asked(connection: Any, text: str) -> list[Any]:
    with connection.cursor() as cursor:
        cursor.execute(text)
        return cursor.fetchall() if cursor.description else []
