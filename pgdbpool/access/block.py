"""``with db.transaction():`` — a transaction, or a savepoint in the one that is open."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg2

from pgdbpool.access.dialogue import Dialogue
from pgdbpool.access.statements import aborted
from pgdbpool.errors import PoolError

if TYPE_CHECKING:
    from pgdbpool.access.lease import Lease


class Block:
    """``with`` block in one transaction of a lease, or in a savepoint of the one that is open."""

    __slots__ = ("_depth", "_lease", "_opening", "_savepoint")

    def __init__(self, lease: Lease, opening: str) -> None:
        self._lease = lease
        self._opening = opening
        self._depth = 0

    def __enter__(self) -> Lease:
        with self._lease.at_work() as dialogue:
            if self._depth:
                raise PoolError("this transaction block is in use already: it was entered twice")
            dialogue.settle_stream()
            self._savepoint = ""
            if dialogue.blocks or not dialogue.session.idle:
                self._set_savepoint(dialogue)
            else:
                dialogue.autocommit, dialogue.opening = False, self._opening
            dialogue.blocks += 1
            self._depth = dialogue.blocks
        return self._lease

    def _set_savepoint(self, dialogue: Dialogue) -> None:
        if self._opening not in ("BEGIN", dialogue.opening):
            raise PoolError(f"{self._opening} inside a transaction: isolation and read_only are for the outermost one")
        self._savepoint = f"pgdbpool_{dialogue.blocks + 1}"
        front = f"{dialogue.opening};\n" if dialogue.session.idle else ""
        dialogue.send(front, f"SAVEPOINT {self._savepoint}")

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        with self._lease.at_work() as dialogue:
            depth, self._depth = self._depth, 0
            if dialogue.blocks != depth:
                raise PoolError("transaction blocks must be left in the reverse order of entering")
            dialogue.blocks -= 1
            if error is None:
                self._finish(dialogue)
            else:
                with suppress(psycopg2.Error):  # the error on its way is the news; a loss is found at release
                    dialogue.undo_to(self._savepoint) if self._savepoint else dialogue.end(commit=False)

    def _finish(self, dialogue: Dialogue) -> None:
        if not self._savepoint:
            dialogue.end(commit=True)
        elif dialogue.session.failed:
            raise aborted(dialogue.undo_to(self._savepoint))
        else:
            dialogue.send(f"RELEASE SAVEPOINT {self._savepoint}")
