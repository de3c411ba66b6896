"""What can be wrong with a configuration as a whole: its shape, its DSNs, and keys that are good, but not together."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.fuzz.configs import SECRET, configurations
from tests.fuzz.dsns import FRAGMENT
from tests.fuzz.mutations import Broken, Change
from tests.fuzz.nonsense import nonsense

__all__ = ["BROKEN_DSNS", "contradictory"]

_USER = f"u{FRAGMENT}:{SECRET}"
BROKEN_DSNS = [
    f"postgresql://{_USER}@h{FRAGMENT},h2/db",
    f"host=h{FRAGMENT},h2 password={SECRET}",
    f"postgresql://{_USER}@h/db?target_session_attrs=any",
    f"postgresql://{_USER}@h/db?{SECRET}=1",
    f"host=h{FRAGMENT} {SECRET}=1",
    f"host=h password=a {SECRET}",
    SECRET,
    f"postgresql://u:%zz{SECRET}@h/db",
    f"postgresql://{_USER}@h:{SECRET}/db",
    f"postgresql://{_USER}@h/db?sslmode={SECRET}",
    f"postgresql://{_USER}@h/db?connect_timeout=0",
    f"postgresql://u:a@{SECRET}@h/db",
    f"postgresql://u:12/{SECRET}@h/db",
    f"host=h password='{SECRET}",
    f"host=h password={SECRET}\0",
    f"host=h{FRAGMENT} password={SECRET}\ud800",
]


def broken_dsn(draw: st.DrawFn, broken: Broken) -> None:
    """One that libpq cannot read, or that is not for one server."""
    path, endpoint = draw(st.sampled_from(broken.endpoints))
    endpoint.clear()
    endpoint |= {"dsn": draw(st.sampled_from(BROKEN_DSNS)), "label": "broken"}
    broken.expect(rf"{path}\.dsn")


def misshapen(draw: st.DrawFn, broken: Broken) -> None:
    """Nonsense in place of a section."""
    value = draw(nonsense.filter(lambda value: not isinstance(value, (dict, list, tuple))))
    where = draw(st.sampled_from(["configuration", "db", "groups", r"db\[0]", "group"]))
    if where == "configuration":
        broken.config = value
    elif where == r"db\[0]":
        broken.config["db"] = [value]
    elif where == "group":
        where, group = draw(st.sampled_from(broken.groups))
        name = next(name for name, each in broken.config["groups"].items() if each is group)
        broken.config["groups"][name] = value
    else:
        broken.config[where] = draw(st.sampled_from([value, [], ()]))
    broken.expect(where)


def absent(draw: st.DrawFn, broken: Broken) -> None:
    key = draw(st.sampled_from(["db", "groups"]))
    del broken.config[key]
    broken.expect(key)


def minimum_above_count(draw: st.DrawFn, broken: Broken) -> None:
    path, group = draw(st.sampled_from(broken.groups))
    group |= {"connection_count": 7, "min_connections": 8}
    broken.expect(rf"{path}\.min_connections")


def same_label(draw: st.DrawFn, broken: Broken) -> None:
    db = [endpoint for _, endpoint in broken.endpoints]
    db[0]["label"] = draw(st.sampled_from(["same", "h:5432"]))
    broken.config["db"] = [*db, {"label": "same"} if db[0]["label"] == "same" else {"host": "h"}]
    broken.expect(rf"db\[{len(db)}]\.label")


def state_behind_pooler(draw: st.DrawFn, broken: Broken) -> None:
    """What a transaction pooler cannot keep, in every section that has it."""
    first = broken.endpoints[0][1]
    first["pooler"] = "transaction"
    keys = draw(st.sampled_from([["session_tmp_buffer"], ["libpq"], ["session_tmp_buffer", "libpq"]]))
    given = {"session_tmp_buffer": 8, "libpq": {"options": "-c geqo=off"}}
    first.pop("dsn", None)
    first |= {key: given[key] for key in keys}
    for path, endpoint in broken.endpoints:
        if endpoint.get("pooler"):
            if endpoint.get("session_tmp_buffer"):
                broken.expect(rf"{path}\.session_tmp_buffer")
            if "options" in endpoint.get("libpq", {}):
                broken.expect(rf"{path}\.libpq\.options")
    for path, group in broken.groups:
        for key in ("settings", "sqlprepare"):
            if group.get(key):
                broken.expect(rf"{path}\.{key}")


def role_beside_target(draw: st.DrawFn, broken: Broken) -> None:
    """No endpoint can ever be what a group asks for."""
    role, targets = draw(st.sampled_from([("standby", ["primary", "read-write"]), ("primary", ["standby"])]))
    for _, endpoint in broken.endpoints:
        endpoint["role"] = role
    broken.groups[0][1]["target"] = draw(st.sampled_from(targets))
    for path, group in broken.groups:
        if group.get("target") in targets:
            broken.expect(rf"{path}\.target")


def said_twice(draw: st.DrawFn, broken: Broken) -> None:
    """By the DSN, and beside it."""
    path, endpoint = draw(st.sampled_from(broken.endpoints))
    endpoint.clear()
    beside = {"host": "h", "port": 1, "user": "u", "pass": SECRET, "ssl": "prefer", "connect_timeout": 1}
    key = draw(st.sampled_from(list(beside)))
    dsn = f"host={FRAGMENT} password={SECRET} connect_timeout=1 keepalives=1"
    endpoint |= {"dsn": dsn, "label": "twice", key: beside[key], "libpq": {"keepalives": 1}}
    broken.expect(rf"{path}\.{key}")
    broken.expect(rf"{path}\.libpq\.keepalives")


def weak_system_certificates(draw: st.DrawFn, broken: Broken) -> None:
    path, endpoint = draw(st.sampled_from(broken.endpoints))
    endpoint.clear()
    endpoint |= {"sslrootcert": "system", "label": "weak", "ssl": draw(st.sampled_from(["prefer", "verify-ca"]))}
    broken.expect(rf"{path}\.ssl")


def date_style(draw: st.DrawFn, broken: Broken) -> None:
    path, group = draw(st.sampled_from(broken.groups))
    for _, endpoint in broken.endpoints:
        endpoint.pop("pooler", None)
    group["settings"] = {draw(st.sampled_from(["DateStyle", "datestyle"])): "German"}
    broken.expect(rf"{path}\.settings\.\w+")


_CONTRADICTIONS: list[Change] = [
    broken_dsn, misshapen, absent, minimum_above_count, same_label, state_behind_pooler, role_beside_target, said_twice,
    weak_system_certificates, date_style,
]  # fmt: skip


@st.composite
def contradictory(draw: st.DrawFn) -> Broken:
    """With one thing wrong that is not of one place alone."""
    broken = Broken(draw(configurations()))
    draw(st.sampled_from(_CONTRADICTIONS))(draw, broken)
    return broken
