"""What several keys say together, one function per rule.

A value that was refused is None.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pgdbpool.config.address import read_dsn
from pgdbpool.config.options import EndpointOptions
from pgdbpool.config.problems import Place, shown
from pgdbpool.config.sections import Section, keys_of


def check(endpoints: Sequence[Section], groups: Sequence[Section]) -> None:
    """Report every breach; a DSN's ``connect_timeout`` and ``sslmode`` become those of its endpoint."""
    for endpoint in endpoints:
        parts, _ = read_dsn(endpoint.get("dsn"))
        _said_once(endpoint, parts)
        _values_in_dsn(endpoint, parts)
        _one_server(endpoint, parts)
        _system_certificates(endpoint)
    _labels(endpoints)
    for group in groups:
        _minimum(group)
        _date_style(group)
        _reachable_target(group, endpoints)
    _behind_pooler(endpoints, groups)


# --- one endpoint ---

_SEVERAL = re.compile(r",|://|.@")  # a leading @: an abstract Unix socket
_NUMBER = re.compile(r"[0-9]{1,9}\Z")
_INSTEAD_OF_DSN = ("host", "port", "name", "user", "ssl", "sslrootcert", "sslcert", "sslkey")


def _said_once(endpoint: Section, parts: dict[str, Any]) -> None:
    twice = {*_INSTEAD_OF_DSN} if endpoint.get("dsn") else set()
    twice |= {key for key, word in (("pass", "password"), ("connect_timeout", "connect_timeout")) if word in parts}
    for key, value in endpoint.values.items():
        if key in twice and value is not None:
            endpoint.report("given beside `dsn`, which stands in its place; allowed: one of the two", key)
    for word in sorted(parts.keys() & (endpoint.get("libpq") or {}).keys()):
        endpoint.report("`dsn` has it too; allowed: one of the two", "libpq", word)


def _values_in_dsn(endpoint: Section, parts: dict[str, Any]) -> None:
    for word, key in (("port", "port"), ("sslmode", "ssl"), ("connect_timeout", "connect_timeout")):
        text, kind = parts.get(word, ""), keys_of(EndpointOptions)[key].metadata["kind"]
        value = int(text) if _NUMBER.match(text) else text
        if kind.good(value):
            endpoint.values.setdefault(key, value)
        elif text and "," not in text:
            endpoint.report(f"the {word} in it is none; allowed: {kind.allowed}", "dsn")


def _one_server(endpoint: Section, parts: dict[str, Any]) -> None:
    host, hostaddr = endpoint.get("host"), (endpoint.get("libpq") or {}).get("hostaddr")
    in_dsn = "".join(parts.get(word, "") for word in ("host", "hostaddr", "port"))
    if not (host or hostaddr or in_dsn or endpoint.broken & {"host", "dsn", "libpq"}):
        host = os.environ.get("PGHOST")
    for address, *path in ((host, "host"), (hostaddr, "libpq", "hostaddr"), (in_dsn, "dsn")):
        if _SEVERAL.search(str(address or "")):
            endpoint.report("several hosts or a URI (PGHOST counts too); allowed: one server per endpoint", *path)
    if "target_session_attrs" in parts:
        endpoint.report("`target_session_attrs` in it; allowed: `target` of the group instead", "dsn")


def _system_certificates(endpoint: Section) -> None:
    """libpq refuses anything weaker (manual, sslrootcert)."""
    mode = endpoint.get("ssl")
    if endpoint.get("sslrootcert") == "system" and mode not in (None, "verify-full"):
        endpoint.report(f"found {shown(mode)} with `sslrootcert` 'system'; allowed: verify-full", "ssl")


def _labels(endpoints: Iterable[Section]) -> None:
    first: dict[str, Place] = {}
    for endpoint in endpoints:
        if endpoint.broken & {"label", "host", "port", "dsn", "libpq"}:
            continue
        earlier = first.setdefault(endpoint.made().label, endpoint.at)
        if earlier is not endpoint.at:
            text = f"found the label of {earlier.path} (host:port where none is given); allowed: a label of its own"
            endpoint.report(text, "label")


# --- groups ---


def _minimum(group: Section) -> None:
    count, minimum = group.get("connection_count"), group.get("min_connections")
    if count and minimum and minimum > count:
        allowed = f"at most `connection_count`, which is {count}"
        group.report(f"found {shown(minimum)}; allowed: {allowed}", "min_connections")


def _date_style(group: Section) -> None:
    for name, value in (group.get("settings") or {}).items():
        if name.lower() == "datestyle" and not str(value).upper().startswith("ISO"):
            allowed = "ISO, the only style that psycopg2 reads, such as 'ISO, DMY'"
            group.report(f"found {shown(value)}; allowed: {allowed}", "settings", name)


_NEVER = {"primary": "standby", "read-write": "standby", "standby": "primary"}


def _reachable_target(group: Section, endpoints: Iterable[Section]) -> None:
    target, roles = group.get("target"), {each.get("role") for each in endpoints}
    if target in _NEVER and roles == {_NEVER[target]}:
        found = f"found {shown(target)}, but `role` of every endpoint is {_NEVER[target]}"
        group.report(f"{found}; allowed: a target that one of them can be", "target")


# --- both ---

_NOT_BEHIND_POOLER = (
    "a pooler in transaction mode keeps no such state for a client; allowed: to set it on the server's side "
    "(ALTER ROLE … SET), or no `pooler`"
)


def _behind_pooler(endpoints: Sequence[Section], groups: Sequence[Section]) -> None:
    pooled = [each for each in endpoints if each.get("pooler")]
    for section in (*pooled, *(groups if pooled else ())):
        for key in ("session_tmp_buffer", "settings", "sqlprepare"):
            if section.values.get(key):
                section.report(_NOT_BEHIND_POOLER, key)
        if "options" in (section.values.get("libpq") or ()):
            section.report(_NOT_BEHIND_POOLER, "libpq", "options")
        if "options" in read_dsn(section.values.get("dsn"))[0]:
            section.report(_NOT_BEHIND_POOLER, "dsn")
