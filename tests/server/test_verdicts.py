"""What ``text`` says of statements and functions, against what real servers know and do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from pgdbpool.text import LEAVES_NOTHING, READING, look
from pgdbpool.text.calls import SYNTAX
from tests.servers import Server

# Called volatile because each call may answer otherwise, not because they change anything.
VOLATILE_AND_HARMLESS = frozenset(
    """
    array_sample array_shuffle clock_timestamp current_query gen_random_uuid pg_blocking_pids pg_database_size
    pg_indexes_size pg_is_in_recovery pg_jit_available pg_partition_ancestors pg_partition_tree pg_relation_size
    pg_safe_snapshot_blocking_pids pg_sleep pg_sleep_for pg_sleep_until pg_table_size pg_tablespace_size
    pg_total_relation_size random random_normal timeofday uuidv4 uuidv7
    """.split()
)
# First known to PostgreSQL 15, 16, 17 and 18.
SINCE = {
    150000: "has_parameter_privilege regexp_count regexp_instr regexp_like regexp_substr pg_settings_get_flags",
    160000: """
        any_value array_sample array_shuffle date_add date_subtract erf erfc json_agg_strict json_object_agg_strict
        json_object_agg_unique json_object_agg_unique_strict jsonb_agg_strict jsonb_object_agg_strict
        jsonb_object_agg_unique jsonb_object_agg_unique_strict pg_input_error_info pg_input_is_valid random_normal
    """,
    170000: """
        jsonb_populate_record_valid pg_basetype to_bin to_oct to_regtypemod unicode_assigned uuid_extract_timestamp
        uuid_extract_version xmltext
    """,
    180000: """
        array_reverse array_sort bytea casefold crc32 crc32c gamma has_largeobject_privilege lgamma uuidv4 uuidv7
    """,
}

CLEAN = """
SELECT 1
VALUES (1)
TABLE kept
SHOW work_mem
SELECT now(), random(), gen_random_uuid(), pg_sleep(0), current_setting('work_mem'), pg_backend_pid()
SELECT * FROM kept FOR UPDATE
SELECT * FROM generate_series(1, 3) AS g(n) JOIN LATERAL (SELECT sum(n) OVER ()) s ON true
WITH new AS (INSERT INTO kept (a) VALUES (1) RETURNING a) SELECT count(*) FROM new
INSERT INTO kept (a) VALUES (1), (2)
UPDATE kept SET (a) = ROW(a + 1)
DELETE FROM kept WHERE a > 100
SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2), pg_try_advisory_xact_lock_shared(3)
SELECT pg_notify('channel', 'text'), txid_current(), pg_current_xact_id()
SELECT pg_export_snapshot()
SELECT lo_unlink(lo_create(0)), lo_unlink(lo_from_bytea(0, 'x'))
SELECT 'SET ROLE x', $$; LISTEN a$$, E'\\' || set_config(''a.b'', ''c'', false)'
SELECT 1; INSERT INTO kept VALUES (3); SELECT 2
SELECT to_tsvector('simple', 'a b'), to_json(ARRAY[1]), regexp_replace('a', 'b', 'c')
SELECT has_table_privilege('kept', 'SELECT'), to_regclass('kept'), pg_get_serial_sequence('kept', 'a')
"""
LEAVES_SOMETHING = """
SELECT set_config('work_mem', '1MB', false)
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_lock_shared(1)
SET work_mem = '1MB'
LISTEN a
PREPARE p AS SELECT 1
DECLARE c CURSOR WITH HOLD FOR SELECT 1
CREATE TEMP TABLE t (a int)
SELECT 1 INTO TEMP t
SELECT DISTINCT ON (1) set_config('work_mem', '1MB', false)
DO $$ BEGIN PERFORM set_config('work_mem', '1MB', false); END $$
"""
STATE = """
SELECT ARRAY(SELECT format('%s=%s', name, setting) FROM pg_settings WHERE source = 'session' ORDER BY 1),
       ARRAY(SELECT name FROM pg_prepared_statements ORDER BY 1),
       ARRAY(SELECT pg_listening_channels() ORDER BY 1),
       ARRAY(SELECT mode || objid FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() ORDER BY 1),
       ARRAY(SELECT name FROM pg_cursors ORDER BY 1),
       ARRAY(SELECT relname::text FROM pg_class WHERE relnamespace = pg_my_temp_schema() ORDER BY 1),
       current_user || session_user
"""


@pytest.fixture
def session(server: Server) -> Iterator[Any]:
    """A session of the tests' role in autocommit, with a table ``kept``."""
    connection = psycopg2.connect(**server.dsn())
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept (a int)")
    yield cursor
    connection.close()
    with psycopg2.connect(**server.dsn()) as last:
        last.cursor().execute("DROP TABLE kept")
    last.close()


def lines(block: str) -> list[str]:
    return block.strip().split("\n")


def state(cursor: Any) -> Any:
    cursor.execute(STATE)
    return cursor.fetchone()


@pytest.mark.parametrize("text", lines(CLEAN))
def test_what_is_clean_leaves_the_session_as_it_was(session: Any, text: str) -> None:
    """Contract §4, given back: a statement known to leave nothing behind does leave nothing behind."""
    assert look(text).clean
    before = state(session)
    session.execute(text)
    assert state(session) == before


@pytest.mark.parametrize("text", lines(LEAVES_SOMETHING))
def test_what_leaves_something_is_not_clean(session: Any, text: str) -> None:
    """What the state above does see is never taken for clean, so that the test before can fail."""
    assert not look(text).clean
    before = state(session)
    session.execute(text)
    assert state(session) != before


@pytest.mark.parametrize("text", [text for text in lines(CLEAN) if look(text).reads])
def test_what_reads_runs_in_a_read_only_transaction(session: Any, text: str) -> None:
    """The server itself agrees that a statement that reads changes nothing."""
    session.execute("BEGIN READ ONLY")
    session.execute(text)
    session.execute("SELECT pg_current_xact_id_if_assigned()")
    assert session.fetchone() == (None,)


@pytest.mark.every_version
def test_each_known_function_is_a_builtin(server: Server) -> None:
    """No name in the sets is misspelt; what an older server does not have, a newer one does."""
    builtin = {
        name for (name,) in server.sql("SELECT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace")
    }
    version = server.version
    later = {name for since, names in SINCE.items() if since > version for name in names.split()}
    assert sorted((READING | LEAVES_NOTHING) - builtin - later) == []


@pytest.mark.every_version
def test_a_reading_function_is_volatile_only_where_it_was_judged_harmless(server: Server) -> None:
    """The catalog calls all of them immutable or stable, but for those that a person has looked at."""
    rows = server.sql(
        "SELECT DISTINCT proname FROM pg_proc WHERE provolatile = 'v' AND pronamespace = 'pg_catalog'::regnamespace"
    )
    assert sorted({name for (name,) in rows} & READING - VOLATILE_AND_HARMLESS) == []


@pytest.mark.every_version
def test_what_is_syntax_can_name_no_function(server: Server) -> None:
    """Words never taken for a call are those that the grammar keeps (R: reserved, C: no function or type)."""
    kept = {word.upper(): code for word, code in server.sql("SELECT word, catcode FROM pg_get_keywords()")}
    assert {word: kept[word] for word in SYNTAX if kept.get(word, "R") not in "RC"} == {}
