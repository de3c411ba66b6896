"""``with db.transaction():`` — a transaction, or a savepoint in the one that is open."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import psycopg2

from pgdbpool.access.dialogue import IDLE
from pgdbpool.access.statements import aborted
from pgdbpool.errors import PoolError

if TYPE_CHECKING:
    from pgdbpool.access.lease import Lease

__all__ = ["Block"]


class Block:
    """``with`` block in one transaction of a lease, or in a savepoint of the one that is open."""

    __slots__ = ("_before", "_depth", "_lease", "_opening", "_savepoint")

    def __init__(self, lease: Lease, opening: str) -> None:
        self._lease = lease
        self._opening = opening
        self._depth = 0

    def __enter__(self) -> Lease:
        lease = self._lease
        with lease.at_work() as dialogue:
            if self._depth:
                raise PoolError("this transaction block is in use already: it was entered twice")
            lease._settle_stream()
            self._before = dialogue.opening
            self._savepoint = ""
            if lease.blocks or dialogue.status != IDLE:
                self._set_savepoint(lease)
            else:
                dialogue.opening = self._opening
            lease.blocks += 1
            self._depth = lease.blocks
        return lease

    def _set_savepoint(self, lease: Lease) -> None:
        dialogue = lease.dialogue
        if self._opening not in ("BEGIN", dialogue.opening):
            raise PoolError(
                f"{self._opening} inside a transaction: isolation and read_only belong to the outermost one"
            )
        self._savepoint = f"pgdbpool_{lease.blocks + 1}"
        front = f"{dialogue.opening};\n" if dialogue.status == IDLE else ""
        dialogue.send(f"{front}SAVEPOINT {self._savepoint}", prefix=front)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        lease, depth = self._lease, self._depth
        with lease.at_work() as dialogue:
            self._depth = 0
            if lease.blocks != depth:
                raise PoolError("transaction blocks must be left in the reverse order of entering")
            lease.blocks -= 1
            dialogue.opening = self._before
            if error is None:
                self._finish(lease)
            else:
                with suppress(psycopg2.Error):  # the error on its way is the news; a loss is found at release
                    dialogue.undo_to(self._savepoint) if self._savepoint else dialogue.end(commit=False)

    def _finish(self, lease: Lease) -> None:
        dialogue = lease.dialogue
        if not self._savepoint:
            dialogue.end(commit=True)
        elif dialogue.failed:
            raise aborted(dialogue.undo_to(self._savepoint))
        else:
            dialogue.send(f"RELEASE SAVEPOINT {self._savepoint}")
