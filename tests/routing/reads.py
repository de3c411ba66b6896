"""Statements that only read: one on each line, ``⏎`` stands for a line feed."""

# These must go to a standby.
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
WITH RECURSIVE t AS (SELECT 1 AS a UNION ALL SELECT 2 FROM t WHERE a < 2) SEARCH DEPTH FIRST BY a SET p SELECT a FROM t
WITH RECURSIVE t AS (SELECT id FROM tree UNION ALL SELECT id FROM t) CYCLE id SET again USING way SELECT count(*) FROM t
SELECT * FROM generate_series(1, 3) AS g(n)
SELECT * FROM unnest(ARRAY[1, 2]) WITH ORDINALITY AS u(v, o)
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a'])) AS r
SELECT data ->> 'n', data -> 'list' -> 0, data @> '{"n": 1}' FROM item ORDER BY id
SELECT jsonb_path_query(data, '$.list[*]') FROM item ORDER BY id
SELECT to_jsonb(i), row_to_json(i) FROM item i ORDER BY id
SELECT jsonb_agg(name ORDER BY id), json_build_object('a', 1), string_agg(name, ',' ORDER BY id) FROM item
SELECT lower(name), upper(name), length(name), replace(name, 'i', 'o'), concat(name, '%%') FROM item WHERE id > %s ORDER BY id
SELECT substring(name FROM 2 FOR 3), position('t' IN name), trim(BOTH FROM name) FROM item ORDER BY id
SELECT extract(year FROM at), date_trunc('month', at), at + interval '1 day', at::date FROM item ORDER BY id
SELECT now(), current_timestamp, clock_timestamp(), current_date, localtime
SELECT random(), gen_random_uuid()
SELECT current_user, session_user, current_database(), current_schema, user
SELECT coalesce(NULL, 1), nullif(1, 2), greatest(1, 2), least(1, 2)
SELECT CASE WHEN id > 3 THEN 'big' ELSE 'small' END FROM item ORDER BY id
SELECT CAST(id AS text), '5'::bigint, numeric(10, 2) '1', 'a'::varchar(3) FROM item ORDER BY item.id
SELECT name FROM item WHERE name LIKE 'item%%' AND name ~ '^i' AND name NOT ILIKE 'x%%' AND id IN (1, %s)
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
SELECT '5'::positive, 'x'::name
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
SELECT nextval FROM (SELECT 1 AS nextval) AS x
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
