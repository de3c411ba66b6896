"""A group as its users see it: where connections are taken, and with which limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

from pgdbpool.access.request import Request
from pgdbpool.access.results import Result, answer
from pgdbpool.access.statements import lost, milliseconds, one_shot, plain, rejected, seconds
from pgdbpool.config import GroupOptions
from pgdbpool.driver.session import Session, limit_of
from pgdbpool.engine.engine import Engine
from pgdbpool.engine.group import Group
from pgdbpool.engine.owners import Owner
from pgdbpool.errors import DBOfflineError, DBQueryError, PoolError, PoolTimeout
from pgdbpool.text import Verdict
from pgdbpool.waiting import Slot

MOMENT = 5.0  # seconds for a statement of the pool's own
_TEXTS, _LONGEST_TEXT = 2048, 8192  # whose way is remembered, and how many characters these have at most
_GLANCE = 0.005  # seconds
# read_only_sql_transaction, feature_not_supported, object_not_in_prerequisite_state, internal_error: what a server in
# recovery says to what only a primary can do
_REFUSED = ("25006", "0A000", "55000", "XX000")
# Of the transaction that a message of several statements is (manual, 55.2.2.1).
_READ_ONLY = "SET TRANSACTION READ ONLY;\n"
_CONFLICT = "40001"  # with recovery (manual, 26.4.2); a statement alone in its transaction meets no other
# It is not there yet: a table, a column, a function, another object, a schema.
_TOO_EARLY = ("42P01", "42703", "42883", "42704", "3F000")


def may_write_to(slot: Slot) -> bool:
    """Whether what is written there belongs to the history that standbys replay."""
    return not slot.resource.reports_recovery() and slot.shelf.source.options.role != "standby"


class Desk:
    """One group's defaults beside the group itself. Times in seconds, ``query_timeout`` in milliseconds."""

    def __init__(self, pool: Any, engine: Engine, options: GroupOptions) -> None:
        self.pool = pool
        self.group: Group = engine.groups[options.name]
        self.reading, self._resort = self.group.reading, self.group.writing
        if options.target == "prefer-standby":
            self.reading, self._resort = self._resort, self.reading
        self.options = options
        self.causal = engine.causal
        self.events = engine.events
        self._catalog = engine.catalog
        self._looks_at_roles = len(engine.endpoints) > 1 and options.target != "any"
        self._splits = options.target == "auto" and self._looks_at_roles
        self._only_reads = self.group.writing.need in ("standby", "read-only", "prefer-standby")
        self._writes_elsewhere = self._looks_at_roles and self.group.writing.need in ("primary", "read-write")
        self._readable: set[str] = set()  # texts, as long as the catalog's generation lasts
        self._generation = -1
        self.timeout = options.timeout
        self.autocommit = options.effective_autocommit
        self.always_reset = options.reset == "always"

    # -- where to ---------------------------------------------------------------------------------------------------

    def _may_leave_primary(self, sql: str, verdict: Verdict) -> bool:
        """Whether the text may run on a standby, as far as its words and the catalog tell."""
        if not verdict.on_standby:
            return False
        if self._generation != self._catalog.generation or len(self._readable) > _TEXTS:
            self._generation, self._readable = self._catalog.generation, set()
        readable = self._readable  # of this generation, whatever comes meanwhile
        if sql in readable:
            return True
        found = self._catalog.allows(sql, verdict, self.options.standby_functions)
        if found and len(sql) <= _LONGEST_TEXT:
            readable.add(sql)
        return found

    def checkout(self, owner: Owner, patience: float, reads: bool) -> Slot:
        """A connection for writing or for reading; a thread reads from a standby only if that shows what it has written."""
        request: Request | None = owner.request
        if request is not None:
            patience = request.patience(patience)
        writes = not (reads or self._only_reads)
        try:
            if writes:
                slot = self.group.checkout(owner, patience)
            elif owner.marks and self._looks_at_roles and self.causal.mark_of(owner, anew=True) is not None:
                slot = self._checkout_behind(owner, patience)
            else:
                slot = self.group.checkout(owner, patience, self.reading)
        except PoolError as error:
            if request is not None:
                request.note(error)
            raise
        if request is not None and request.error is not None:
            request.went_on()
        if writes:
            return slot
        slot.reads += 1
        if not self.causal.told and slot.shelf.source.role == "standby":
            self.causal.tell(self.group.name)
        return slot

    def _checkout_behind(self, owner: Owner, patience: float) -> Slot:
        """Of a server that shows what this thread has written."""
        deadline = monotonic() + patience
        group, servers = self.group, [shelf.source for shelf in self.reading.shelves]
        standbys_only = self._resort is self.reading
        if standbys_only and all(server.mute for server in servers):
            return group.checkout(owner, patience)
        mark = None
        while mark := self.causal.shown(owner, servers, deadline - monotonic() if standbys_only else None):
            slot = group.checkout(owner, max(0.0, deadline - monotonic()), self.reading, mark)
            if slot.shelf.source.shows(mark):
                return slot
            group.release(slot, owner)
            if not standbys_only or monotonic() > deadline - _GLANCE:
                break
            sleep(_GLANCE)  # the one that shows it is busy
        if not standbys_only:
            return group.checkout(owner, max(0.0, deadline - monotonic()), self._resort)
        what = f"group {group.name!r}: no standby that shows what this thread has written"
        raise (
            PoolTimeout(f"{what} is free within {patience:g} s")
            if mark
            else DBOfflineError(f"{what}, within {patience:g} s")
        )

    @contextmanager
    def at_primary(self, owner: Owner, patience: float) -> Iterator[Slot]:
        """A connection for a question of the pool's own."""
        slot = self.checkout(owner, patience, reads=False)
        try:
            yield slot
        finally:
            self.give_back(slot, owner, soiled=False)

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

        ``read_only`` is the caller's promise that it only reads, or that it does not; without it the text and the catalog
        tell. It is run once more where a standby was no place for it, and where the connection was lost if the caller or
        the server guaranteed that it only read. (Not where the limit ran out: that one is for the whole answer.)
        """
        sql, verdict = one_shot(sql, None) if type(sql) is str else (sql, None)
        patience, answer_in = seconds(timeout, self.timeout), milliseconds(query_timeout)
        simple, again = plain(params), True
        reads = self._reads(sql, verdict, read_only, simple)
        while True:
            slot = self.checkout(owner, patience, reads)
            session = slot.resource
            soiled, sent, only_reads, prefix, limit = True, False, False, "", session.limit
            try:
                if verdict is None:
                    sql, verdict = one_shot(sql, session)
                    if reads and not self._reads(sql, verdict, read_only, simple):
                        soiled = reads = False  # to the primary, then
                        continue
                limit, prefix = self._front(session, verdict, answer_in, owner.request, guard=reads and not read_only)
                only_reads = verdict.reads and simple if read_only is None else read_only
                soiled = not (verdict.clean and simple and (limit == session.limit or verdict.joinable))
                sent = True
                cursor = session.run(prefix + sql if prefix else sql, params, limit)
                if not (reads or only_reads) and self.causal.wanted and may_write_to(slot):
                    self._note(owner, verdict)
                return answer(cursor)
            except DBQueryError:
                raise
            except Exception as error:
                sure = read_only or prefix.startswith(_READ_ONLY)
                if not (again and self._may_repeat(session, error, sql, reads=reads or only_reads, sure=bool(sure))):
                    raise self._failure(owner, session, error, prefix, verdict, sent and not only_reads) from error
                again, reads = False, session.lost and reads
            finally:
                self.give_back(slot, owner, soiled)

    def _reads(self, sql: Any, verdict: Verdict | None, promise: bool | None, simple: bool) -> bool:
        """Whether it goes where this group reads; to begin with, so does what a connection has to write out first (None)."""
        if promise is not None or not self._splits:
            return bool(promise)
        return simple and (verdict is None or self._may_leave_primary(sql, verdict))

    def _may_repeat(self, session: Session, error: BaseException, sql: str, *, reads: bool, sure: bool) -> bool:
        """Whether the statement that failed is to be run once more, elsewhere. ``sure``: it cannot have written."""
        if session.lost:
            # A standby lets nobody write; but what a session has heard last may be from before a promotion.
            return (sure or (reads and session.in_recovery)) and not session.cut
        code, standby = getattr(error, "pgcode", None), session.reports_recovery()
        if not self._writes_elsewhere or not (standby or (reads and sure)):
            return False
        if reads and code in (_REFUSED if standby else _REFUSED[:1]):
            self._catalog.refuse(sql)
            return True
        return standby and (code in _REFUSED or (reads and code in _TOO_EARLY) or code == _CONFLICT)

    def _front(
        self, session: Session, verdict: Verdict, answer_in: int | None, request: Request | None, *, guard: bool
    ) -> tuple[float, str]:
        """The limit of the answer, and what goes in front of the statement.

        ``guard``: a primary guarantees that what was judged by its text only reads, so that it may be run again.
        """
        first = _READ_ONLY if guard and verdict.joinable and not session.reports_recovery() else ""
        if request is not None:
            answer_in = request.answer_in(session.query_timeout if answer_in is None else answer_in)
        if answer_in is None or answer_in == session.query_timeout:
            return session.limit, first
        return limit_of(answer_in), first + self._set_timeout(session, answer_in, verdict.joinable)

    def _failure(
        self, owner: Owner, session: Session, error: Exception, prefix: str, verdict: Verdict | None, wrote: bool
    ) -> Exception:
        """What the failure of a statement means to whoever sent it; ``wrote``: it may have taken effect, if it was lost."""
        alone = verdict is not None and not verdict.joinable  # a CALL may have committed before it failed
        if wrote and self.causal.wanted and (session.lost or alone):
            self.causal.wrote(owner)
        if not session.lost:
            return rejected(error, prefix)
        return lost(session, error, wrote=wrote, doing="an autocommit statement")

    def _note(self, owner: Owner, verdict: Verdict) -> None:
        """A statement that may write is done."""
        self.causal.wrote(owner)
        self.renamed(verdict.renames)

    def renamed(self, surely: bool | None) -> None:
        """What names stand for was changed, or not, or may have been (None)."""
        if surely:
            self._catalog.outdate()
        elif surely is None:
            self._catalog.refresh()

    @staticmethod
    def _set_timeout(session: Session, query_timeout: int, joinable: bool) -> str:
        """The server's side of a limit of its own: what goes in front of the statement, in the same message if that may be."""
        if session.pooled_by is not None:
            return ""  # it might stay with a server session that the next transaction of somebody else gets
        if joinable:
            return f"SET LOCAL statement_timeout = {query_timeout:d};\n"  # until the end of the message
        session.execute(
            f"SET statement_timeout = {query_timeout:d}", None, min(MOMENT, limit_of(query_timeout) or MOMENT)
        )
        return ""
