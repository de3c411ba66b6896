"""What doc/security.md says of the limits of a reset, and the ways that it shows around them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from pgdbpool import DBQueryError
from tests.life import outcomes
from tests.servers import DATABASE, PASSWORD, ROLE, Server

# Objects whose function a statement calls without naming it.
OBJECTS = """
CREATE TABLE docs.shelf (a int, b int);
CREATE FUNCTION docs.sneak() RETURNS int LANGUAGE plpgsql AS
    $$BEGIN PERFORM set_config('app.tenant', 'acme', false); RETURN 1; END$$;
CREATE FUNCTION docs.sneak(int) RETURNS text LANGUAGE sql AS $$SELECT docs.sneak()::text$$;
CREATE FUNCTION docs.sneak(docs.shelf) RETURNS int LANGUAGE sql AS $$SELECT docs.sneak()$$;
CREATE FUNCTION docs.sneak(int, int) RETURNS bool LANGUAGE sql AS $$SELECT docs.sneak() = 1$$;
CREATE FUNCTION docs.lower(int) RETURNS int LANGUAGE sql AS $$SELECT docs.sneak()$$;
CREATE FUNCTION docs.sneaking() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN PERFORM docs.sneak(); RETURN new; END$$;

CREATE TABLE docs.tripped (a int);
CREATE TRIGGER trip BEFORE INSERT ON docs.tripped FOR EACH ROW EXECUTE FUNCTION docs.sneaking();
CREATE VIEW docs.viewed AS SELECT docs.sneak() AS a;
CREATE TABLE docs.defaulted (a int, b int DEFAULT docs.sneak());
CREATE TABLE docs.checked (a int CHECK (a = docs.sneak()));
CREATE TABLE docs.ruled (a int);
CREATE RULE sneak AS ON INSERT TO docs.ruled DO ALSO SELECT docs.sneak();
CREATE DOMAIN docs.narrow AS int CHECK (VALUE = docs.sneak());
CREATE OPERATOR docs.=~= (LEFTARG = int, RIGHTARG = int, FUNCTION = docs.sneak);
CREATE TYPE docs.mood AS ENUM ('1', '2');
CREATE FUNCTION docs.as_mood(int) RETURNS docs.mood LANGUAGE plpgsql AS
    $$BEGIN PERFORM docs.sneak(); RETURN '1'; END$$;
CREATE CAST (int AS docs.mood) WITH FUNCTION docs.as_mood(int);
CREATE TABLE docs.secured (a int);
INSERT INTO docs.secured VALUES (1);
INSERT INTO docs.shelf VALUES (1, 1);
CREATE POLICY own ON docs.secured USING (a = docs.sneak());
ALTER TABLE docs.secured ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.secured FORCE ROW LEVEL SECURITY;
"""
UNSEEN = {
    "trigger": "INSERT INTO docs.tripped VALUES (1)",
    "view": "SELECT a FROM docs.viewed",
    "default": "INSERT INTO docs.defaulted (a) VALUES (1)",
    "constraint": "INSERT INTO docs.checked VALUES (1)",
    "rule": "INSERT INTO docs.ruled VALUES (1)",
    "domain": "SELECT 1::docs.narrow",
    "operator": "SELECT 1 =~= 2",
    "cast": "SELECT 1::docs.mood",
    "policy": "SELECT a FROM docs.secured",
    "function called as a column": "SELECT s.sneak FROM docs.shelf s",
    "overloaded name": "SELECT lower(1)",
}


@pytest.fixture(scope="module")
def furnished(server: Server) -> Iterator[Server]:
    """The shared server with these objects."""
    server.sql(f"CREATE SCHEMA docs AUTHORIZATION {ROLE}; SET ROLE {ROLE}; {OBJECTS}")
    yield server
    server.sql("DROP SCHEMA docs CASCADE")


@pytest.mark.contract("4.given-back.4", "3.group.reset.1")
def test_what_a_text_does_not_tell(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """State set by what a statement does not name is seen by the next user, unless ``reset`` is ``always``."""
    found: dict[str, set[str]] = {}
    for reset in ("auto", "always"):
        pool = make_pool(connection_count=1, reset=reset, settings={"search_path": "docs"})
        found[reset] = set()
        for name, text in UNSEEN.items():
            pool.query(text)
            if pool.query("SELECT current_setting('app.tenant', true)").scalar():
                found[reset].add(name)
            with pool.handler() as db:
                db.query("RESET ALL")
    assert found == {"auto": set(UNSEEN), "always": set()}


def test_what_no_statement_clears(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """An extension's own state outlives a reset, and DISCARD ALL too: closing the connection is the way."""
    if not furnished.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'dblink'"):
        pytest.skip("this server has no dblink (postgresql-contrib), an extension that keeps state in the session")
    furnished.sql("CREATE EXTENSION dblink SCHEMA docs")
    pool = make_pool(connection_count=1, reset="always")
    known = "SELECT coalesce(cardinality(docs.dblink_get_connections()), 0)"
    where = f"host={furnished.host} port={furnished.port} dbname={DATABASE} user={ROLE} password='{PASSWORD}'"
    pool.query("SELECT docs.dblink_connect('mine', %s)", (where,))
    assert pool.query(known).scalar() == 1
    raw = pool.getconn()
    raw.autocommit = True
    raw.cursor().execute("DISCARD ALL")
    pool.putconn(raw)
    assert pool.query(known).scalar() == 1
    with pool.connection() as raw:
        raw.close()
    assert pool.query(known).scalar() == 0


def test_what_a_sequence_gave_last(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """``lastval()`` after a plain INSERT is the next user's too, unless ``reset`` is ``always``; RETURNING needs neither."""
    furnished.sql(f"SET ROLE {ROLE}; CREATE TABLE docs.numbered (id serial, a int)")
    pool = make_pool(connection_count=1)
    given = pool.query("INSERT INTO docs.numbered (a) VALUES (1) RETURNING id").scalar()
    assert pool.query("SELECT lastval()").scalar() == given
    pool = make_pool(connection_count=1, reset="always")
    pool.query("INSERT INTO docs.numbered (a) VALUES (1)")
    with pytest.raises(psycopg2.errors.ObjectNotInPrerequisiteState):
        pool.query("SELECT lastval()")


TENANTS = """
CREATE TABLE docs.invoice (tenant int, note text);
INSERT INTO docs.invoice SELECT n, 'invoice of ' || n FROM generate_series(1, 8) AS n;
ALTER TABLE docs.invoice ENABLE ROW LEVEL SECURITY;
ALTER TABLE docs.invoice FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON docs.invoice USING (tenant = nullif(current_setting('app.tenant', true), '')::int);
"""


@pytest.mark.contract("4.given-back.1")
def test_row_security_by_a_setting_of_the_transaction(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """Threads that set their tenant for a transaction see its rows and no others; who sets none sees nothing."""
    furnished.sql(f"SET ROLE {ROLE}; {TENANTS}")
    pool = make_pool(connection_count=2)

    def ask(tenant: int) -> set[str]:
        seen = set()
        for _ in range(25):
            with pool.transaction() as db:
                db.query("SELECT set_config('app.tenant', %s, true)", (str(tenant),))
                seen |= {note for (note,) in pool.query("SELECT note FROM docs.invoice")}
            assert len(pool.query("SELECT note FROM docs.invoice")) == 0
        return seen

    answers = outcomes(8, lambda number: ask(number + 1))
    assert [each.error for each in answers] == [None] * 8
    assert [each.value for each in answers] == [{f"invoice of {number}"} for number in range(1, 9)]


def test_a_login_role_for_each_tenant_is_not_needed(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """``SET LOCAL ROLE`` in a transaction takes rights away for its length; one-shot queries refuse SET ROLE."""
    furnished.sql(f"CREATE ROLE auditor; GRANT auditor TO {ROLE}; GRANT USAGE ON SCHEMA docs TO auditor")
    try:
        pool = make_pool(connection_count=1)
        with pool.transaction() as db:
            db.query("SET LOCAL ROLE auditor")
            with pytest.raises(psycopg2.errors.InsufficientPrivilege), db.transaction():
                db.query("SELECT * FROM docs.shelf")
        assert pool.query("SELECT current_user").scalar() == ROLE
        with pytest.raises(DBQueryError, match="SET only makes sense in a session"):
            pool.query("SET ROLE auditor")
    finally:
        furnished.sql("DROP OWNED BY auditor; DROP ROLE auditor")


def test_who_else_sees_a_statement(furnished: Server, make_pool: Callable[..., Any]) -> None:
    """Every session of the same role reads the last text of the others in pg_stat_activity, parameters included."""
    pool = make_pool(connection_count=2, timeout=1)
    with pool.handler() as one, pool.handler() as other:
        one.query("SELECT %s", ("4111 1111",))
        seen = other.query("SELECT query FROM pg_stat_activity WHERE pid <> pg_backend_pid()").fetchall()
    assert ("SELECT '4111 1111'",) in seen
