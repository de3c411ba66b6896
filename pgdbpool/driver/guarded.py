"""psycopg2's connection and cursor, refusing to work for anyone but their present borrower.

This is what ``connection()`` and ``getconn()`` yield. The object outlives a checkout (it *is* the connection), so an
old reference cannot be told from the new one by identity: the borrowing thread is what tells them apart. A connection
that was handed out this way therefore belongs to the thread that took it. The pool itself calls the base class's
methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, wraps
from threading import get_ident
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.config.problems import SOUNDS_SECRET
from pgdbpool.driver.session import Session
from pgdbpool.errors import PoolError


@dataclass(eq=False, slots=True)
class Tenancy:
    """Whose the connection is at present; each of his calls may take ``limit`` seconds (0: any time).

    ``bounded(limit)``: how long a statement may take that begins now; raises where it is too late for one.
    ``managed``: its transactions are a handler's, so psycopg2's own way of ending them must not pass for it. ``used``:
    something was called on it. ``first_error``: what made the transaction fail that is open on it, if a guarded cursor
    saw it. ``heard``: the texts that guarded cursors have sent.
    """

    session: Session
    limit: float
    managed: bool
    heard: list[bytes] | None
    bounded: Callable[[float], float] = float
    thread: int = field(default_factory=get_ident)
    used: bool = False
    first_error: BaseException | None = None


class PooledConnection(extensions.connection):
    """A ``psycopg2.extensions.connection`` of the pool; use after release or by another thread raises ``PoolError``."""

    __slots__ = ("_tenancy",)  # and no dict: what one borrower hangs on it, the next would see

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._tenancy: Tenancy | None = None
        super().__init__(*args, **kwargs)

    def cursor(self, name: Any = None, cursor_factory: Any = None, **kwargs: Any) -> Any:  # type: ignore[override]
        """As psycopg2's; the cursor is guarded too, also one of a ``cursor_factory`` that is a class."""
        _check(self)
        chosen: Any = self.cursor_factory if cursor_factory is None else cursor_factory
        return super().cursor(name, cursor_factory=_guarded_class(chosen or extensions.cursor), **kwargs)

    @property
    def is_lent(self) -> bool:
        """Whether somebody may use it now."""
        return self._tenancy is not None

    def __repr__(self) -> str:
        # psycopg2's own shows the DSN
        return f"<PooledConnection of backend {self.info.backend_pid}, closed: {self.closed}>"

    __str__ = __repr__  # psycopg2 has one of its own

    @property
    def dsn(self) -> str:
        """As psycopg2's, which hides the password alone, with ``xxx`` for whatever else may be secret."""
        words = extensions.parse_dsn(super().dsn)
        return extensions.make_dsn(**{word: "xxx" if SOUNDS_SECRET.search(word) else words[word] for word in words})

    def cancel(self) -> None:
        """As psycopg2's, from any thread while borrowed. It holds the GIL until the postmaster answers."""
        if self._tenancy is None:
            raise PoolError(_RELEASED)
        super().cancel()


_RELEASED = "this connection was given back to the pool; take one by pgdbpool.connection() or getconn()"


def lend(
    session: Session,
    limit: float,
    *,
    managed: bool = False,
    heard: list[bytes] | None = None,
    bounded: Callable[[float], float] = float,
) -> Tenancy:
    """From now on the calling thread may use its connection."""
    tenancy = session.raw._tenancy = Tenancy(session, limit, managed, heard, bounded)
    return tenancy


def take_back(raw: PooledConnection) -> bool:
    """Nobody may use it any more; true if something was called on it."""
    tenancy, raw._tenancy = raw._tenancy, None
    return tenancy is not None and tenancy.used


def _check(raw: PooledConnection) -> Tenancy:
    tenancy = raw._tenancy
    if tenancy is None:
        raise PoolError(_RELEASED)
    if tenancy.thread != get_ident():
        raise PoolError("this connection is borrowed by another thread, or was given back and lent to it")
    tenancy.used = True
    return tenancy


_ENDS = {"commit": "commit()", "rollback": "rollback()", "__enter__": "transaction()"}
_LOCAL = frozenset({"fetchone", "fetchmany", "fetchall", "__next__"})


def _guard_method(name: str) -> Callable[..., Any]:
    base = getattr(extensions.connection, name)

    @wraps(base)
    def method(self: PooledConnection, *args: Any, **kwargs: Any) -> Any:
        tenancy = _check(self)
        if tenancy.managed and name in _ENDS:
            raise PoolError(f"{name}() of a handler's connection: transactions are the handler's, use db.{_ENDS[name]}")
        tenancy.first_error = None
        return tenancy.session.within(tenancy.limit, base, self, *args, **kwargs)

    return method


def _guard_property(name: str) -> property:
    base = getattr(extensions.connection, name)

    def change(self: PooledConnection, value: Any) -> None:
        tenancy = _check(self)
        tenancy.session.within(tenancy.limit, base.__set__, self, value)

    return property(base.__get__, change, doc=base.__doc__)


for _name in (
    "close commit rollback reset set_session set_isolation_level set_client_encoding lobject poll __enter__ "
    "tpc_begin tpc_prepare tpc_commit tpc_rollback tpc_recover"
).split():
    setattr(PooledConnection, _name, _guard_method(_name))
for _name in ("autocommit", "isolation_level", "readonly", "deferrable"):
    setattr(PooledConnection, _name, _guard_property(_name))


class _CursorGuard:
    """Put in front of a cursor class: every call that may reach the server asks first whose turn it is."""

    def __init__(self, connection: PooledConnection, *args: Any, **kwargs: Any) -> None:
        self._tenancy = connection._tenancy
        super().__init__(connection, *args, **kwargs)  # type: ignore[call-arg]


def _guard_cursor_method(name: str) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        tenancy = _check(self.connection)
        if self._tenancy is not tenancy:
            raise PoolError("this cursor belongs to an earlier checkout of its connection")
        call = getattr(super(_CursorGuard, self), name)
        if name in _LOCAL and self.name is None:  # the rows are here already
            return call(*args, **kwargs)
        limit = tenancy.bounded(tenancy.limit)
        try:
            return tenancy.session.within(limit, call, *args, **kwargs)
        except psycopg2.Error as error:
            tenancy.first_error = tenancy.first_error or error
            raise
        finally:
            if tenancy.heard is not None and self.query:
                tenancy.heard.append(self.query)

    method.__name__ = name
    return method


for _name in (
    "execute executemany callproc copy_from copy_to copy_expert fetchone fetchmany fetchall scroll nextset __next__"
).split():
    setattr(_CursorGuard, _name, _guard_cursor_method(_name))


@lru_cache(maxsize=128)
def _guarded_class(factory: Any) -> Any:
    """``factory`` with the guard in front; as it is where it is no class of cursors (best effort)."""
    if not (isinstance(factory, type) and issubclass(factory, extensions.cursor)):
        return factory
    names = {"__doc__": factory.__doc__, "__module__": factory.__module__}
    return type(factory.__name__, (_CursorGuard, factory), names)
