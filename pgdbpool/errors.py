"""Every error that pgdbpool raises.

Two trees. What the *pool* has to say is a ``PoolError``, which is a ``psycopg2.OperationalError``, so that code which
treats an unreachable database today goes on to do so. What the *server* (or psycopg2) said of one statement is a
``DBQueryError`` that is also an instance of the very class psycopg2 raised.

All of them can be pickled: a Celery worker or a process pool hands them on whole.
"""

from __future__ import annotations

from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import psycopg2
import psycopg2.extensions

_DIAGNOSTICS = tuple(name for name in dir(psycopg2.extensions.Diagnostics) if not name.startswith("_"))


class ConfigError(ValueError):
    """The configuration is wrong; the message has one line for every problem, each with its path.

    ``problems`` is the same as a tuple of strings.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return self.problems[0]
        return "\n".join([f"{len(self.problems)} problems in the configuration:", *(f"  {p}" for p in self.problems)])


class PoolError(psycopg2.OperationalError):
    """Base of what the pool itself has to say; raised as such for misuse (release twice, use after release, …)."""


class PoolTimeout(PoolError):
    """No connection within ``timeout``, although a server was usable: all its connections were busy."""


class TooManyRequests(PoolError):
    """``max_waiting`` requests wait already; this one was turned away at once."""


class PoolClosed(PoolError):
    """The pool is closed, or ``pgdbpool.init`` was never called."""


class NestedCheckout(PoolError):
    """This thread holds every connection of the group itself, so waiting for another would never end."""


class DBConnectionError(PoolError):
    """A connection was lost, or could not be made; nothing of an open transaction was kept."""


class DBOfflineError(DBConnectionError):
    """No server of the group was usable; the cause is the last connect error."""


class InDoubt(PoolError):
    """A write or COMMIT was sent and its answer was lost: it may or may not have taken effect.

    ``outcome`` is ``"committed"``, ``"aborted"`` or ``"unknown"``. ``retry_safe`` is always ``False``: sending the
    write again may do it twice.
    """

    retry_safe = False

    def __init__(self, message: str = "", outcome: str = "unknown") -> None:
        super().__init__(message)
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (str(self), self.outcome)


class UnconfiguredGroupError(PoolError, KeyError):
    """There is no group of that name in the configuration."""

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0]) if self.args else ""


class NoRow(LookupError):
    """``one()`` or ``scalar()`` found no row."""


class TooManyRows(LookupError):
    """``one()``, ``one_or_none()`` or ``scalar()`` found more than one row."""


class DBQueryError(Exception):
    """A statement failed; also an instance of the class that psycopg2 raised, which is its cause.

    ``pgcode`` (SQLSTATE, or None), ``pgerror`` (the server's text) and ``diag`` (the fields of
    ``psycopg2.extensions.Diagnostics``, each None where the server did not send it) are copies, so that they survive
    pickling and do not keep the connection. Positions in them count in the user's own text. ``cursor`` is always None.
    """

    pgcode: str | None = None
    pgerror: str | None = None
    diag = SimpleNamespace(**dict.fromkeys(_DIAGNOSTICS))
    cursor = None

    @classmethod
    def like(cls, error: BaseException, **changed: Any) -> DBQueryError:
        """Make the error for ``error``, as an instance of its class too.

        ``changed`` replaces what psycopg2 says: ``message``, ``pgerror``, ``pgcode``, or a field of ``diag``.
        """
        message = changed.pop("message", None)
        args = error.args if message is None else (message, *error.args[1:])
        if not isinstance(error, psycopg2.Error):
            return _restored(type(error), args, {})
        said = {name: changed.pop(name, getattr(error, name)) for name in ("pgcode", "pgerror")}
        diag = {name: getattr(error.diag, name) for name in _DIAGNOSTICS} | changed
        return _restored(type(error), args, said | {"diag": SimpleNamespace(**diag)})


@lru_cache(maxsize=512)
def _both(original: type[BaseException]) -> type[DBQueryError]:
    """The class that is a DBQueryError and ``original`` at once (made once per class that psycopg2 raises)."""

    def reduced(error: DBQueryError) -> tuple[Any, ...]:
        return _restored, (original, error.args, vars(error).copy())

    body = {"__module__": DBQueryError.__module__, "__doc__": original.__doc__, "__reduce__": reduced}
    return type("DBQueryError", (DBQueryError, original), body)


def _restored(original: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> DBQueryError:
    both: Any = _both(original)  # type: ignore[arg-type]
    error: DBQueryError = both.__new__(both, *args)
    if original.__init__ is not psycopg2.Error.__init__:  # UnicodeError and OSError keep their fields in __init__
        both.__init__(error, *args)
    vars(error).update(state)
    return error
