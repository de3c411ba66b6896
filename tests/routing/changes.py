"""Statements that do more than read, or may do, or fail: one on each line, ``⏎`` stands for a line feed."""

# What changes something, locks, needs the primary, or may mean something else on another server.
CHANGING_TEXTS = """
INSERT INTO scratch VALUES (1, 'a')
INSERT INTO scratch VALUES (2, 'a') RETURNING id
UPDATE scratch SET note = 'b'
DELETE FROM scratch WHERE id = 2
MERGE INTO scratch s USING item i ON s.id = i.id WHEN NOT MATCHED THEN INSERT VALUES (i.id, 'n')
MERGE INTO scratch s USING item i ON s.id = i.id WHEN MATCHED THEN UPDATE SET note = 'm'
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
SELECT id FROM item WHERE name = $$item 1$$for update
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
SELECT touch /* 1 */ (1), web . "touch" (1)
SELECT 1 */* a comment */ touch()
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
SELECT total_touching(n) FROM orders
SELECT total_at_last(n) FROM orders
SELECT total_touching(n) OVER (ORDER BY id) FROM orders
SELECT total_moving(n) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM orders
SELECT total_moving(n) FROM orders
SELECT defaulted()
SELECT * FROM touching
SELECT * FROM deep
SELECT * FROM web.deeper
TABLE deeper
SELECT * FROM "Touching View"
SELECT * FROM U&"\\0064eeper"
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
SELECT age(xmin) FROM item WHERE id = 1
SELECT pg_stat_get_numscans('item'::regclass) + pg_stat_get_xact_numscans('item'::regclass)
SELECT 1; SELECT nextval('counter'); SELECT 2
SELECT 1 WHERE false AND touch() = 1
WITH x AS (SELECT touch()) SELECT 1
SELECT x.t FROM (SELECT touch() AS t) AS x, LATERAL (SELECT x.t) AS y
SELECT item.id FROM item JOIN orders ON touch(item.id) = orders.n
SELECT (SELECT (SELECT touch()))
SELECT id FROM item WHERE id = ANY (SELECT touch())
SELECT id FROM item GROUP BY id HAVING touch(id) = 1
SELECT id FROM item OFFSET touch()
SELECT id FROM item ORDER BY id FETCH FIRST (touch()) ROWS ONLY
SELECT count(DISTINCT touch(id)), string_agg(name, ',' ORDER BY touch(id)) FROM item
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY touch(id)) FROM item
VALUES (1), (touch())
TABLE touching
TABLE a.thing
SELECT pg_cancel_backend(0)
SELECT pg_terminate_backend(0)
SELECT missing()
SELECT * FROM missing
SELEC 1
SELECT 1/0
SELECT 'unfinished
-- nothing but a comment
"""

# By what `schema.HIDDEN` makes.
HIDDEN_TEXTS = {
    "operators": """
SELECT 1 +@@ 2
SELECT id OPERATOR(hidden.+@@) 1 FROM item
SELECT 'a'::text + 'b'::text
SELECT * FROM of_operators
""",
    "operators behind words": """
SELECT 'sad'::mood LIKE 1
SELECT 'sad'::mood IN (1)
SELECT 'sad'::mood BETWEEN 1 AND 2
SELECT NULLIF('sad'::mood, 1)
SELECT CASE 'sad'::mood WHEN 1 THEN 2 END
SELECT 'sad'::mood IS DISTINCT FROM 1
SELECT ROW('sad'::mood, 1) IS DISTINCT FROM ROW(1, 1)
""",
    "casts": """
SELECT (ROW(1, 'EUR')::amount)::int
SELECT CAST(ROW(1, 'EUR')::amount AS int)
SELECT to_json('sad'::mood)
SELECT length('sad'::mood)
""",
    "domains": """
SELECT 5::checked
SELECT checked '5'
SELECT 5::checked_twice
SELECT wants(5)
SELECT jsonb_populate_record(NULL::holder, '{"c": 5}')
SELECT * FROM jsonb_to_record('{"c": 5}') AS r(c checked)
SELECT '(5)'::holder
""",
    "overloads": """
SELECT substring(i) FROM item i
SELECT overlay(i) FROM item i
SELECT hidden.json_object(i) FROM item i
SELECT initcap(i) FROM item i
SELECT LOWER(i) FROM item i
SELECT sum(name) FROM item
SELECT sum(name) OVER (ORDER BY id) FROM item
""",
}
