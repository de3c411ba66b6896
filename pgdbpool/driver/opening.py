"""Opening a connection: the start-up packet, ``on_connect`` and ``sqlprepare``, and the baseline a reset comes back to."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Callable, Collection
from typing import Any

import psycopg2
from psycopg2 import extensions

from pgdbpool.config import EndpointOptions, GroupOptions
from pgdbpool.driver.cleaning import note_client_side
from pgdbpool.driver.failures import understand
from pgdbpool.driver.green import cooperate
from pgdbpool.driver.guarded import PooledConnection, lend, take_back
from pgdbpool.driver.session import TCP_USER_TIMEOUT, Session

# Half of a silent network each (measured): keepalives do not run while data is in flight, tcp_user_timeout only then.
_TCP = {
    "keepalives": 1,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": TCP_USER_TIMEOUT,
}
_CHECK_INTERVAL = "client_connection_check_interval"  # refused by servers whose platform cannot tell (macOS before 15)


class Unprepared(Exception):
    """``on_connect`` or ``sqlprepare`` raised, which is its cause; the server itself answered."""


def statement_limit(endpoint: EndpointOptions, group: GroupOptions) -> int:
    """The limit of an answer in milliseconds, 0 for none: the group's, or else the endpoint's."""
    return endpoint.query_timeout if group.query_timeout is None else group.query_timeout


def keywords(endpoint: EndpointOptions, group: GroupOptions, quirks: Collection[str] = ()) -> dict[str, Any]:
    """libpq's keywords for one connection, without the password."""
    words: dict[str, Any] = {**_TCP, "client_encoding": "UTF8", "connect_timeout": math.ceil(endpoint.connect_timeout)}
    words |= extensions.parse_dsn(endpoint.dsn) if endpoint.dsn else _addressed(endpoint)
    words |= endpoint.libpq
    words["application_name"] = group.application_name
    if endpoint.pooler is None:  # a transaction pooler refuses ``options``, or applies them to somebody else's session
        own = _options(endpoint, group, quirks)
        theirs = words.get("options", os.environ.get("PGOPTIONS"))
        words["options"] = f"{own} {theirs}" if theirs else own
    return words


def _addressed(endpoint: EndpointOptions) -> dict[str, Any]:
    renamed = {"dbname": "name", "sslmode": "ssl"}
    words = ("host", "port", "dbname", "user", "sslmode", "sslrootcert", "sslcert", "sslkey")
    values = {word: getattr(endpoint, renamed.get(word, word)) for word in words}
    return {word: value for word, value in values.items() if value is not None}


def _options(endpoint: EndpointOptions, group: GroupOptions, quirks: Collection[str]) -> str:
    # DateStyle as psycopg2 needs it: set at the start, RESET ALL comes back to it; set later, RESET ALL would undo it.
    settings: dict[str, Any] = {"datestyle": "ISO", _CHECK_INTERVAL: 2000}
    settings["statement_timeout"] = statement_limit(endpoint, group)
    settings["idle_in_transaction_session_timeout"] = round(group.idle_in_transaction_timeout * 1000)
    if endpoint.session_tmp_buffer is not None:
        settings["temp_buffers"] = f"{endpoint.session_tmp_buffer}MB"
    settings |= group.settings
    return " ".join(f"-c {name}={_escaped(value)}" for name, value in settings.items() if name not in quirks)


def _escaped(value: Any) -> str:
    text = ("on" if value else "off") if isinstance(value, bool) else str(value)
    return re.sub(r"([\\\s])", r"\\\1", text)  # the server splits at any white space (postinit.c, pg_split_opts)


def open_session(
    endpoint: EndpointOptions,
    group: GroupOptions,
    quirks: set[str],
    born: Callable[[Session], None] = lambda session: None,
    died: Callable[[Session], None] = Session.end,
) -> Session:
    """Connect, let ``on_connect`` and ``sqlprepare`` do their part, and note the baseline.

    Blocks for up to ``connect_timeout`` per address, and for what these two do, whose statements are cut at
    ``query_timeout``. ``born`` is told of the session before that, so that the Watch can do it, and ``died`` if it
    fails then. ``quirks`` collects settings that this server is known to refuse. Raises what libpq or the ``pass``
    callable raise, and ``Unprepared``.
    """
    raw = _connected(endpoint, group, quirks)
    try:
        extensions.connection.autocommit.__set__(raw, True)  # type: ignore[attr-defined]
        session = Session(raw, endpoint, statement_limit(endpoint, group))
    except BaseException:  # no descriptor for its duplicate, for one
        extensions.connection.close(raw)
        raise
    born(session)
    try:
        session.note_role()
        if group.on_connect is not None or group.sqlprepare:
            _furnish(session, group)
        note_client_side(session)
    except BaseException:
        died(session)
        raise
    return session


def _connected(endpoint: EndpointOptions, group: GroupOptions, quirks: set[str]) -> Any:
    """Connect; a callable ``pass`` whose answer is rejected is asked anew, once: it may have expired meanwhile."""
    cooperate()
    password = _asked(endpoint.password)
    try:
        return _dialled(endpoint, group, quirks, password)
    except psycopg2.OperationalError as error:
        if not callable(endpoint.password) or understand(error).permanent != "password":
            raise
        renewed = _asked(endpoint.password)
        if renewed == password:
            raise
    return _dialled(endpoint, group, quirks, renewed)


def _dialled(endpoint: EndpointOptions, group: GroupOptions, quirks: set[str], password: str | None) -> Any:
    words = keywords(endpoint, group, quirks)
    if password is not None:
        words["password"] = password
    try:
        return psycopg2.connect(connection_factory=PooledConnection, **words)
    except psycopg2.OperationalError as error:
        if _CHECK_INTERVAL in str(error) and _CHECK_INTERVAL not in quirks:
            quirks.add(_CHECK_INTERVAL)
            return _dialled(endpoint, group, quirks, password)
        _look_for_descriptors(error)
        shown = re.sub(rf"(?<!\w){re.escape(password or ' ')}(?!\w)", "***", str(error))
        if password and shown != str(error):  # libpq does not do that today; nothing promises that it never will
            error.__traceback__ = None
            raise psycopg2.OperationalError(shown) from None
        raise


def _look_for_descriptors(error: BaseException) -> None:
    """libpq has no words for a process without free descriptors, and a resolver has misleading ones."""
    if not str(error).strip() or "translate host name" in str(error):
        try:
            socket.socket().close()
        except OSError as reason:
            raise psycopg2.OperationalError(str(reason)) from error.with_traceback(None)  # which has the password


def _asked(password: Any) -> str | None:
    """The password; what a callable says when it fails stays in the cause, because it may say too much."""
    if not callable(password):
        return password  # type: ignore[no-any-return]
    try:
        answer = password()
    except (Exception, SystemExit) as error:
        raise psycopg2.OperationalError(f"pass: the callable raised {type(error).__name__}") from error
    if not isinstance(answer, str):
        raise psycopg2.OperationalError(f"pass: the callable returned {type(answer).__name__}; it must return a str")
    return answer


def _furnish(session: Session, group: GroupOptions) -> None:
    heard: list[bytes] = []
    if group.on_connect is not None:
        _let_prepare(session, "on_connect", group.on_connect, heard)
    if group.sqlprepare:  # second, because a reset brings back the settings first too
        _let_prepare(session, "sqlprepare", _prepare_queries, heard)
    session.raw.notices = []
    session.restore = _restore(session, heard)


def _prepare_queries(raw: Any) -> None:
    raw.cursor().callproc('"SQLPrepare"."PrepareQueries"')


def _let_prepare(session: Session, key: str, call: Callable[[Any], Any], heard: list[bytes]) -> None:
    raw = session.raw
    lend(session, session.limit, heard=heard)
    try:
        try:
            call(raw)
        except (Exception, SystemExit) as error:
            if session.lost:
                raise
            first_line = str(error).partition("\n")[0]  # the others quote the statement
            raise Unprepared(f"{key} raised {type(error).__name__}: {first_line}") from error
        if session.in_transaction:
            session.within(session.limit, extensions.connection.commit, raw)
    finally:
        take_back(raw)
    extensions.connection.autocommit.__set__(raw, True)  # type: ignore[attr-defined]


# One message after on_connect and sqlprepare: what they left, as statements that bring it back after a reset; a NULL
# where they left something that no statement can bring back (temporary tables, advisory locks, cursors).
_BASELINE = """
SELECT pg_catalog.format('SELECT pg_catalog.set_config(%%L, %%L, false)', name, setting)
  FROM pg_catalog.pg_settings WHERE source = 'session'
UNION ALL SELECT pg_catalog.format('SELECT pg_catalog.set_config(%%L, %%L, false)', name,
                                   pg_catalog.current_setting(name, true))
  FROM pg_catalog.unnest(%(names)s::text[]) AS name WHERE pg_catalog.current_setting(name, true) IS NOT NULL
UNION ALL SELECT pg_catalog.format('SET SESSION AUTHORIZATION %%I', session_user)
  WHERE session_user <> %(user)s
UNION ALL SELECT pg_catalog.format('SET ROLE %%I', pg_catalog.current_setting('role'))
  WHERE pg_catalog.current_setting('role') <> 'none'
UNION ALL SELECT statement FROM pg_catalog.pg_prepared_statements WHERE from_sql
UNION ALL SELECT pg_catalog.format('LISTEN %%I', channel) FROM pg_catalog.pg_listening_channels() AS channel
UNION ALL SELECT NULL FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid()
UNION ALL SELECT NULL FROM pg_catalog.pg_cursors WHERE is_holdable
UNION ALL SELECT NULL FROM pg_catalog.pg_class WHERE relnamespace = pg_catalog.pg_my_temp_schema()
"""


# A user's own settings (app.tenant) are in no catalog: their names are taken from what on_connect said.
_OWN_SETTING = re.compile(rb"(?i)\bset\s+(?:session\s+)?(\w+(?:\.\w+)+)|\bset_config\s*\(\s*'(\w+(?:\.\w+)+)'")


def _restore(session: Session, heard: list[bytes]) -> str | None:
    user = session.raw.get_dsn_parameters().get("user", "")
    names = sorted({(a or b).decode() for text in heard for a, b in _OWN_SETTING.findall(text)})
    rows = session.execute(_BASELINE, {"user": user, "names": names}, session.limit).fetchall()
    if any(statement is None for (statement,) in rows):
        return None
    return "".join(f";\n{statement.rstrip().rstrip(';')}" for (statement,) in rows)
