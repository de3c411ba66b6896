"""Configurations that the contract allows (section 3), by construction: every key, and every way to say it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tests.fuzz.dsns import CHARACTERS, dsns, texts

__all__ = ["BOTH", "ENDPOINT", "GROUP", "ROOT", "SECRET", "anything", "configurations", "secrets"]

SECRET = "Tr0ub4dor"  # in every password, and in nothing else


def anything(**size: int) -> st.SearchStrategy[str]:
    """Text that C and UTF-8 can express."""
    return texts(CHARACTERS, **{"max_size": 20, **size})


def printable(**size: int) -> st.SearchStrategy[str]:
    return texts(list(filter(str.isprintable, CHARACTERS)), **{"min_size": 1, "max_size": 20, **size})


secrets = st.builds("{}{}{}".format, anything(max_size=4), st.just(SECRET), anything(max_size=4))


def some_function(*_: object) -> str:
    return SECRET


def up_to(high: float, low: float = 0) -> st.SearchStrategy[Any]:
    return st.integers(-int(-low // 1), int(high)) | st.floats(low, high, allow_nan=False)


MILLISECONDS = st.integers(0, 2**31 - 1)
HOSTS = st.sampled_from(["db1", "db2.example", "/tmp", "::1", "10.0.0.1", "@abstract"]) | printable().filter(
    lambda text: not any(mark in text for mark in (",", "@", "://"))
)
PATHS = st.sampled_from(["/etc/ca.pem", "a b", "ä"])
LONGEST_WAIT = 2147483

# By key: what the contract allows, written down from it and not from the code. None where that stands for "not said".
ENDPOINT: dict[str, st.SearchStrategy[Any]] = {
    "host": HOSTS | st.none(),
    "port": st.integers(1, 65535) | st.none(),
    "name": printable() | st.none(),
    "user": printable() | st.none(),
    "pass": secrets | st.just(some_function) | st.none(),
    "dsn": dsns(secrets),
    "ssl": st.sampled_from(["disable", "allow", "prefer", "require", "verify-ca", "verify-full"]),
    "sslrootcert": PATHS | st.just("system") | st.none(),
    "sslcert": PATHS | st.none(),
    "sslkey": PATHS | st.none(),
    "connect_timeout": up_to(LONGEST_WAIT, 0.001),
    "query_timeout": MILLISECONDS,
    "session_tmp_buffer": st.integers(1, 8_388_607) | st.none(),
    "role": st.sampled_from(["auto", "primary", "standby"]),
    "weight": up_to(1_000_000),
    "label": printable().map("label {}".format) | st.none(),
    "pooler": st.sampled_from([None, "transaction"]),
    "libpq": st.deferred(lambda: st.fixed_dictionaries({}, optional=KEYWORDS)),
}
KEYWORDS: dict[str, st.SearchStrategy[Any]] = {
    "keepalives": st.sampled_from([0, 1, "1"]),
    "keepalives_idle": st.integers(0, 1000),
    "keepalives_interval": st.integers(0, 1000).map(str),
    "tcp_user_timeout": st.integers(0, 10**6),
    "hostaddr": st.sampled_from(["10.0.0.1", "::1"]),
    "channel_binding": st.sampled_from(["disable", "prefer", "require"]),
    "client_encoding": st.just("UTF8"),
    "options": st.just("-c geqo=off"),
    "passfile": secrets,
    "sslpassword": secrets,
    "krbsrvname": anything(),
}
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "search_path": anything(),
    "TimeZone": st.just("UTC"),
    "work_mem": st.just("4MB") | st.integers(64, 2**31 - 1),
    "random_page_cost": st.floats(0, 100),
    "jit": st.booleans(),
    "DateStyle": st.sampled_from(["ISO", "ISO, DMY", "iso, mdy"]),
    "app.tenant": anything() | st.integers(),
    "app.secret_token": secrets,
}
GROUP: dict[str, st.SearchStrategy[Any]] = {
    "connection_count": st.integers(1, 262_143),
    "min_connections": st.integers(0, 262_143),
    "autocommit": st.sampled_from([True, False, None]),
    "target": st.sampled_from(["auto", "any", "read-write", "read-only", "primary", "standby", "prefer-standby"]),
    "timeout": up_to(LONGEST_WAIT),
    "max_waiting": st.integers(0, 2**31 - 1),
    "query_timeout": MILLISECONDS | st.none(),
    "max_idle": up_to(10**9),
    "max_lifetime": up_to(10**9),
    "validate": st.sampled_from(["auto", "always", "never"]),
    "ping_after": up_to(10**9),
    "reset": st.sampled_from(["auto", "always", "never"]),
    "max_lag": up_to(LONGEST_WAIT, 0.001) | st.none(),
    "max_lag_bytes": st.integers(1, 2**63 - 1) | st.none(),
    "hold_warning": up_to(LONGEST_WAIT),
    "idle_in_transaction_timeout": up_to(LONGEST_WAIT),
    "application_name": printable(max_size=15) | st.none(),
    "settings": st.fixed_dictionaries({}, optional=SETTINGS),
    "on_connect": st.just(some_function) | st.none(),
    "standby_functions": st.lists(st.sampled_from(["age", "app.age", "_f$1"]), max_size=3)
    | st.just(("app.age",))
    | st.just(set()),
    "sqlprepare": st.booleans(),
}
ROOT: dict[str, st.SearchStrategy[Any]] = {
    "type": st.sampled_from(["threaded", "non-threaded"]),
    "db": st.nothing(),
    "groups": st.nothing(),
    "stats_dir": PATHS | st.none(),
}
BOTH = {"connection_retry_sleep": st.integers()}  # of 1.0: accepted, without effect
_INSTEAD_OF_DSN = {"host", "port", "name", "user", "ssl", "sslrootcert", "sslcert", "sslkey"}
_NEVER = {"primary": "standby", "read-write": "standby", "standby": "primary"}


_BY_DSN = st.fixed_dictionaries(
    {"dsn": ENDPOINT["dsn"]},
    optional={key: value for key, value in {**ENDPOINT, **BOTH}.items() if key not in {"dsn", *_INSTEAD_OF_DSN}},
)
_BY_KEYS = st.fixed_dictionaries(
    {}, optional={key: value for key, value in {**ENDPOINT, **BOTH}.items() if key != "dsn"}
)
_GROUPS = st.dictionaries(
    st.sampled_from(["web", "default", "my group", "ä", "a=b"]) | printable(),
    st.fixed_dictionaries(
        {"connection_count": GROUP["connection_count"]},
        optional={key: value for key, value in {**GROUP, **BOTH}.items() if key != "connection_count"},
    ),
    min_size=1,
    max_size=3,
)
_ROOT = st.fixed_dictionaries({}, optional={key: ROOT[key] for key in ("type", "stats_dir")})


@st.composite
def endpoints(draw: st.DrawFn, number: int) -> dict[str, Any]:
    """The endpoint of that number: those after the first have a label or a host of their own."""
    endpoint = draw(_BY_DSN | _BY_KEYS)
    if "dsn" in endpoint:
        dsn = endpoint["dsn"]
        for key, word in (("pass", "password"), ("connect_timeout", "connect_timeout")):
            if word in dsn.words:
                endpoint.pop(key, None)
        endpoint["libpq"] = {k: v for k, v in endpoint.get("libpq", {}).items() if k not in dsn.words}
        endpoint["dsn"] = str(dsn)
    if number and draw(st.booleans()):
        endpoint["label"] = f"server {number}"
    elif number:
        for key in ("label", "dsn", "libpq"):
            endpoint.pop(key, None)
        endpoint["host"] = f"server{number}"
    if endpoint.get("sslrootcert") == "system":
        endpoint["ssl"] = "verify-full"
    return endpoint


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    db = [draw(endpoints(number)) for number in range(draw(st.integers(1, 3)))]
    groups = draw(_GROUPS)
    _reconcile(db, list(groups.values()))
    shape = draw(st.sampled_from([list, tuple]))
    return {**draw(_ROOT), "db": db[0] if len(db) == 1 and draw(st.booleans()) else shape(db), "groups": groups}


def _reconcile(db: list[dict[str, Any]], groups: list[dict[str, Any]]) -> None:
    """What keys of different places must not say together."""
    for group in groups:
        group["min_connections"] = min(group.get("min_connections", 1), group["connection_count"])
        if {each.get("role", "auto") for each in db} == {_NEVER.get(group.get("target", ""))}:
            db[0]["role"] = "auto"
    pooled = [each for each in db if each.get("pooler")]
    for each in pooled:
        each.pop("session_tmp_buffer", None)
        each.get("libpq", {}).pop("options", None)
    for group in groups if pooled else ():
        group.pop("settings", None)
        group.pop("sqlprepare", None)
