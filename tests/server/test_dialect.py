"""The dialect of pgdbpool 1.0: ``from pgdbpool import pool as dbpool``."""

# ruff: noqa: PT011, PT012  (what a block raises itself, and what its end raises, is the subject)

from __future__ import annotations

import copy
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

import pgdbpool
from pgdbpool import pool as dbpool
from tests.servers import Server, eventually
from tests.several import Several
from tests.usage import fresh_table, rows_of

TABLE = "of_dialect"


@pytest.fixture
def config(server: Server, make_pool: Any) -> Iterator[dict[str, Any]]:
    """A configuration as 1.0's users write it; the pool made of it is closed."""
    fresh_table(server, TABLE)
    yield {**server.config(), "groups": {"web": {"connection_count": 3}}}
    if pgdbpool.engine.current._pool is not None:
        pgdbpool.close(1)


@pytest.mark.contract("1.p2.1")
@pytest.mark.parametrize("module", [pgdbpool, dbpool])
def test_a_program_of_1_0(config: dict[str, Any], server: Server, module: Any) -> None:
    """What 1.0's users wrote runs, by both imports."""
    module.Connection.init(config)
    with module.Handler("web") as db:
        db.query(f"INSERT INTO {TABLE} (id, note) VALUES (%s, %s)", (1, "one"))
        db.query(f"INSERT INTO {TABLE} (id, note) VALUES (%s, %s)", (2, "two"))
        for rec in db.query(f"SELECT id, note FROM {TABLE} ORDER BY id"):
            assert (rec["note"], dict(rec)) == ({1: "one", 2: "two"}[rec[0]], {"id": rec[0], "note": rec[1]})
        assert rows_of(server, TABLE) == []
        db.commit()
        db.query(f"DELETE FROM {TABLE}")
        db.rollback()
    assert rows_of(server, TABLE) == [1, 2]


@pytest.mark.contract("1.p2.1")
def test_the_errors_of_1_0(config: dict[str, Any]) -> None:
    """1.0's error classes are found in its module, and are the package's own."""
    for name in ("DBConnectionError", "DBOfflineError", "DBQueryError", "UnconfiguredGroupError"):
        assert getattr(dbpool, name) is getattr(pgdbpool, name)
    dbpool.Connection.init(config)
    with pytest.raises(dbpool.DBQueryError), dbpool.Handler("web") as db:
        db.query("selec")
    with pytest.raises(dbpool.UnconfiguredGroupError), dbpool.Handler("wbe"):
        pass


@pytest.mark.contract("1.p3.1")
def test_the_defaults_of_1_0(config: dict[str, Any]) -> None:
    """Without further keys: autocommit off, no TLS, ``temp_buffers`` of 128 MB, three connections at most."""
    dbpool.Connection.init(config)
    with dbpool.Handler("web") as db:
        assert db.query("SHOW temp_buffers").scalar() == "128MB"
        assert db.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar() is False
    with pgdbpool.connection() as conn:
        assert conn.autocommit is False
        assert conn.info.dsn_parameters["sslmode"] == "disable"
    assert pgdbpool.stats()["groups"]["web"]["connection_count"] == 3


@pytest.mark.contract("1.p3.1")
def test_what_the_user_says_wins(config: dict[str, Any], server: Server) -> None:
    """Keys that the configuration names are not overridden, and the dict is left as it was."""
    config["db"] |= {"session_tmp_buffer": 16, "ssl": "prefer"}
    config["groups"]["web"]["autocommit"] = True
    before = copy.deepcopy(config)
    dbpool.Connection.init(config)
    assert config == before
    with dbpool.Handler("web") as db:
        assert db.query("SHOW temp_buffers").scalar() == "16MB"
        db.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
        assert rows_of(server, TABLE) == [1]


@pytest.mark.contract("1.p3.1")
def test_init_itself_has_its_own_defaults(config: dict[str, Any]) -> None:
    """``pgdbpool.init`` does not apply 1.0's defaults."""
    pgdbpool.init(config)
    with pgdbpool.connection() as conn:
        assert conn.autocommit is True
        assert conn.info.dsn_parameters["sslmode"] == "prefer"


@pytest.mark.contract("1.p3.1")
@pytest.mark.parametrize("kind", ["threaded", "non-threaded"])
def test_it_connects_at_once(config: dict[str, Any], server: Server, kind: str) -> None:
    """When ``Connection.init`` returns, all connections of all groups are there."""
    config["groups"]["other"] = {"connection_count": 2}
    dbpool.Connection.init({**config, "type": kind})
    assert (len(server.sessions("pgdbpool:web")), len(server.sessions("pgdbpool:other"))) == (3, 2)
    assert pgdbpool.stats()["groups"]["web"]["idle"] == 3


@pytest.mark.contract("1.p3.1")
@pytest.mark.parametrize("kind", ["threaded", "non-threaded"])
def test_connection_count_is_the_total(three_servers: Several, kind: str) -> None:
    """It is dealt to the servers in turn, and the next group goes on where one has ended."""
    config = three_servers.config({"connection_count": 4})
    config["groups"] = {"web": config["groups"]["web"], "other": {"connection_count": 4}}
    dbpool.Connection.init({**config, "type": kind})
    try:
        held = [
            [len(each.sessions(f"pgdbpool:{group}")) for each in three_servers.servers] for group in config["groups"]
        ]
        assert held == [[2, 1, 1], [1, 2, 1]]
        assert [dbpool.Connection.get_max_pool_size(group) for group in config["groups"]] == [4, 4]
        assert dbpool.Connection.get_threading_model() == kind
        with pytest.raises(KeyError):
            dbpool.Connection.get_max_pool_size("wbe")
    finally:
        pgdbpool.close(1)


@pytest.mark.contract("1.p3.1")
def test_one_server_of_several_that_is_away(three_servers: Several) -> None:
    """``Connection.init`` raises DBConnectionError that names it, and leaves no session on the others."""
    away = three_servers.servers[1]
    away.stop()
    since = time.monotonic()
    with pytest.raises(dbpool.DBConnectionError, match=three_servers.label(away)):
        dbpool.Connection.init(three_servers.config())
    assert time.monotonic() - since < dbpool._PATIENCE + 2
    assert eventually(lambda: not any(each.sessions("pgdbpool%") for each in three_servers.servers if each.running))


@pytest.mark.contract("1.p3.1")
@pytest.mark.parametrize(("wrong", "words"), [({"pass": "wrong one"}, "password"), ({"name": "no_such"}, "no_such")])
def test_a_connect_that_fails(config: dict[str, Any], wrong: dict[str, str], words: str) -> None:
    """``Connection.init`` raises DBConnectionError, with the server's words, where it cannot connect; and soon."""
    began = time.monotonic()
    with pytest.raises(dbpool.DBConnectionError, match=words) as caught:
        dbpool.Connection.init({**config, "db": {**config["db"], **wrong}})
    assert time.monotonic() - began < 2
    assert "wrong one" not in str(caught.value)
    assert isinstance(caught.value, psycopg2.OperationalError)


@pytest.mark.contract("1.p3.1")
def test_a_server_that_is_away(config: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """``Connection.init`` raises DBConnectionError where nobody listens."""
    monkeypatch.setattr(dbpool, "_PATIENCE", 0.3)
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(dbpool.DBConnectionError, match="refused"):
            dbpool.Connection.init({**config, "db": {**config["db"], "port": bound.getsockname()[1]}})


@pytest.mark.contract("1.p3.1")
@pytest.mark.parametrize("broken", [None, {}, {"db": 1, "groups": 2}, {"db": {}, "groups": {"web": 1}}])
def test_a_wrong_configuration(broken: Any) -> None:
    """A wrong configuration is a ConfigError, as of ``init``."""
    with pytest.raises(pgdbpool.ConfigError):
        dbpool.Connection.init(broken)


@pytest.mark.contract("1.p3.2")
def test_rollback_after_an_exception(config: dict[str, Any], server: Server) -> None:
    """Unlike 1.0, an exception in the block undoes what was not committed."""
    dbpool.Connection.init(config)
    with pytest.raises(ValueError), dbpool.Handler("web") as db:
        db.query(f"INSERT INTO {TABLE} (id) VALUES (1)")
        raise ValueError
    assert rows_of(server, TABLE) == []


@pytest.mark.contract("1.p3.2", "4.a-thread.1")
def test_a_bounded_wait(config: dict[str, Any]) -> None:
    """Unlike 1.0, a handler that finds no connection raises in the end."""
    config["groups"]["web"] |= {"connection_count": 1, "timeout": 0.2}
    dbpool.Connection.init(config)
    with dbpool.Handler("web"), pytest.raises(pgdbpool.PoolError), dbpool.Handler("web"):
        pass


@pytest.mark.contract("1.p2.1")
@pytest.mark.parametrize(
    "line", ["from pgdbpool import pool as dbpool", "import pgdbpool as dbpool", "import pgdbpool.pool as dbpool"]
)
def test_the_imports(line: str) -> None:
    """Each import, as the first one of a process, finds ``Connection`` and ``Handler``."""
    done = subprocess.run(
        [sys.executable, "-c", f"{line}; dbpool.Connection.init; dbpool.Handler"], capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
