"""The user's dict becomes frozen dataclasses, and every problem in it is told at once (contract §3)."""

from __future__ import annotations

import copy
import dataclasses
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions, parse
from pgdbpool.errors import ConfigError


def config(db: Any = None, **group: Any) -> dict[str, Any]:
    return {"db": {} if db is None else db, "groups": {"web": {"connection_count": 8, **group}}}


def endpoint(**keys: Any) -> EndpointOptions:
    return parse(config(keys)).endpoints[0]


def web(**keys: Any) -> GroupOptions:
    return parse(config(**keys)).groups["web"]


def problems(wrong: object) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse(wrong)
    return caught.value.problems


def test_defaults_are_those_of_the_contract() -> None:
    """An empty endpoint and a group with only its size have the defaults of §3."""
    options = parse(config())
    assert options == PoolOptions(
        type="threaded",
        endpoints=(EndpointOptions(label="localhost:5432"),),
        groups={"web": GroupOptions(name="web", connection_count=8)},
    )
    one, group = options.endpoints[0], options.groups["web"]
    assert (one.ssl, one.connect_timeout, one.query_timeout, one.role, one.weight) == ("prefer", 3, 5000, "auto", 1)
    assert (one.host, one.port, one.session_tmp_buffer, one.pooler, dict(one.libpq)) == (None, None, None, None, {})
    assert (group.min_connections, group.target, group.timeout, group.max_waiting) == (1, "auto", 5, 0)
    assert (group.query_timeout, group.max_idle, group.max_lifetime, group.ping_after) == (None, 300, 1800, 30)
    assert (group.validate, group.reset, group.max_lag, group.max_lag_bytes) == ("auto", "auto", 5, None)
    assert (group.hold_warning, group.idle_in_transaction_timeout, group.sqlprepare) == (30, 60, False)
    assert (group.application_name, group.standby_functions, group.on_connect) == ("pgdbpool:web", (), None)


def test_every_key_arrives() -> None:
    """What is said for each key is what the options hold."""

    def on_connect(connection: object) -> None: ...

    def password() -> str:
        return ""

    one = {
        "host": "db1", "port": 6432, "name": "shop", "user": "web", "pass": password, "ssl": "verify-full",
        "sslrootcert": Path("/ca"), "sslcert": "/cert", "sslkey": "/key", "connect_timeout": 1, "query_timeout": 0,
        "session_tmp_buffer": 128, "role": "primary", "weight": 0.5, "label": "main", "pooler": None,
        "libpq": {"keepalives_idle": 7, "krbsrvname": "x"},
    }  # fmt: skip
    group = {
        "connection_count": 8, "min_connections": 0, "autocommit": False, "target": "prefer-standby", "timeout": 0,
        "max_waiting": 9, "query_timeout": 60000, "max_idle": 0, "max_lifetime": 0.5, "validate": "always",
        "ping_after": 0, "reset": "never", "max_lag": None, "max_lag_bytes": 1024, "hold_warning": 0,
        "idle_in_transaction_timeout": 0, "application_name": "shop", "settings": {"TimeZone": "UTC", "app.x": 1},
        "on_connect": on_connect, "standby_functions": ["app.age"], "sqlprepare": True,
    }  # fmt: skip
    options = parse({"type": "non-threaded", "db": one, "groups": {"web": group}, "stats_dir": None})
    expected = {**one, "password": one.pop("pass"), "sslrootcert": "/ca", "dsn": None}
    expected.pop("pass")
    assert {name: getattr(options.endpoints[0], name) for name in expected} == expected
    expected = {**group, "name": "web", "standby_functions": ("app.age",)}
    assert {name: getattr(options.groups["web"], name) for name in expected} == expected
    assert (options.type, options.stats_dir) == ("non-threaded", None)


def test_groups_keep_their_order_and_the_default_is_found() -> None:
    """``group=None`` means the group called ``default``, or else the first one declared."""
    one = {"connection_count": 1}
    options = parse({"db": {}, "groups": {"z": one, "a": one}})
    assert (list(options.groups), options.default_group) == (["z", "a"], "z")
    assert parse({"db": {}, "groups": {"z": one, "default": one}}).default_group == "default"


@pytest.mark.parametrize(
    ("said", "effective"), [({}, True), ({"autocommit": True}, True), ({"autocommit": False}, False)]
)
def test_autocommit_tells_whether_it_was_said(said: dict[str, bool], effective: bool) -> None:
    """``autocommit`` is None where it was not said, and counts as True then."""
    assert web(**said).autocommit is said.get("autocommit")
    assert web(**said).effective_autocommit is effective


@pytest.mark.contract("3.p1.1", "3.p1.2")
def test_the_users_dict_is_neither_modified_nor_kept() -> None:
    """Parsing leaves the dict as it was, and later changes of it do not reach the options."""
    given = config([{"libpq": {"keepalives": 1}}], settings={"work_mem": "4MB"}, standby_functions=["f"])
    before = copy.deepcopy(given)
    options = parse(given)
    assert given == before
    expected = copy.deepcopy(options)
    given["db"][0]["libpq"]["keepalives"] = 0
    given["groups"]["web"]["settings"].clear()
    given["groups"]["web"]["standby_functions"].append("g")
    given["groups"]["new"] = given["groups"].pop("web")
    given["db"].clear()
    assert options == expected


def test_a_read_only_mapping_will_do() -> None:
    """Any mapping is accepted in place of a dict, so one that refuses changes is not changed."""
    frozen = types.MappingProxyType
    given = {"db": (frozen({}),), "groups": frozen({"web": frozen({"connection_count": 8})})}
    assert parse(frozen(given)) == parse(config())


@pytest.mark.parametrize("pick", [lambda o: o, lambda o: o.endpoints[0], lambda o: o.groups["web"]])
def test_options_are_immutable(pick: Callable[[PoolOptions], Any]) -> None:
    """No field of the options can be assigned, and their mappings have no item assignment."""
    found = pick(parse(config()))
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(found, dataclasses.fields(found)[0].name, 1)
    for field in ("groups", "libpq", "settings"):
        assert not hasattr(getattr(found, field, ()), "__setitem__")


def test_options_can_be_hashed_and_compared() -> None:
    """Equal configurations give equal options with equal hashes."""
    given = config({"libpq": {"keepalives": 1}}, settings={"work_mem": "4MB"})
    assert hash(parse(given)) == hash(parse(copy.deepcopy(given)))
    assert parse(given) == parse(copy.deepcopy(given)) != parse(config())


@pytest.mark.contract("3.p3.1")
@pytest.mark.parametrize(
    "given",
    [
        {"db": {"host": "h", "name": "d", "user": "u", "pass": "p", "ssl": "disable", "connect_timeout": 10}},
        {"db": {"connection_retry_sleep": 1, "query_timeout": 5000, "session_tmp_buffer": 128}},
        {"db": {}, "groups": {"g": {"connection_count": 2, "autocommit": True, "sqlprepare": True}}},
        {"db": {}, "groups": {"g": {"connection_count": 2, "connection_retry_sleep": 1}}, "type": "non-threaded"},
    ],
)
def test_keys_of_1_0_are_accepted(given: dict[str, Any]) -> None:
    """Keys that pgdbpool 1.0.x knew are no problem, whether or not they have an effect."""
    assert parse({"groups": {"g": {"connection_count": 1}}, **given}).endpoints


@pytest.mark.contract("3.p1.3")
def test_every_problem_is_told_at_once_with_its_path() -> None:
    """One error names all problems, each with path, what was found and what is allowed."""
    wrong = {
        "db": [{"port": "5432"}, {"port": 0, "label": "b", "libpq": {"host": "x", "keepalives": True}}],
        "groups": {
            "web": {"connection_count": 8, "min_connections": 9, "timeout": -1},
            "my group": {},
            3: {},
            "g": None,
        },
        "type": "green",
    }
    starts = [
        "type: found 'green' (str); allowed: threaded, non-threaded",
        "db[0].port: found '5432' (str); allowed: a whole number, 1 to 65535, or None",
        "db[1].port: found 0 (int); allowed: ",
        "db[1].libpq.keepalives: found a value of type bool",
        "groups.web.timeout: found -1 (int); allowed: a number of seconds, 0 to ",
        "groups['my group' (str)].connection_count: missing; allowed: a whole number",
        "groups[3 (int)]: not a group's name; allowed: ",
        "groups.g: found None; allowed: a dict",
        "db[1].libpq.host: has a key of its own; allowed: `host` of the endpoint",
        "groups.web.min_connections: found 9 (int); allowed: at most `connection_count`, which is 8",
    ]
    found = problems(wrong)
    assert len(found) == len(starts)
    for start in starts:
        assert any(problem.startswith(start) for problem in found), start


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        (None, "configuration"),
        ([], "configuration"),
        ({"groups": {"g": {"connection_count": 1}}}, "db"),
        ({"db": {}}, "groups"),
        (config([]), "db"),
        (config("host"), "db"),
        (config([5]), "db[0]"),
        ({"db": {}, "groups": {}}, "groups"),
        ({"db": {}, "groups": ["g"]}, "groups"),
        ({"db": {}, "groups": {"": {"connection_count": 1}}}, "groups['' (str)]"),
        ({"db": {}, "groups": {"g": 5}}, "groups.g"),
        ({"db": {}, "groups": {"g": {}}}, "groups.g.connection_count"),
    ],
)
def test_missing_and_misshapen_parts(wrong: object, path: str) -> None:
    """What is missing, empty or not a dict is one problem at its own path."""
    assert [problem.partition(": ")[0] for problem in problems(wrong)] == [path]


NAN, INF = float("nan"), float("inf")


@pytest.mark.contract("3.p1.4")
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("connection_count", (0, -1, True, "8", 8.0, None, 10**400)),
        ("min_connections", (-1, False, "1", None)),
        ("autocommit", (0, "yes")),
        ("target", ("master", 1, None, [])),
        ("timeout", (-1, NAN, INF, True, "5", None, 10**400)),
        ("max_waiting", (-1, 1.5, True)),
        ("query_timeout", (-1, 1.5, True, "60", 2**31)),
        ("max_idle", (-0.1, NAN, INF, None)),
        ("max_lifetime", (-0.1, NAN, INF, None)),
        ("validate", ("often", True)),
        ("ping_after", (-1, NAN, "30")),
        ("reset", ("often", True)),
        ("max_lag", (0, -1, NAN, INF, True)),
        ("max_lag_bytes", (0, -1, 1.0)),
        ("hold_warning", (-1, NAN, INF)),
        ("idle_in_transaction_timeout", (-1, NAN, INF, 1e9)),
        ("application_name", ("", 5, "ä" * 32, "a\nb", "\ud800")),
        ("settings", ([], "TimeZone=UTC", 5, None)),
        ("on_connect", ("print", 5)),
        ("standby_functions", ("age", 5, None)),
        ("sqlprepare", (1, "yes", None)),
    ],
)
def test_bad_values_of_a_group(key: str, values: tuple[Any, ...]) -> None:
    """A value of the wrong type or out of range is one problem at its key: no truth value, text or NaN is a number."""
    for value in values:
        (problem,) = problems(config(**{key: value}))
        assert problem.startswith(f"groups.web.{key}: found "), (value, problem)
        assert "; allowed: " in problem


@pytest.mark.contract("3.p1.4")
@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("host", ("", 5, "a\0b", "h1,h2")),
        ("port", (0, -1, 65536, True, "5432", 5432.0)),
        ("name", ("", 5)),
        ("user", ("", 5)),
        ("pass", (5, b"x", "a\0b")),
        ("dsn", (5, "", b"host=x")),
        ("ssl", ("on", True, False, None)),
        ("sslrootcert", ("", 5)),
        ("connect_timeout", (0, -1, NAN, INF, True, "3", None)),
        ("query_timeout", (-1, 1.5, True, "60", None)),
        ("session_tmp_buffer", (0, -1, 1.5, "128")),
        ("role", ("master", None)),
        ("weight", (-1, NAN, INF, True, "1")),
        ("label", ("", 5, "a\nb")),
        ("pooler", ("session", True)),
        ("libpq", ([], "keepalives=1", None)),
    ],
)
def test_bad_values_of_an_endpoint(key: str, values: tuple[Any, ...]) -> None:
    """A value of the wrong type or out of range is one problem at its key."""
    for value in values:
        (problem,) = problems(config({key: value}))
        assert problem.startswith(f"db.{key}: "), (value, problem)
        assert "; allowed: " in problem


@pytest.mark.parametrize("stats_dir", [5, "", b"/tmp"])
def test_stats_dir_is_a_path(stats_dir: object) -> None:
    """``stats_dir`` is a path or None."""
    assert problems({**config(), "stats_dir": stats_dir})[0].startswith("stats_dir: ")


@pytest.mark.contract("3.p1.3")
@pytest.mark.parametrize(
    ("db", "group", "path", "proposal"),
    [
        ({}, {"conection_count": 1}, "groups.web.conection_count", "did you mean 'connection_count'?"),
        ({}, {"pool_size": 1}, "groups.web.pool_size", "did you mean 'connection_count'?"),
        ({}, {"max_lifetme": 1}, "groups.web.max_lifetme", "did you mean 'max_lifetime'?"),
        ({}, {"host": "h"}, "groups.web.host", "belongs to the endpoint"),
        ({"HOST": "h"}, {}, "db.HOST", "did you mean 'host'?"),
        ({"password": "p"}, {}, "db.password", "did you mean 'pass'?"),
        ({"dbname": "p"}, {}, "db.dbname", "did you mean 'name'?"),
        ({"connection_count": 1}, {}, "db.connection_count", "belongs to the group"),
        ({"groups": {}}, {}, "db.groups", "belongs to the root"),
        ({5: 1}, {}, "db[5 (int)]", "allowed: host, port, name"),
        ({"libpq": {"tcp_usr_timeout": 1}}, {}, "db.libpq.tcp_usr_timeout", "did you mean 'tcp_user_timeout'?"),
    ],
)
def test_an_unknown_key_is_told_with_the_nearest_one(db: Any, group: Any, path: str, proposal: str) -> None:
    """A key that does not exist is a problem, with the name that was probably meant or the place where it belongs."""
    (problem,) = problems(config(db, **group))
    assert problem.startswith(f"{path}: unknown")
    assert proposal in problem
    assert "allowed: " in problem


def test_an_unknown_key_of_the_root() -> None:
    """A key of the root that does not exist is a problem too."""
    assert problems({**config(), "typ": "threaded"})[0].startswith("typ: unknown key; did you mean 'type'?")


def test_items_of_settings_and_standby_functions() -> None:
    """Settings have PostgreSQL's names and plain values, standby functions are names; each breach has its own path."""
    good = {"search_path": "app", "app.tenant": 5, "random_page_cost": 1.1, "jit": False, "datestyle": "ISO, DMY"}
    assert dict(web(settings=good).settings) == good
    assert set(web(standby_functions={"b", "a"}).standby_functions) == {"a", "b"}
    found = problems(
        config(
            settings={"a b": 1, "x": None, "y": NAN, "z": "\0", "-c": 1, 5: 1},
            standby_functions=["ok", 5, "drop table"],
        )
    )
    assert [problem.partition(": ")[0].partition("groups.web.")[2] for problem in found] == [
        "settings['a b' (str)]", "settings.x", "settings.y", "settings.z", "settings.-c", "settings[5 (int)]",
        "standby_functions[1]", "standby_functions[2]",
    ]  # fmt: skip


def test_text_is_kept_as_plain_text() -> None:
    """Text of a subclass of str is kept as plain text, so that no code of the user's runs later."""

    class Lazy(str):
        def __str__(self) -> str:
            return "other"

    options = parse({"db": {"host": Lazy("h")}, "groups": {Lazy("g"): {"connection_count": 1}}})
    assert [type(text) for text in (options.endpoints[0].host, *options.groups)] == [str, str]
    assert (options.endpoints[0].host, *options.groups) == ("h", "g")
