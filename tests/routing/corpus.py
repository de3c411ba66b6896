"""The statements. In the blocks one is on each line, and ``⏎`` stands for a line feed.

Whether one may go to a standby is not said here: ``judge`` asks the servers. Only ``PLAIN`` must go there.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from psycopg2 import sql
from psycopg2.extensions import AsIs

from tests.routing.schema import LONG


class Case(NamedTuple):
    """What is given to ``execute`` and to ``query``."""

    text: Any
    params: Any = None

    def __str__(self) -> str:
        text = repr(self.text) if not isinstance(self.text, str) else self.text
        shown = text if len(text) < 200 else f"{text[:100]} … {len(text)} characters"
        return shown if self.params is None else f"{shown} with {self.params!r}"[:300]


PLAIN_TEXTS = """
SELECT 1
select name from item where id = 3
SELECT * FROM web.item ORDER BY id
TABLE item
VALUES (1, 'a'), (2, 'b')
(SELECT 1) UNION ALL (SELECT 2)
((TABLE item))
SELECT 1; SELECT 2;
;; SELECT 1 ;;
-- a comment⏎SELECT 1
/* INSERT /* nested */ INTO */ SELECT 1
SELECT 'INSERT INTO scratch VALUES (1)'
SELECT $$DELETE FROM item$$, $x$; UPDATE item SET id = 0; $x$
SELECT E'nextval(\\'counter\\')'
SELECT 'it''s; DROP TABLE item'
SELECT count(*), sum(price), avg(price), min(name) FROM item
SELECT item, sum(n) FROM orders GROUP BY ROLLUP (item) ORDER BY 1, 2
SELECT item, n, count(*) FROM orders GROUP BY GROUPING SETS ((item), (n), ()) ORDER BY 1, 2, 3
SELECT id, rank() OVER (PARTITION BY item ORDER BY n DESC), lag(n) OVER w FROM orders WINDOW w AS (ORDER BY id)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n), mode() WITHIN GROUP (ORDER BY item) FROM orders
SELECT count(*) FILTER (WHERE n > 3) FROM orders HAVING count(*) > 1
SELECT DISTINCT ON (item) item, n FROM orders ORDER BY item, n
SELECT i.name, o.n FROM item i JOIN orders o ON o.item = i.id WHERE o.n BETWEEN 2 AND 5 ORDER BY o.id
SELECT * FROM item i LEFT JOIN LATERAL (SELECT max(n) FROM orders o WHERE o.item = i.id) m ON true ORDER BY i.id
SELECT name FROM item WHERE EXISTS (SELECT FROM orders WHERE item = item.id) ORDER BY 1
SELECT ARRAY(SELECT id FROM item ORDER BY 1), ROW(1, 'x'), (SELECT max(id) FROM item)
WITH x AS (SELECT id FROM item), y(n) AS MATERIALIZED (SELECT 1) SELECT * FROM x, y ORDER BY 1
WITH RECURSIVE t(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM t WHERE n < 5) SELECT sum(n) FROM t
WITH RECURSIVE t AS (SELECT id, parent FROM tree WHERE parent IS NULL UNION ALL SELECT c.id, c.parent FROM tree c JOIN t ON c.parent = t.id) SEARCH DEPTH FIRST BY id SET path CYCLE id SET again USING way SELECT id FROM t ORDER BY path
SELECT * FROM generate_series(1, 3) AS g(n)
SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY AS u(v, o)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a'])) AS r
SELECT data ->> 'n', data -> 'list' -> 0, data @> '{"n": 1}' FROM item ORDER BY id
SELECT jsonb_path_query(data, '$.list[*]') FROM item ORDER BY id
SELECT to_jsonb(i), row_to_json(i) FROM item i ORDER BY id
SELECT jsonb_agg(name ORDER BY id), json_build_object('a', 1), string_agg(name, ',' ORDER BY id) FROM item
SELECT lower(name), upper(name), length(name), replace(name, 'i', 'o'), format('%%s', name) FROM item WHERE id > %s ORDER BY id
SELECT substring(name FROM 2 FOR 3), position('t' IN name), trim(BOTH FROM name) FROM item ORDER BY id
SELECT extract(year FROM at), date_trunc('month', at), at + interval '1 day', at::date FROM item ORDER BY id
SELECT now(), current_timestamp, clock_timestamp(), current_date, localtime
SELECT random(), gen_random_uuid()
SELECT current_user, session_user, current_database(), current_schema, user
SELECT coalesce(NULL, 1), nullif(1, 2), greatest(1, 2), least(1, 2)
SELECT CASE WHEN id > 3 THEN 'big' ELSE 'small' END FROM item ORDER BY id
SELECT CAST(id AS text), id::bigint, '5'::int, numeric(10, 2) '1', 'a'::varchar(3) FROM item ORDER BY id
SELECT name FROM item WHERE name LIKE 'item%%' AND name ~ '^i' AND name NOT ILIKE 'x%%' AND id IN (1, 2) AND %s
SELECT id FROM item WHERE tags @> ARRAY['all'] AND 't1' = ANY (tags)
SELECT id FROM item ORDER BY price DESC NULLS LAST LIMIT 3 OFFSET 1
SELECT id FROM item ORDER BY id FETCH FIRST 2 ROWS ONLY
SELECT * FROM item TABLESAMPLE SYSTEM (100) REPEATABLE (1) ORDER BY id
SELECT ctid, xmin, tableoid::regclass FROM item ORDER BY id
SELECT "Id", "select", "for update" FROM "Mixed Case"
SELECT "for update" FROM "Mixed Case"
SELECT id AS "update", name AS "into" FROM item ORDER BY 1
SELECT * FROM cheap ORDER BY id
SELECT * FROM cheaper ORDER BY id
SELECT * FROM summary ORDER BY item
SELECT * FROM tenants
SELECT * FROM plain_parts ORDER BY n
SELECT * FROM ONLY tree ORDER BY id
SELECT twice(id), price_of(id) FROM item ORDER BY id
SELECT * FROM items(3) ORDER BY id
SELECT * FROM items() AS i(a) ORDER BY a
SELECT i.label, label(i) FROM item i ORDER BY id
SELECT a.report()
SELECT reverse('abc')
SELECT total(n), total(n) OVER () FROM orders GROUP BY n ORDER BY 1
SELECT 1 @+@ 2
SELECT '5'::positive, 'sad'::mood, enum_range(NULL::mood)
SELECT (ROW(1, 'EUR')::amount).currency
SELECT relname FROM pg_class WHERE relname = 'item'
SELECT table_name FROM information_schema.tables WHERE table_schema = 'web' ORDER BY 1
SELECT tablename FROM pg_tables WHERE schemaname = 'web' ORDER BY 1
SELECT to_regclass('item'), 'item'::regclass, pg_get_viewdef('cheap'::regclass)
SELECT has_table_privilege('item', 'SELECT'), obj_description('item'::regclass), pg_typeof(1)
SELECT to_tsvector('simple', name) @@ to_tsquery('simple', 'item') FROM item ORDER BY id
SELECT regexp_replace(name, '[0-9]+', 'n'), regexp_split_to_array(name, ' ') FROM item ORDER BY id
SELECT md5(name), encode(sha256(name::bytea), 'hex'), convert_to(name, 'UTF8') FROM item ORDER BY id
SELECT width_bucket(price, 0, 10, 5), round(price), price ^ 2, sqrt(price) FROM item ORDER BY id
SELECT pg_sleep(0)
SELECT pg_column_size(name), pg_size_pretty(1024::bigint) FROM item ORDER BY id
SELECT '[1,5)'::int4range * '[2,9)'::int4range, range_agg(int4range(id, id + 1)) FROM item
SELECT xmin, pg_current_xact_id_if_assigned(), txid_current_if_assigned() FROM item WHERE id = 1
SELECT point(1, 2) <-> point(3, 4), '10.0.0.0/8'::inet >> '10.1.2.3'
SELECT name COLLATE "C" FROM item ORDER BY name COLLATE "C"
SELECT (SELECT 1 EXCEPT SELECT 2), (SELECT 1 INTERSECT SELECT 1)
SELECT id FROM item WHERE (id, name) = (1, 'item 1') OR id IS DISTINCT FROM 2 ORDER BY 1
SELECT item.* FROM item, tree WHERE item.id = tree.id ORDER BY item.id
SELECT update FROM (SELECT 1 AS update) AS share
SELECT nextval FROM (SELECT 1 AS nextval) AS x
"""

# What changes something, locks, needs the primary, or may mean something else on another server.
CHANGING_TEXTS = """
INSERT INTO scratch VALUES (1, 'a')
INSERT INTO scratch VALUES (2, 'a') RETURNING id
UPDATE scratch SET note = 'b'
DELETE FROM scratch WHERE id = 2
MERGE INTO scratch s USING item i ON s.id = i.id WHEN MATCHED THEN UPDATE SET note = 'm' WHEN NOT MATCHED THEN INSERT VALUES (i.id, 'n')
TRUNCATE scratch
WITH x AS (INSERT INTO scratch VALUES (3, 'c') RETURNING id) SELECT * FROM x
WITH x AS (UPDATE scratch SET id = id RETURNING id), y AS (SELECT 1) SELECT count(*) FROM y
WITH x AS (SELECT 1), y AS (DELETE FROM scratch WHERE false RETURNING id) TABLE y
WITH a AS (WITH b AS (SELECT 1) SELECT * FROM b) INSERT INTO scratch SELECT *, 'w' FROM a
SELECT 1; INSERT INTO scratch VALUES (4, 'd')
INSERT INTO scratch VALUES (5, 'e'); SELECT 1
SELECT 1 AS n INTO made_by_select
SELECT id INTO UNLOGGED made_by_select_2 FROM item
SELECT id INTO TEMP made_by_select_3 FROM item
WITH x AS (SELECT 1 AS n) SELECT n INTO made_by_with FROM x
CREATE TABLE made_as AS SELECT 1 AS n
CREATE TEMP TABLE made_temp (n int)
CREATE VIEW made_view AS SELECT 1 AS n
CREATE INDEX made_index ON scratch (id)
ALTER TABLE scratch ADD COLUMN more int
DROP TABLE doomed
COMMENT ON TABLE scratch IS 'x'
GRANT SELECT ON scratch TO PUBLIC
ANALYZE scratch
VACUUM scratch
REINDEX TABLE scratch
CLUSTER scratch USING made_index
REFRESH MATERIALIZED VIEW summary
LOCK TABLE scratch
CHECKPOINT
SELECT * FROM item WHERE id = 1 FOR UPDATE
SELECT * FROM item WHERE id = 1 FOR NO KEY UPDATE SKIP LOCKED
SELECT * FROM item WHERE id = 1 FOR SHARE
SELECT * FROM item i, orders o WHERE i.id = o.item FOR KEY SHARE OF i NOWAIT
SELECT count(*) FROM (SELECT id FROM item FOR UPDATE) AS x
WITH x AS (SELECT id FROM item FOR SHARE) SELECT count(*) FROM x
SELECT 1 WHERE EXISTS (SELECT FROM item WHERE id = 1 FOR UPDATE)
SELECT id FROM item WHERE id = 1for update
SELECT id FROM item WHERE name = 'item 1'for update
SELECT id FROM item FOR/**/UPDATE
SELECT id FROM item FOR -- read only⏎UPDATE
TABLE item FOR UPDATE
(SELECT id FROM item FOR UPDATE)
SELECT * FROM locking
SELECT nextval('counter')
SELECT pg_catalog.nextval('counter'::regclass)
SELECT"nextval"('counter')
SELECT NEXTVAL /* now */ -- really⏎ ('counter')
SELECT U&"\\006eextval"('counter')
SELECT U&"!006eextval" UESCAPE '!' ('counter')
VALUES (nextval('counter'))
SELECT * FROM nextval('counter')
SELECT * FROM ROWS FROM (nextval('counter')) AS n
SELECT 1 UNION SELECT nextval('counter')
SELECT 1 ORDER BY nextval('counter')
SELECT 1 LIMIT nextval('counter')
SELECT id FROM item WHERE id > 100 OR nextval('counter') > 0
SELECT CASE WHEN true THEN nextval('counter') END
SELECT setval('counter', 100)
SELECT setval('counter', 200, false)
SELECT nextval('counter'), currval('counter'), lastval()
SELECT currval('counter')
SELECT lastval()
SELECT last_value FROM counter
TABLE counter
SELECT last_value, is_called FROM web."Counter"
SELECT last_value FROM U&"\\0063ounter"
SELECT * FROM counted
SELECT last_value FROM pg_sequences WHERE sequencename = 'counter'
SELECT pg_sequence_last_value('counter')
SELECT * FROM pg_get_sequence_data('counter')
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_lock(1, 2)
SELECT pg_advisory_lock_shared(3) FROM item WHERE id = 1
SELECT pg_advisory_xact_lock(4)
SELECT pg_try_advisory_xact_lock_shared(5)
SELECT pg_advisory_unlock_all()
SELECT set_config('work_mem', '1MB', false)
SELECT set_config('work_mem', '1MB', true)
SELECT set_config('search_path', 'a', false), report()
SELECT setseed(0.25)
SELECT txid_current()
SELECT pg_current_xact_id()
SELECT pg_export_snapshot()
SELECT pg_notify('corpus', 'x')
NOTIFY corpus, 'x'
LISTEN corpus
UNLISTEN *
SELECT pg_logical_emit_message(true, 'corpus', 'x')
SELECT pg_logical_emit_message(false, 'corpus', 'x')
SELECT lo_create(1001)
SELECT lo_from_bytea(1002, 'x')
SELECT lo_put(4242, 0, 'y')
SELECT lo_unlink(4242)
SELECT lo_get(4242)
SELECT loread(lo_open(4242, 262144), 10)
SELECT lowrite(lo_open(4242, 131072), 'z')
SELECT touch()
SELECT touch(id) FROM item
SELECT web.touch(), web."touch"()
SELECT "Quoted Function"()
SELECT "a.report"()
SELECT b.report()
SELECT * FROM touch(1)
SELECT * FROM item, touch(id)
SELECT * FROM item JOIN LATERAL touch(item.id) t ON true
SELECT * FROM touch_rows(2)
SELECT touch_all(1, 2), touch_all(VARIADIC ARRAY[1])
SELECT touch(n => 3)
SELECT item.touch_item FROM item
SELECT (i).touch_item FROM item i
SELECT i.touch_more FROM item i
SELECT i.touch_any FROM item i
SELECT i.touch_record FROM item i
SELECT (items(1)).touch_item
SELECT i."touch_item" FROM cheap c JOIN item i USING (id)
SELECT writes()
SELECT * FROM writes()
SELECT initcap(i) FROM item i
SELECT substring(i) FROM item i
SELECT overlay(i) FROM item i
SELECT json_object(i) FROM item i
SELECT web.json_object(i) FROM item i
SELECT total_touching(n) FROM orders
SELECT total_at_last(n) FROM orders
SELECT total_touching(n) OVER (ORDER BY id) FROM orders
SELECT total_moving(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders
SELECT total_moving(n) FROM orders
SELECT defaulted()
SELECT 1 +@@ 2
SELECT id OPERATOR(web.+@@) 1 FROM item
SELECT 'a'::text + 'b'::text
SELECT (ROW(1, 'EUR')::amount)::int
SELECT CAST(ROW(1, 'EUR')::amount AS int)
SELECT int4(ROW(1, 'EUR')::amount)
SELECT to_json(ROW(1, 'EUR')::amount)
SELECT 5::checked
SELECT checked '5'
SELECT wants(5)
SELECT jsonb_populate_record(NULL::holder, '{"c": 5}')
SELECT * FROM jsonb_to_record('{"c": 5}') AS r(c checked)
SELECT '(5)'::holder
SELECT * FROM touching
SELECT * FROM deep
SELECT * FROM web.deeper
TABLE deeper
SELECT * FROM "Touching View"
SELECT * FROM U&"\\0064eeper"
SELECT * FROM of_operators
SELECT * FROM a.thing
SELECT * FROM watched
SELECT * FROM watched_deep
SELECT * FROM over_watched
SELECT x.n FROM (SELECT n FROM deeper) AS x
SELECT bumps()
SELECT writes_all_the_same()
SELECT fixed()
SELECT * FROM cache
SELECT count(*) FROM item WHERE id IN (SELECT id FROM cache)
SELECT * FROM measured
SELECT n FROM measured WHERE at = '2025-06-01'
SELECT * FROM empty_summary
SELECT pg_current_wal_lsn()
SELECT pg_current_wal_insert_lsn() - '0/0'
SELECT pg_walfile_name(pg_current_wal_lsn())
SELECT pg_last_wal_replay_lsn() IS NULL
SELECT pg_last_wal_receive_lsn() IS NULL
SELECT pg_last_xact_replay_timestamp() IS NULL
SELECT pg_is_wal_replay_paused()
SELECT pg_last_committed_xact()
SELECT pg_xact_status(pg_current_xact_id())
SELECT count(*) FROM pg_stat_replication
SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'walsender'
SELECT pid IS NULL FROM pg_catalog.pg_stat_get_wal_receiver()
SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE query LIKE '%walreceiver%'
SELECT state FROM activity
SELECT count(*) FROM PG_LOCKS
SELECT count(*) FROM "pg_locks"
SELECT count(*) FROM pg_lock_status()
SELECT slot_name FROM pg_replication_slots
SELECT setting FROM pg_settings WHERE name = 'cluster_name'
SELECT reset_val FROM pg_show_all_settings() WHERE name = 'cluster_name'
SELECT setting FROM U&"pg_settin\\0067s" WHERE name = 'cluster_name'
SELECT system_identifier IS NULL FROM pg_control_system()
SELECT count(*) FROM pg_control_recovery() WHERE min_recovery_end_lsn = '0/0'
SHOW cluster_name
SHOW transaction_read_only
SHOW ALL
EXPLAIN SELECT 1
EXPLAIN ANALYZE INSERT INTO scratch VALUES (6, 'f')
EXPLAIN (ANALYZE) SELECT touch()
SET work_mem = '1MB'
SET LOCAL work_mem = '1MB'
RESET ALL
SET ROLE web
BEGIN
COMMIT
START TRANSACTION READ ONLY
SAVEPOINT s
SELECT 1; COMMIT; INSERT INTO scratch VALUES (7, 'g')
PREPARE p AS SELECT 1
EXECUTE p
DEALLOCATE ALL
DECLARE c CURSOR WITH HOLD FOR SELECT 1
FETCH ALL FROM c
CLOSE ALL
DISCARD ALL
COPY (SELECT 1) TO STDOUT
COPY scratch FROM STDIN
DO $$BEGIN PERFORM touch(1); END$$
DO $$BEGIN INSERT INTO scratch VALUES (8, 'h'); END$$
CALL act()
SELECT query_to_xml('SELECT touch(1)', true, false, '')
SELECT table_to_xml('deeper'::regclass, true, false, '')
SELECT * FROM ts_stat('SELECT to_tsvector(touch(1)::text)')
SELECT ts_rewrite('a'::tsquery, 'SELECT ''a''::tsquery, touch(1)::text::tsquery')
SELECT 1 /* ; */; SELECT touch()
SELECT 'a' 'b', touch()
SELECT 'a'⏎'b', touch()
SELECT E'a\\'', touch()--'
SELECT $a$ $b$ $a$, touch() -- $b$
SELECT "a""b", touch() FROM (SELECT 1 AS "a""b") x
SELECT 1 WHERE 1 = touch()
SELECT count(*) FILTER (WHERE touch() = 1) FROM item
SELECT sum(n) OVER (ORDER BY touch(n)) FROM orders
SELECT DISTINCT ON (touch(item)) item FROM orders
SELECT count(*) FROM item GROUP BY touch()
SELECT ARRAY[touch()], ROW(touch()), (touch())
SELECT CASE touch() WHEN 1 THEN 2 END
SELECT * FROM item TABLESAMPLE BERNOULLI (touch(50))
SELECT XMLELEMENT(NAME a, touch())
SELECT JSON_ARRAY(touch(), 1)
SELECT JSON_OBJECT('a': touch())
SELECT COALESCE(NULL, touch()), GREATEST(touch(), 1)
SELECT EXTRACT(year FROM make_date(2026, touch(), 1))
SELECT ALL touch() UNION ALL SELECT 1
WITH touch AS (SELECT touch()) SELECT * FROM touch
WITH x(touch) AS (SELECT 1) SELECT touch(2) FROM x
SELECT pg_current_snapshot()
SELECT pg_cancel_backend(0)
SELECT pg_terminate_backend(0)
SELECT missing()
SELECT * FROM missing
SELEC 1
SELECT 1/0
SELECT 'unfinished
-- nothing but a comment
"""

# Of these the answer is about the server that gives it.
OF_THE_SERVER_TEXTS = """
SELECT pg_is_in_recovery()
SELECT current_setting('cluster_name')
SELECT current_setting('transaction_read_only'), id FROM item WHERE id = 1
SELECT inet_server_addr(), inet_server_port()
SELECT pg_backend_pid()
SELECT pg_postmaster_start_time(), pg_conf_load_time()
SELECT version()
SELECT pg_database_size(current_database()) > 0
SELECT pg_relation_size('item'), pg_total_relation_size('item') > 0, pg_relation_filepath('item')
"""


def _cases(block: str) -> list[Case]:
    texts = [line.replace("⏎", "\n") for line in block.strip().split("\n")]
    return [Case(text, (True,) if "%s" in text.replace("%%s", "") else None) for text in texts]


_MEGABYTES = "x" * 10_000_000

PLAIN = [
    *_cases(PLAIN_TEXTS),
    Case("SELECT name FROM item WHERE id = %(id)s OR name = %(name)s", {"id": 1, "name": "touch()"}),
    Case("SELECT %s, %s::int, %s::numeric(10,2)", ("); SELECT touch()", 1, 2)),
    Case("SELECT id FROM item WHERE id = ANY(%s) AND name IN %s ORDER BY id", ([1, 2, 3], ("item 1", "item 2"))),
    Case("SELECT 100 %% %s, '%%s'", (7,)),
    Case(b"SELECT name FROM item WHERE id = 1"),
    Case(
        sql.SQL("SELECT {} FROM {} WHERE id = %s").format(sql.Identifier("name"), sql.Identifier("web", "item")), (1,)
    ),
    Case("SELECT id FROM item WHERE id IN (" + ", ".join(map(str, range(2_000))) + ") ORDER BY id"),
]
CHANGING = [
    *_cases(CHANGING_TEXTS),
    Case(f"SELECT * FROM {LONG}"),
    Case("SELECT %s", (AsIs("touch()"),)),
    Case("SELECT * FROM %(view)s", {"view": AsIs("deeper")}),
    Case("SELECT id FROM item WHERE id = %s" + " " * 9_000 + "AND touch() = 1", (1,)),
    Case("INSERT INTO scratch VALUES (%s, %s)", (9, _MEGABYTES)),
    Case(f"SELECT length('{_MEGABYTES}')"),
    Case(f"SELECT 1 /* {_MEGABYTES} */; SELECT touch()"),
    Case("SELECT length(%s), touch()", (_MEGABYTES,)),
    Case(b"SELECT touch()"),
    Case(sql.SQL("SELECT {}()").format(sql.Identifier("touch"))),
    Case(sql.SQL("SELECT * FROM {}").format(sql.Identifier("deeper"))),
    Case(sql.SQL("INSERT INTO scratch VALUES ({}, '')").format(sql.Literal(10))),
]
CORPUS = [*PLAIN, *CHANGING, *_cases(OF_THE_SERVER_TEXTS)]

# Whose answer is meant to differ from server to server: the server that gives it is the one that is asked about.
OF_THE_SERVER = {
    "pg_is_in_recovery": "tells whether the server that answers is a standby, which is what such a question is for",
    "current_setting": "tells a setting of the session that answers",
    "inet_server_port": "tells which address the session is connected to",
    "pg_postmaster_start_time": "tells since when the server that answers has been running",
}
# What the catalog vouches for, or what the server alone knows: found out by a standby's refusal.
FOUND_OUT = [
    "SELECT bumps()",
    "SELECT writes_all_the_same()",
    "SELECT fixed()",
    "SELECT * FROM cache",
    "SELECT count(*) FROM item WHERE id IN (SELECT id FROM cache)",
    "SELECT * FROM measured",
]
