"""What keys of the configuration say together: addresses, DSNs, secrets, conflicts (contract §3)."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions, parse
from pgdbpool.errors import ConfigError
from tests.unit.test_config import config, endpoint, problems, web


@pytest.mark.contract("3.endpoint.label.1")
@pytest.mark.parametrize(
    ("keys", "label"),
    [
        ({}, "localhost:5432"),
        ({"host": "db1"}, "db1:5432"),
        ({"host": "db1", "port": 6432}, "db1:6432"),
        ({"host": "::1"}, "[::1]:5432"),
        ({"host": "/tmp"}, "/tmp:5432"),
        ({"libpq": {"hostaddr": "10.0.0.1"}}, "10.0.0.1:5432"),
        ({"libpq": {"service": "prod"}}, "service:prod"),
        ({"dsn": "postgresql://u:p@db1:6432/shop"}, "db1:6432"),
        ({"dsn": "postgresql:///shop?host=/tmp"}, "/tmp:5432"),
        ({"dsn": "host=db1 port=6432"}, "db1:6432"),
        ({"dsn": "dbname=shop"}, "localhost:5432"),
        ({"host": "db1", "label": "main"}, "main"),
        ({"host": "db1", "label": None}, "db1:5432"),
    ],
)
def test_the_default_label_is_host_and_port(keys: dict[str, Any], label: str) -> None:
    """An endpoint is called by what it is said to be, or else by libpq's defaults."""
    assert endpoint(**keys).label == label


def test_the_default_label_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where host or port are not said, the label has those that libpq takes from the environment."""
    monkeypatch.setenv("PGHOST", "elsewhere")
    monkeypatch.setenv("PGPORT", "6432")
    assert endpoint().label == "elsewhere:6432"
    assert endpoint(host="db1").label == "db1:6432"


@pytest.mark.contract("3.endpoint.label.1")
def test_labels_are_unique() -> None:
    """Two endpoints with one label are a problem that says to set ``label``; the label of a DSN is not shown."""
    (problem,) = problems(config([{"host": "h"}, {"dsn": "host=h"}]))
    assert (
        problem == "db[1].label: found the label of db[0] (host:port where none is given); allowed: a label of its own"
    )
    (problem,) = problems(config([{"label": "a"}, {"host": "h"}, {"label": "a"}]))
    assert (
        problem == "db[2].label: found the label of db[0] (host:port where none is given); allowed: a label of its own"
    )
    assert len(parse(config([{"host": "h"}, {"host": "h", "label": "b"}])).endpoints) == 2


@pytest.mark.contract("3.endpoint.dsn.1")
@pytest.mark.parametrize("key", ["host", "name", "user", "sslrootcert", "sslcert", "sslkey"])
def test_dsn_stands_instead_of_the_address(key: str) -> None:
    """An endpoint has a DSN or keys that say the same, not both."""
    (problem,) = problems(config({"dsn": "host=h", key: "x"}))
    assert problem.startswith(f"db.{key}: given beside `dsn`")


def test_dsn_beside_other_keys() -> None:
    """Port and ssl go with a DSN as little; ``pass`` and ``connect_timeout`` do where the DSN says nothing of them."""
    assert len(problems(config({"dsn": "host=h", "port": 1, "ssl": "prefer"}))) == 2
    assert endpoint(dsn="host=h", **{"pass": "p"}, connect_timeout=9).connect_timeout == 9
    found = problems(config({"dsn": "host=h password=p connect_timeout=1", "pass": "p", "connect_timeout": 1}))
    assert [problem.partition(":")[0] for problem in found] == ["db.pass", "db.connect_timeout"]
    assert problems(config({"dsn": "host=h keepalives=1", "libpq": {"keepalives": 0}}))[0].startswith(
        "db.libpq.keepalives: `dsn` has it too"
    )


def test_what_a_dsn_says_counts() -> None:
    """The DSN's connect_timeout and sslmode are the endpoint's."""
    one = endpoint(dsn="postgresql://h/d?connect_timeout=7&sslmode=require")
    assert (one.connect_timeout, one.ssl) == (7.0, "require")


SECRET = "hunter2"

BAD_DSNS = [
    (f"postgresql://u:{SECRET}@h1,h2/db", "several hosts"),
    (f"host=h1,h2 password={SECRET}", "several hosts"),
    (f"hostaddr=10.0.0.1,10.0.0.2 password={SECRET}", "several hosts"),
    (f"postgresql://u:{SECRET}@h/db?target_session_attrs=any", "target_session_attrs"),
    (f"postgresql://u:{SECRET}@h/db?{SECRET}=1", "keyword"),
    (f"host=h {SECRET}=1", "keyword"),
    (f"host=h password=a {SECRET}", "cannot read"),
    (SECRET, "cannot read"),
    (f"postgresql://u:%zz{SECRET}@h/db", "cannot read"),
    (f"postgresql://u:{SECRET}@h:{SECRET}/db", "port"),
    (f"postgresql://u:{SECRET}@h/db?sslmode={SECRET}", "sslmode"),
    (f"postgresql://u:{SECRET}@h/db?connect_timeout=0", "connect_timeout"),
    (f"postgresql://u:a@{SECRET}@h/db", "@"),
    (f"postgresql://u:12/{SECRET}@h/db", "@"),
    (f"host=h password={SECRET}\0", "found a value of type str (not shown)"),
]


@pytest.mark.contract("3.p1.5", "3.endpoint.dsn.1")
@pytest.mark.parametrize(("dsn", "reason"), BAD_DSNS)
def test_a_bad_dsn_is_explained_without_showing_it(dsn: str, reason: str) -> None:
    """What is wrong with a DSN is told without any part of it, in the chain of exceptions too."""
    with pytest.raises(ConfigError) as caught:
        parse(config({"dsn": dsn}))
    (problem,) = caught.value.problems
    assert problem.startswith("db.dsn: ")
    assert reason in problem
    assert SECRET not in "".join(traceback.format_exception(caught.value)) + repr(caught.value)


@pytest.mark.contract("3.p1.5")
@pytest.mark.parametrize(
    "wrong",
    [
        f"postgresql://u:{SECRET}@h/db",
        {"db": f"postgresql://u:{SECRET}@h/db"},
        {"db": [f"host=h password={SECRET}"]},
        {"db": SECRET},
        {"db": [SECRET]},
        {"db": {}, "groups": SECRET},
        {"db": {}, "groups": {"web": SECRET}},
        {"db": {"host": f"postgresql://u:{SECRET}@h/db"}},
        {"db": {"host": f"u:{SECRET}@h"}},
        {"db": {"host": {"pass": SECRET}}},
        {"db": {"pass": [SECRET]}},
        {"db": {"pass": SECRET + "\0"}},
        {"db": {"pass": SECRET.encode()}},
        {"db": {"password": SECRET}},
        {"db": {f"postgresql://u:{SECRET}@h/db": 1}},
        {"db": {"dsn": SECRET.encode()}},
        {"db": {"libpq": {"password": SECRET}}},
        {"db": {"libpq": {"sslpassword": [SECRET]}}},
        {"db": {"libpq": f"password={SECRET}"}},
        {"db": {"libpq": SECRET}},
        {"db": {"libpq": {"no_such_word": SECRET}}},
        {"db": {"libpq": {f"x {SECRET}=": 1}}},
        {"db": {}, "groups": {"web": f"postgresql://u:{SECRET}@h/db"}},
        {"db": {}, "groups": {"web": {"connection_count": 1, "target": f"postgresql://u:{SECRET}@h/db"}}},
    ],
)
def test_no_message_shows_a_secret(wrong: Any) -> None:
    """Neither a password nor a DSN is shown, wherever in the configuration it was put by mistake."""
    if isinstance(wrong, dict):
        wrong.setdefault("groups", {"web": {"connection_count": 1}})
    with pytest.raises(ConfigError) as caught:
        parse(wrong)
    assert SECRET not in str(caught.value) + repr(caught.value)


@pytest.mark.contract("3.p1.5")
def test_no_repr_shows_a_secret() -> None:
    """The repr of options shows no password, no DSN, and no value of a keyword or setting that sounds secret."""
    words = {"sslpassword": SECRET, "passfile": SECRET, "options": f"-c a.b={SECRET}", "keepalives": 77}
    options = parse(
        {
            "db": [
                {"host": "a", "pass": SECRET, "libpq": words},
                {"dsn": f"postgresql://{SECRET}:{SECRET}@b/{SECRET}"},
            ],
            "groups": {"web": {"connection_count": 1, "settings": {"app.jwt_secret": SECRET, "work_mem": "4MB"}}},
        }
    )
    assert SECRET not in repr(options)
    assert "'keepalives': 77" in repr(options)
    assert "'work_mem': '4MB'" in repr(options)
    assert SECRET not in repr(EndpointOptions(libpq={"sslpassword": SECRET}))
    assert (options.endpoints[0].password, options.endpoints[0].libpq["sslpassword"]) == (SECRET, SECRET)


@pytest.mark.parametrize(
    ("word", "key"),
    [
        ("host", "`host` of the endpoint"),
        ("port", "`port` of the endpoint"),
        ("dbname", "`name` of the endpoint"),
        ("user", "`user` of the endpoint"),
        ("password", "`pass` of the endpoint"),
        ("sslmode", "`ssl` of the endpoint"),
        ("sslrootcert", "`sslrootcert` of the endpoint"),
        ("connect_timeout", "`connect_timeout` of the endpoint"),
        ("target_session_attrs", "`target` of the group"),
        ("application_name", "`application_name` of the group"),
    ],
)
def test_a_keyword_that_has_a_key_of_its_own(word: str, key: str) -> None:
    """What a key says is not said by ``libpq`` too; the message names the key."""
    assert problems(config({"libpq": {word: "x"}})) == (
        f"db.libpq.{word}: has a key of its own; allowed: {key} instead",
    )


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("statement_timeout", "`query_timeout`"),
        ("Idle_In_Transaction_Session_Timeout", "`idle_in_transaction_timeout`"),
        ("temp_buffers", "`session_tmp_buffer`"),
        ("application_name", "`application_name`"),
        ("client_encoding", "`libpq`"),
    ],
)
def test_a_setting_that_has_a_key_of_its_own(name: str, key: str) -> None:
    """What a key says is not said by ``settings`` too, in whatever case; the message names the key."""
    (problem,) = problems(config(settings={name: 1}))
    assert problem.startswith(f"groups.web.settings.{name}: has a key of its own; allowed: {key}")


def test_the_date_style_must_be_one_that_psycopg2_reads() -> None:
    """A DateStyle other than ISO would make every date an error."""
    assert problems(config(settings={"DateStyle": "German"}))[0].startswith(
        "groups.web.settings.DateStyle: found 'German'"
    )


def test_min_connections_is_at_most_connection_count() -> None:
    """A minimum above the maximum is impossible; equal is fine."""
    assert web(min_connections=8).min_connections == 8
    assert problems(config(min_connections=9)) == (
        "groups.web.min_connections: found 9 (int); allowed: at most `connection_count`, which is 8",
    )


def test_one_server_per_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several hosts in one endpoint are a problem, also those of the environment."""
    assert problems(config({"libpq": {"hostaddr": "10.0.0.1,10.0.0.2"}}))[0].startswith("db.libpq.hostaddr: several")
    monkeypatch.setenv("PGHOST", "h1,h2")
    assert problems(config())[0].startswith("db.host: several hosts or a URI (PGHOST counts too)")
    assert endpoint(host="h1").label == "h1:5432"


def test_system_certificates_need_full_verification() -> None:
    """``sslrootcert: system`` goes only with ``verify-full``, as libpq has it."""
    assert problems(config({"sslrootcert": "system"}))[0].startswith("db.ssl: found 'prefer' (str)")
    assert endpoint(sslrootcert="system", ssl="verify-full").sslrootcert == "system"


def test_what_a_transaction_pooler_cannot_keep() -> None:
    """Session state asked for behind a pooler in transaction mode is a problem that says why."""
    db = {"pooler": "transaction", "session_tmp_buffer": 8, "libpq": {"options": "-c jit=off"}}
    found = problems(config(db, settings={"jit": False}, sqlprepare=True))
    assert [problem.partition(": a pooler in transaction mode")[0] for problem in found] == [
        "db.session_tmp_buffer", "db.libpq.options", "groups.web.settings", "groups.web.sqlprepare",
    ]  # fmt: skip
    assert endpoint(pooler="transaction").pooler == "transaction"


@pytest.mark.parametrize(
    ("target", "role"), [("primary", "standby"), ("read-write", "standby"), ("standby", "primary")]
)
def test_a_target_that_no_endpoint_can_be(target: str, role: str) -> None:
    """A target that the configured roles exclude is a problem; one endpoint that may have it is enough."""
    (problem,) = problems(config({"role": role}, target=target))
    assert problem.startswith(f"groups.web.target: found '{target}' (str), but `role` of every endpoint is {role}")
    assert parse(config([{"role": role}, {"host": "b"}], target=target)).groups["web"].target == target


def test_options_made_by_hand_are_complete() -> None:
    """Options constructed directly resolve label and application name too, and copy their mappings."""
    words = {"keepalives": 1}
    one, group = EndpointOptions(host="h", libpq=words), GroupOptions(name="g", connection_count=1)
    words.clear()
    assert (one.label, dict(one.libpq), group.application_name) == ("h:5432", {"keepalives": 1}, "pgdbpool:g")
    assert PoolOptions(endpoints=(one,), groups={"g": group}).default_group == "g"
