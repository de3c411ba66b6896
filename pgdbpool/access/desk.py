"""A group as its users see it: where connections are taken, and with which limits."""

from __future__ import annotations

from typing import Any

from pgdbpool.access.results import Result, answer
from pgdbpool.access.statements import lost, milliseconds, one_shot, plain, rejected, seconds
from pgdbpool.config import GroupOptions
from pgdbpool.driver.session import Session, limit_of
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner
from pgdbpool.errors import DBQueryError
from pgdbpool.text import Verdict
from pgdbpool.waiting import Slot

_MOMENT = 5.0  # seconds for a statement of the pool's own


class Desk:
    """One group's defaults beside the group itself. Times in seconds, ``query_timeout`` in milliseconds."""

    def __init__(self, pool: Any, group: Group, options: GroupOptions) -> None:
        self.pool = pool
        self.group = group
        self.reading = group.reading
        self.options = options
        self._looks_at_roles = len(group.shelves) > 1 and options.target != "any"
        self.timeout = options.timeout
        self.autocommit = options.effective_autocommit
        self.always_reset = options.reset == "always"

    def give_back(self, slot: Slot, owner: Owner, soiled: bool) -> None:
        """Release, or report as broken: whichever the connection's own state demands."""
        session = slot.resource
        if session.raw.closed or session.cut:
            self.group.broken(slot, owner, condemn=not session.closed_by_user)
            return
        if self._looks_at_roles and session.changed_role():
            slot.shelf.source.learn(session.in_recovery)
        self.group.release(slot, owner, soiled or self.always_reset)

    def query(
        self,
        owner: Owner,
        sql: Any,
        params: Any,
        read_only: bool | None,
        timeout: float | None,
        query_timeout: int | None,
    ) -> Result:
        """One statement in autocommit, in one round trip, on any free connection.

        ``read_only=True`` is the caller's promise that it only reads: it may then be run again, once, where the
        connection was lost. (Not where the limit ran out: that one is for the whole answer.)
        """
        verdict: Verdict | None = None
        if type(sql) is str:
            sql, verdict = one_shot(sql, None)
        patience = seconds(timeout, self.timeout)
        answer_in = milliseconds(query_timeout)
        again = bool(read_only)
        while True:
            slot = self.group.checkout(owner, patience, self.reading if read_only else None)
            session = slot.resource
            soiled, sent, prefix, limit = True, False, "", session.limit
            try:
                if verdict is None:
                    sql, verdict = one_shot(sql, session)
                if answer_in is not None and answer_in != session.query_timeout:
                    limit, prefix = limit_of(answer_in), self._set_timeout(session, answer_in, verdict.joinable)
                soiled = not verdict.clean or limit != session.limit or not plain(params)
                sent = True
                return answer(session.execute(prefix + sql if prefix else sql, params, limit))
            except DBQueryError:
                raise
            except Exception as error:
                if not session.lost:
                    raise rejected(error, prefix) from error
                if again and not session.cut:
                    again = False
                    continue
                wrote = sent and not (read_only or (read_only is None and verdict is not None and verdict.reads))
                raise lost(session, error, wrote=wrote, doing="an autocommit statement") from error
            finally:
                self.give_back(slot, owner, soiled)

    @staticmethod
    def _set_timeout(session: Session, query_timeout: int, joinable: bool) -> str:
        """The server's side of a limit of its own: what goes in front of the statement, in the same message if that may be."""
        if session.pooled_by is not None:
            return ""  # it would stay with a server session that the next transaction of somebody else gets
        setting = f"SET statement_timeout = {query_timeout:d}"
        if joinable:
            return setting + ";\n"
        session.execute(setting, None, _MOMENT)
        return ""
