"""What can be configured: of each key its default, what it may be, and what others call it.

Parser and error messages follow from the fields. What a key means is in the class's docstring; the tables in
doc/configuration.md are made from both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pgdbpool.config import kinds
from pgdbpool.config.address import default_label, read_dsn
from pgdbpool.config.kinds import Kind, seconds, text, whole, word
from pgdbpool.config.names import wrong_group, wrong_keyword, wrong_setting
from pgdbpool.config.readonly import ReadOnly
from pgdbpool.config.sections import REQUIRED, key, section

_LONGEST_AGE = 10**9  # seconds
_MOST_CONNECTIONS = 262_143  # PostgreSQL's limit of max_connections
_MOST_MEGABYTES = 8_388_607  # temp_buffers: half of INT_MAX pages of 8 kB (guc_tables.c)
_NOT_0 = 0.001  # seconds: the least where 0 has no meaning
_TARGETS = ("auto", "any", "read-write", "read-only", "primary", "standby", "prefer-standby")


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointOptions:
    """One server. None stands for libpq's own default.

    host (default: libpq's): server name, address, or the folder of its Unix socket
    port (default: libpq's): TCP port, or the socket's suffix
    name (default: libpq's): database name
    user (default: libpq's): role to log in as
    password: the password; a callable is asked at each connect (rotating credentials); also beside a `dsn` without one
    dsn: a libpq URI or keyword string instead of `host`, `port`, `name`, `user` and the `ssl` keys; one host, no
        `target_session_attrs`; its `connect_timeout` counts as the key's, its `application_name` has no effect
    ssl: libpq's `sslmode`
    sslrootcert (default: libpq's): file of trusted certificate authorities, or `system`
    sslcert (default: libpq's): file of the client's certificate
    sslkey (default: libpq's): file of the client's private key
    connect_timeout: limit of one attempt to connect, per address; rounded up to whole seconds
    query_timeout: `statement_timeout`, and the pool's own limit for an answer; 0: none
    session_tmp_buffer (default: the server's): `temp_buffers` of each session
    role: what the server is; `auto`: found out
    weight: share of the reads, relative to the other endpoints; 0: only when nothing else is left
    label (default: `host:port`): name in messages and statistics; unique
    pooler: `transaction`: what listens there is PgBouncer or its like in transaction mode
    libpq: any further keyword of libpq, such as `keepalives_idle`
    """

    host: str | None = key(None, text() | None, also="hostname")
    port: int | None = key(None, whole(1, 65535) | None)
    name: str | None = key(None, text() | None, also="database dbname")
    user: str | None = key(None, text() | None, also="username")
    password: str | Callable[[], str] | None = key(  # noqa: RUF009 (a field)
        None, kinds.PASSWORD | None, name="pass", also="password passwd", repr=False
    )
    dsn: str | None = key(None, kinds.DSN | None, repr=False)
    ssl: str = key("prefer", word("disable", "allow", "prefer", "require", "verify-ca", "verify-full"), also="sslmode")
    sslrootcert: str | None = key(None, kinds.PATH | None)
    sslcert: str | None = key(None, kinds.PATH | None)
    sslkey: str | None = key(None, kinds.PATH | None)
    connect_timeout: float = key(3.0, seconds(_NOT_0))
    query_timeout: int = key(5000, kinds.MILLISECONDS, also="statement_timeout")
    session_tmp_buffer: int | None = key(None, whole(1, _MOST_MEGABYTES, " of MB") | None, also="temp_buffers")
    role: str = key("auto", word("auto", "primary", "standby"))
    weight: float = key(1, kinds.number(0, 1_000_000))
    label: str = key("", text() | None)
    pooler: str | None = key(None, word("transaction") | None)
    libpq: Mapping[str, Any] = key(ReadOnly({}), kinds.mapping("keyword", kinds.KEYWORD_VALUE, wrong_keyword))

    def __post_init__(self) -> None:
        object.__setattr__(self, "libpq", ReadOnly(self.libpq))
        if not self.label:
            words = {**read_dsn(self.dsn)[0], **self.libpq}
            object.__setattr__(self, "label", default_label(self.host, self.port, words))


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """One group of handler connections.

    connection_count: the most connections that this group holds **to each endpoint**
    min_connections: kept open to each endpoint that the target prefers; at most `connection_count`
    autocommit (default: `True`): for `Handler` and `connection`; `getconn` is in autocommit only where True is said
        explicitly
    target: which servers serve this group
    timeout: limit of waiting for a connection; 0: do not wait
    max_waiting: more waiters than this get `TooManyRequests` at once; 0: no limit
    query_timeout (default: the endpoint's): limit of an answer; 0: none
    max_idle: a connection beyond `min_connections` that is idle for longer is closed; 0: never
    max_lifetime: an older connection is replaced when it is free; 0: never
    validate: SQL ping at checkout: after `ping_after`, each time, or not at all (then the socket is not asked either)
    ping_after: `validate: auto` pings a connection that was idle for longer; 0: each time
    reset: clean a connection given back: where its statements may have left something, each time, or not at all
    max_lag: a standby further behind serves no reads, and comes back at half of it; None: no limit
    max_lag_bytes: the same in bytes of WAL; None: no limit
    hold_warning: a longer hold is reported with the place that took the connection; 0: never
    idle_in_transaction_timeout: the server ends a session that idles in a transaction for longer; 0: never
    application_name (default: `pgdbpool:<group>`): shown in `pg_stat_activity`
    settings: server settings of each connection, such as `search_path` or `TimeZone`
    on_connect: called with each new connection, once; what it and `settings` set is the baseline that a reset restores
    standby_functions: functions that may run on a standby, besides those known to be harmless there; `name` or `schema.name`
    sqlprepare: pgdbpool 1.0's: call `"SQLPrepare"."PrepareQueries"()` on each new connection
    """

    name: str
    connection_count: int = key(REQUIRED, whole(1, _MOST_CONNECTIONS), also="max_size maxconn pool_size")
    min_connections: int = key(1, whole(0, _MOST_CONNECTIONS), also="min_size minconn")
    autocommit: bool | None = key(None, kinds.SWITCH | None)
    target: str = key("auto", word(*_TARGETS), also="target_session_attrs")
    timeout: float = key(5.0, seconds())
    max_waiting: int = key(0, whole(0))
    query_timeout: int | None = key(None, kinds.MILLISECONDS | None, also="statement_timeout")
    max_idle: float = key(300.0, seconds(0, _LONGEST_AGE))
    max_lifetime: float = key(1800.0, seconds(0, _LONGEST_AGE))
    validate: str = key("auto", word("auto", "always", "never"))
    ping_after: float = key(30.0, seconds(0, _LONGEST_AGE))
    reset: str = key("auto", word("auto", "always", "never"))
    max_lag: float | None = key(5.0, seconds(_NOT_0) | None)
    max_lag_bytes: int | None = key(None, whole(1, 2**63 - 1, " of bytes") | None)
    hold_warning: float = key(30.0, seconds())
    idle_in_transaction_timeout: float = key(60.0, seconds(), also="idle_in_transaction_session_timeout")
    application_name: str = key("", text(63, " of at most 63 bytes") | None)
    settings: Mapping[str, Any] = key(ReadOnly({}), kinds.mapping("setting", kinds.SETTING_VALUE, wrong_setting))
    on_connect: Callable[[Any], Any] | None = key(None, Kind("a callable", callable) | None)  # noqa: RUF009
    standby_functions: tuple[str, ...] = key((), kinds.NAMES)
    sqlprepare: bool = key(False, kinds.SWITCH)

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", ReadOnly(self.settings))
        if not self.application_name:
            object.__setattr__(self, "application_name", f"pgdbpool:{self.name}")

    @property
    def effective_autocommit(self) -> bool:
        """``autocommit`` where it counts as True unless said (``Handler``, ``connection``)."""
        return self.autocommit is not False

    @property
    def reads_standbys(self) -> bool:
        """Whether its reads may go to standbys, where there are any."""
        return self.target not in ("any", "primary", "read-write")


_GROUP = section(GroupOptions, "the group")
_ENDPOINT = section(EndpointOptions, "the endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolOptions:
    """The whole configuration; an empty ``stats_dir`` stands for the default folder.

    type: `non-threaded`: one thread per process uses the pool; no locks and no background threads
    endpoints: the servers
    groups: the groups of connections; the one called `default`, or else the first, serves calls that name none
    stats_dir (default: a private temporary folder): folder in which the workers of a host put their figures; None: nowhere
    """

    type: str = key("threaded", word("threaded", "non-threaded"))
    endpoints: tuple[EndpointOptions, ...] = key(REQUIRED, kinds.one_or_more(_ENDPOINT), name="db")
    groups: Mapping[str, GroupOptions] = key(REQUIRED, kinds.mapping("group", _GROUP, wrong_group, least=1))
    stats_dir: str | None = key("", kinds.PATH | None)
    dealt: bool = False  # pgdbpool 1.0's meaning of connection_count: the group's total, dealt to the servers in turn

    @property
    def default_group(self) -> str:
        """The group that ``group=None`` means."""
        return "default" if "default" in self.groups else next(iter(self.groups))


CONFIGURATION = section(PoolOptions, "the root")
