"""What can be configured. The metadata of a field is the one place for its kind, its meaning and its default in words.

A field with metadata is a key of the user's dict; parser, error messages and the tables in doc/configuration.md follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pgdbpool.config import kinds
from pgdbpool.config.address import default_label, dsn_parts, wrong_keyword
from pgdbpool.config.keys import key, option
from pgdbpool.config.kinds import Kind, optional
from pgdbpool.config.readonly import ReadOnly

__all__ = ["SSL_MODES", "EndpointOptions", "GroupOptions", "PoolOptions"]

MOST_CONNECTIONS = 262_143  # PostgreSQL's limit of max_connections
MOST_MEGABYTES = 8_388_607  # temp_buffers: half of INT_MAX pages of 8 kB (guc_tables.c)
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_TARGETS = ("auto", "any", "read-write", "read-only", "primary", "standby", "prefer-standby")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """One server. None stands for libpq's own default."""

    host: str | None = option(
        None, optional(kinds.text()), "server name, address, or the folder of its Unix socket", shown="libpq's"
    )
    port: int | None = option(
        None, optional(kinds.whole(1, 65535)), "TCP port, or the socket's suffix", shown="libpq's"
    )
    name: str | None = option(None, optional(kinds.text()), "database name", shown="libpq's")
    user: str | None = option(None, optional(kinds.text()), "role to log in as", shown="libpq's")
    password: str | Callable[[], str] | None = option(  # noqa: RUF009 (a field)
        None,
        optional(kinds.secret("a str, or a callable without arguments that returns one", or_function=True)),
        "password; a callable is asked at each connect (rotating credentials); also beside a `dsn` without one",
        name="pass",
        repr=False,
    )
    dsn: str | None = option(
        None,
        optional(kinds.secret("a libpq URI or keyword string")),
        "a libpq URI or keyword string instead of `host`, `port`, `name`, `user` and the `ssl` keys; one host, no "
        "`target_session_attrs`; its `connect_timeout` counts as the key's, its `application_name` has no effect",
        repr=False,
    )
    ssl: str = option("prefer", kinds.word(*SSL_MODES), "libpq's `sslmode`")
    sslrootcert: str | None = option(
        None, optional(kinds.path()), "file of trusted certificate authorities, or `system`", shown="libpq's"
    )
    sslcert: str | None = option(None, optional(kinds.path()), "file of the client's certificate", shown="libpq's")
    sslkey: str | None = option(None, optional(kinds.path()), "file of the client's private key", shown="libpq's")
    connect_timeout: float = option(
        3.0, kinds.seconds(above=True), "limit of one attempt to connect, per address; rounded up to whole seconds"
    )
    query_timeout: int = option(
        5000, kinds.milliseconds(), "`statement_timeout`, and the pool's own limit for an answer; 0: none"
    )
    session_tmp_buffer: int | None = option(
        None, optional(kinds.whole(1, MOST_MEGABYTES, " of MB")), "`temp_buffers` of each session", shown="the server's"
    )
    role: str = option("auto", kinds.word("auto", "primary", "standby"), "what the server is; `auto`: found out")
    weight: float = option(
        1,
        kinds.number(0, 1_000_000),
        "share of the reads, relative to the other endpoints; 0: only when nothing else is left",
    )
    label: str = option(
        "", optional(kinds.text()), "name in messages, statistics and on the status page; unique", shown="`host:port`"
    )
    pooler: str | None = option(
        None,
        optional(kinds.word("transaction")),
        "`transaction`: what listens there is PgBouncer or its like in transaction mode",
    )
    libpq: Mapping[str, Any] = option(
        ReadOnly(), kinds.words_of_libpq(wrong_keyword), "any further keyword of libpq, such as `keepalives_idle`"
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "libpq", ReadOnly(self.libpq))
        if not self.label:
            parts = dsn_parts(self.dsn) if self.dsn else {}
            words = {**(parts if isinstance(parts, dict) else {}), **self.libpq}
            object.__setattr__(self, "label", default_label(self.host, self.port, words))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """One group of handler connections."""

    name: str
    connection_count: int = field(
        metadata=key(
            kinds.whole(1, MOST_CONNECTIONS),
            "the most connections that this group holds **to each endpoint**",
        )
    )
    min_connections: int = option(
        1,
        kinds.whole(0, MOST_CONNECTIONS),
        "kept open to each endpoint that the target prefers; at most `connection_count`",
    )
    autocommit: bool | None = option(
        None,
        optional(kinds.switch()),
        "for `Handler` and `connection`; `getconn` is in autocommit only where True is said explicitly",
        shown="`True`",
    )
    target: str = option("auto", kinds.word(*_TARGETS), "which servers serve this group")
    timeout: float = option(5.0, kinds.seconds(), "limit of waiting for a connection; 0: do not wait")
    max_waiting: int = option(0, kinds.whole(0), "more waiters than this get `TooManyRequests` at once; 0: no limit")
    query_timeout: int | None = option(
        None, optional(kinds.milliseconds()), "limit of an answer; 0: none", shown="the endpoint's"
    )
    max_idle: float = option(
        300.0,
        kinds.seconds(high=kinds.LONGEST_AGE),
        "a connection beyond `min_connections` that is idle for longer is closed; 0: never",
    )
    max_lifetime: float = option(
        1800.0, kinds.seconds(high=kinds.LONGEST_AGE), "an older connection is replaced when it is free; 0: never"
    )
    validate: str = option(
        "auto",
        kinds.word("auto", "always", "never"),
        "SQL ping at checkout: after `ping_after`, each time, or not at all (the socket is asked in any case)",
    )
    ping_after: float = option(
        30.0,
        kinds.seconds(high=kinds.LONGEST_AGE),
        "`validate: auto` pings a connection that was idle for longer; 0: each time",
    )
    reset: str = option(
        "auto",
        kinds.word("auto", "always", "never"),
        "clean a connection given back: where its statements may have left something, each time, or not at all",
    )
    max_lag: float | None = option(
        5.0, optional(kinds.seconds(above=True)), "a standby further behind serves no reads; None: no limit"
    )
    max_lag_bytes: int | None = option(
        None, optional(kinds.whole(1, 2**63 - 1, " of bytes")), "the same in bytes of WAL; None: no limit"
    )
    hold_warning: float = option(
        30.0, kinds.seconds(), "a longer hold is reported with the place that took the connection; 0: never"
    )
    idle_in_transaction_timeout: float = option(
        60.0, kinds.seconds(), "the server ends a session that idles in a transaction for longer; 0: never"
    )
    application_name: str = option(
        "", optional(kinds.text(most=63)), "shown in `pg_stat_activity`", shown="`pgdbpool:<group>`"
    )
    settings: Mapping[str, Any] = option(
        ReadOnly(), kinds.settings(), "server settings of each connection, such as `search_path` or `TimeZone`"
    )
    on_connect: Callable[[Any], Any] | None = option(  # noqa: RUF009 (a field)
        None,
        optional(kinds.function("a callable that takes the connection")),
        "called once per new connection; what it and `settings` set is the baseline that a reset restores",
    )
    standby_functions: tuple[str, ...] = option(
        (), kinds.names(), "functions that may run on a standby, besides those known to be harmless there"
    )
    sqlprepare: bool = option(
        False, kinds.switch(), 'pgdbpool 1.0\'s: call `"SQLPrepare"."PrepareQueries"()` on each new connection'
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", ReadOnly(self.settings))
        if not self.application_name:
            object.__setattr__(self, "application_name", f"pgdbpool:{self.name}")

    @property
    def effective_autocommit(self) -> bool:
        """``autocommit`` where it counts as True unless said (``Handler``, ``connection``)."""
        return self.autocommit is not False


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """The whole configuration; an empty ``stats_dir`` stands for the default folder."""

    type: str = option(
        "threaded",
        kinds.word("threaded", "non-threaded"),
        "`non-threaded`: one thread per process uses the pool; no locks and no background threads",
    )
    endpoints: tuple[EndpointOptions, ...] = field(
        metadata=key(
            Kind("an endpoint dict, or a list of at least one", lambda value, at: value, secret=True),
            "the servers",
            name="db",
        )
    )
    groups: Mapping[str, GroupOptions] = field(
        metadata=key(
            Kind("a dict of group names and group dicts, at least one", lambda value, at: value, secret=True),
            "the groups of connections; the one called `default`, or else the first, serves calls that name none",
        )
    )
    stats_dir: str | None = option(
        "",
        optional(kinds.path()),
        "folder in which the workers of a host put their figures; None: nowhere",
        shown="a private temporary folder",
    )

    @property
    def default_group(self) -> str:
        """The group that ``group=None`` means."""
        return "default" if "default" in self.groups else next(iter(self.groups))
