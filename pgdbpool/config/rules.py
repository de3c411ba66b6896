"""What several keys say together, one function per rule. A key whose own value was refused is left out of all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pgdbpool.config.address import dsn_parts
from pgdbpool.config.keys import keys_of
from pgdbpool.config.kinds import LONGEST_WAIT
from pgdbpool.config.options import SSL_MODES, EndpointOptions
from pgdbpool.config.problems import Place, shown

__all__ = ["Section", "check"]


@dataclass
class Section:
    """One dict: those of its values that can be used, by field, the keys that it has, and the keys with a problem."""

    place: Place
    values: dict[str, Any] = field(default_factory=dict)
    said: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)


def check(endpoints: list[Section], groups: list[Section]) -> None:
    """Report every breach; a DSN's ``connect_timeout`` and ``sslmode`` become those of its endpoint."""
    for endpoint in endpoints:
        parts = _parts(endpoint)
        _one_server(endpoint, parts)
        _beside_dsn(endpoint, parts)
        _values_in_dsn(endpoint, parts)
        _keywords(endpoint, parts)
        _system_certificates(endpoint)
        _session_behind_pooler(endpoint)
    _labels(endpoints)
    for group in groups:
        _minimum(group)
        _settings(group)
        _group_behind_pooler(group, endpoints)
        _reachable_target(group, endpoints)


# --- one endpoint: where it is ---

_IN_DSN = ("host", "port", "name", "user", "ssl", "sslrootcert", "sslcert", "sslkey")


def _parts(endpoint: Section) -> dict[str, Any]:
    """What the DSN says, if there is one; taking it apart is the first rule."""
    dsn = endpoint.values.get("dsn")
    if dsn is None:
        return {}
    found = dsn_parts(dsn) if dsn else "found an empty str; allowed: a libpq URI or keyword string, or None"
    if isinstance(found, dict):
        return found
    endpoint.place.under("dsn").report(found)
    endpoint.broken.add("dsn")
    return {}


def _one_server(endpoint: Section, parts: Mapping[str, Any]) -> None:
    host, libpq = endpoint.values.get("host"), endpoint.values.get("libpq") or {}
    one = "allowed: one server, each further one is a dict of its own in the list `db`"
    if host and ("," in host or "://" in host or "@" in host[1:]):  # a leading @: an abstract Unix socket
        endpoint.place.under("host").report(f"several hosts, or a URI; {one}")
    if "," in str(libpq.get("hostaddr", "")):
        endpoint.place.under("libpq").under("hostaddr").report(f"several addresses; {one}")
    if any("," in str(parts.get(word, "")) for word in ("host", "hostaddr", "port")):
        endpoint.place.under("dsn").report(f"several hosts; {one}")
    if "target_session_attrs" in parts:
        endpoint.place.under("dsn").report("`target_session_attrs` in it; allowed: `target` of the group instead")
    said = (
        host or parts.keys() & {"host", "hostaddr"} or "hostaddr" in libpq or endpoint.broken & {"host", "dsn", "libpq"}
    )
    if not said and "," in os.environ.get("PGHOST", ""):
        endpoint.place.under("host").report(f"not said, and PGHOST names several hosts; {one}")


def _beside_dsn(endpoint: Section, parts: Mapping[str, Any]) -> None:
    if endpoint.values.get("dsn") is None:
        return
    for key in _IN_DSN:
        if endpoint.values.get(key) is not None:
            endpoint.place.under(key).report("given beside `dsn`, which stands in its place; allowed: one of the two")
    for word, key in (("password", "pass"), ("connect_timeout", "connect_timeout")):
        if word in parts and endpoint.values.get(keys_of(EndpointOptions)[key].field) is not None:
            endpoint.place.under(key).report(f"`dsn` has a {word} too; allowed: one of the two")


def _values_in_dsn(endpoint: Section, parts: Mapping[str, Any]) -> None:
    place = endpoint.place.under("dsn")
    if "," not in parts.get("port", "") and not 1 <= _integer(parts.get("port", "5432")) <= 65535:
        place.report("the port in it is not one; allowed: a whole number, 1 to 65535")
    mode = parts.get("sslmode")
    if mode in SSL_MODES:
        endpoint.values.setdefault("ssl", mode)
    elif mode is not None:
        place.report(f"the sslmode in it is not one of libpq's; allowed: {', '.join(SSL_MODES)}")
    limit = _integer(parts.get("connect_timeout", "3"))
    if not 1 <= limit <= LONGEST_WAIT:
        place.report(f"the connect_timeout in it is not one; allowed: whole seconds, 1 to {LONGEST_WAIT}")
    elif "connect_timeout" in parts:
        endpoint.values.setdefault("connect_timeout", float(limit))


def _integer(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


# --- one endpoint: what goes with what ---

_KEYS_OF_WORDS = {
    "application_name": "`application_name` of the group",
    "connect_timeout": "`connect_timeout` of the endpoint",
    "dbname": "`name` of the endpoint",
    "host": "`host` of the endpoint",
    "password": "`pass` of the endpoint",
    "port": "`port` of the endpoint",
    "sslcert": "`sslcert` of the endpoint",
    "sslkey": "`sslkey` of the endpoint",
    "sslmode": "`ssl` of the endpoint",
    "sslrootcert": "`sslrootcert` of the endpoint",
    "target_session_attrs": "`target` of the group",
    "user": "`user` of the endpoint",
}


def _keywords(endpoint: Section, parts: Mapping[str, Any]) -> None:
    for word in endpoint.values.get("libpq") or ():
        place = endpoint.place.under("libpq").under(word)
        if word in _KEYS_OF_WORDS:
            place.report(f"has a key of its own; allowed: {_KEYS_OF_WORDS[word]} instead")
        elif word in parts:
            place.report("`dsn` has it too; allowed: one of the two")


def _system_certificates(endpoint: Section) -> None:
    """libpq refuses anything weaker (manual, sslrootcert)."""
    if endpoint.values.get("sslrootcert") == "system" and "ssl" not in endpoint.broken:
        mode = endpoint.values.get("ssl", "prefer")
        if mode != "verify-full":
            endpoint.place.under("ssl").report(f"found {shown(mode)} with `sslrootcert` 'system'; allowed: verify-full")


_NOT_BEHIND_POOLER = (
    "a pooler in transaction mode keeps no such state for a client; allowed: to set it on the server's side "
    "(ALTER ROLE … SET), or no `pooler`"
)


def _session_behind_pooler(endpoint: Section) -> None:
    if endpoint.values.get("pooler"):
        if endpoint.values.get("session_tmp_buffer") is not None:
            endpoint.place.under("session_tmp_buffer").report(_NOT_BEHIND_POOLER)
        if "options" in (endpoint.values.get("libpq") or ()):
            endpoint.place.under("libpq").under("options").report(_NOT_BEHIND_POOLER)


def _labels(endpoints: list[Section]) -> None:
    first: dict[str, Place] = {}
    for endpoint in endpoints:
        if endpoint.broken & {"label", "host", "port", "dsn", "libpq"}:
            continue
        place = endpoint.place
        label = EndpointOptions(**endpoint.values).label
        if label in first:
            said = endpoint.values.get("label")
            found = f"found {shown(said)}" if said else "the default, host:port,"
            place.under("label").report(
                f"{found} is also the label of {first[label].path}; allowed: a label of its own"
            )
        first.setdefault(label, place)


# --- groups ---


def _minimum(group: Section) -> None:
    count, minimum = group.values.get("connection_count"), group.values.get("min_connections")
    if count is not None and minimum is not None and minimum > count:
        allowed = f"at most `connection_count`, which is {count}"
        group.place.under("min_connections").report(f"found {shown(minimum)}; allowed: {allowed}")


_KEYS_OF_SETTINGS = {
    "application_name": "`application_name` of the group",
    "client_encoding": '`libpq: {"client_encoding": …}` of the endpoint',
    "idle_in_transaction_session_timeout": "`idle_in_transaction_timeout` of the group",
    "statement_timeout": "`query_timeout` of the group",
    "temp_buffers": "`session_tmp_buffer` of the endpoint",
}


def _settings(group: Section) -> None:
    for name, value in (group.values.get("settings") or {}).items():
        place = group.place.under("settings").under(name)
        if name.lower() in _KEYS_OF_SETTINGS:
            place.report(f"has a key of its own; allowed: {_KEYS_OF_SETTINGS[name.lower()]} instead")
        elif name.lower() == "datestyle" and not str(value).upper().startswith("ISO"):
            place.report(f"found {shown(value)}; allowed: ISO, the only style that psycopg2 reads, such as 'ISO, DMY'")


def _group_behind_pooler(group: Section, endpoints: list[Section]) -> None:
    if any(endpoint.values.get("pooler") for endpoint in endpoints):
        for key in ("settings", "sqlprepare"):
            if group.values.get(key):
                group.place.under(key).report(_NOT_BEHIND_POOLER)


_NEVER = {"primary": "standby", "read-write": "standby", "standby": "primary"}


def _reachable_target(group: Section, endpoints: list[Section]) -> None:
    target = group.values.get("target", "auto")
    roles = {None if "role" in e.broken else e.values.get("role", "auto") for e in endpoints}
    if target in _NEVER and roles == {_NEVER[target]}:
        found = f"found {shown(target)}, but `role` of every endpoint is {_NEVER[target]}"
        group.place.under("target").report(f"{found}; allowed: a target that one of them can be")
