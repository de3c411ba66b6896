"""The verdicts of ``text.look`` on a corpus of statements.

What must hold is given by letters: c clean, r reads, j joinable, s only makes sense in a session, t controls a
transaction; what has no letter must not hold. In the texts ``⏎`` stands for a line feed, ``␍`` for a carriage return.
"""

from __future__ import annotations

import pytest

from pgdbpool.text import Verdict, look

READS = r"""
SELECT 1
select 1;
SELECT 1; SELECT 2;
;;SELECT 1;;
VALUES (1, 2), (3, 4)
TABLE x
SHOW search_path
SELECT * FROM product WHERE id = %s
SELECT * FROM product WHERE id = %(id)s AND n IN %(many)s
SELECT %s::int, %s::numeric(10,2), '1'::varchar(3), x::my_type(3), x::my.type(3)
SELECT now(), random(), gen_random_uuid(), pg_sleep(0), clock_timestamp()
SELECT count(*), sum(n) FILTER (WHERE n > 0), LOWER (name) FROM t GROUP BY name HAVING (count(*) > 1)
SELECT rank() OVER (PARTITION BY a ORDER BY (b)), lag(a) OVER w FROM t WINDOW w AS (ORDER BY c)
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n) FROM t
SELECT COALESCE(a, b), NULLIF(a, b), GREATEST(1, 2), LEAST(1, 2) FROM t
SELECT CAST(a AS numeric(10, 2)), CAST(b AS varchar(20)), CAST(c AS my_type(1)) FROM t
SELECT EXTRACT(epoch FROM ts), POSITION('a' IN b), SUBSTRING(a FROM 1 FOR 2), TRIM(BOTH 'x' FROM (a)) FROM t
SELECT OVERLAY(a PLACING (b) FROM 1), timestamp(3) '2020-01-01', interval(3) '1 s', numeric(3) '1'
SELECT XMLELEMENT(NAME a, XMLATTRIBUTES(b AS "c"), XMLFOREST(d)), JSON_OBJECT('a': 1), JSON_ARRAY(1, 2)
SELECT * FROM JSON_TABLE(js, '$[*]' COLUMNS (a int PATH '$.a', b numeric(10,2) PATH '$.b')) AS j
SELECT * FROM generate_series(1, 3) g(x)
SELECT * FROM generate_series(1, 3) AS g(x), unnest(ARRAY[1]) WITH ORDINALITY AS u(v, o)
SELECT * FROM unnest(ARRAY[1]) WITH ORDINALITY u(v)
SELECT * FROM json_to_recordset(%s) AS (a int, b text)
SELECT * FROM (VALUES (1, 2)) v(a, b) JOIN (SELECT 1) w USING (a) LEFT JOIN LATERAL (SELECT 2) l ON (true)
SELECT * FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS r(a, b)
SELECT * FROM t TABLESAMPLE bernoulli (10) REPEATABLE (1)
SELECT a, b FROM t GROUP BY GROUPING SETS ((a), (b), ())
SELECT a, b FROM t GROUP BY ROLLUP (a, b), CUBE (a), (b)
SELECT 1 WHERE a IN (1, 2) AND (b) NOT IN (SELECT c) OR NOT (EXISTS (SELECT 1) OR x = ANY (%s))
SELECT 1 WHERE a > ALL (ARRAY (SELECT 1)) AND b = SOME (%s)
SELECT (a, b) OVERLAPS (c, d), ROW (1, 2) = (3, 4), a LIKE ('x' || b), a ILIKE (b), a BETWEEN (1) AND (2) FROM t
SELECT a AT TIME ZONE ('UTC'), a SIMILAR TO (b) FROM t
SELECT a::character varying(20), a::bit varying(3), a::timestamp(3) with time zone FROM t
SELECT CASE WHEN (a) THEN (b) ELSE (c) END FROM t
SELECT DISTINCT ON (a) lower(b) FROM t ORDER BY a LIMIT (1) OFFSET (2)
SELECT DISTINCT (a) FROM t FETCH FIRST 1 ROW ONLY
WITH a AS (SELECT 1), b (x, y) AS MATERIALIZED (SELECT 1, 2), c AS NOT MATERIALIZED (SELECT 1) SELECT * FROM a, b, c
WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT n FROM r
SELECT * FROM (WITH q(a) AS (SELECT 1) SELECT * FROM q) x
(SELECT 1) UNION (SELECT 2)
((SELECT 1)) EXCEPT (SELECT 2) INTERSECT (SELECT 3)
-- a comment; BEGIN⏎SELECT 1
-- a comment; BEGIN␍SELECT 1
/* a /* b; BEGIN */ c */ SELECT 1
/*/**/*/ SELECT 1
/**/SELECT/*'*/1/*"*/
SELECT 1 -- for update
SELECT 1 -- it's
SELECT 'it''s; BEGIN', ';', 'FOR UPDATE', 'set_config('
SELECT E'it\'s; BEGIN', E'\\', e'\'' || 'set_config('
SELECT 'C:\', lower('x')
SELECT U&'d\0061t', B'1', X'1F', N'x'
SELECT $$; BEGIN; set_config('a','b',false)$$, $a$ $$ $b$ $a$, $é$'$é$
SELECT "BEGIN", "a;b", "it""s", "set_config" FROM "into"
SELECT "lower"('A'), pg_catalog.lower('A'), PG_CATALOG . Lower /* x */ ('A'), "pg_catalog"."lower"('A')
SELECT date'2020-01-01', type'it\' FROM t
SELECT a$b$c, a$$b FROM t
SELECT t.update, t.into, t.for, t . delete FROM t
SELECT key, value, name, share FROM t
SELECT 10 %% 3, 10 %%(3), a % 3, b %% c FROM t
SELECT 'a %s b %(c)s %', 'LIKE %some'
SELECT 1e10, 0x1F, 1.5, .5, 1_000, a[1], a[1:2], $1, 1.
SELECT a<-1, a--1⏎, b, a/*1*/ /b, a @> b, a <-> b, a #>> b, a ? b, a||-b FROM t
SELECT a*/*c*/b FROM t
SELECT f FROM t
SELECT (f) FROM t
SELECT set_config FROM t
SELECT (x).f, (x).*, t.* FROM t
SELECT 1 AS begin
SELECT current_timestamp(3), CURRENT_DATE, localtime(0), current_user, current_setting('x')
SELECT pg_backend_pid(), version(), pg_is_in_recovery(), to_regclass(%s)
SELECT pg_total_relation_size('t'), obj_description(1), has_table_privilege('t', 'SELECT')
SELECT a FROM t WHERE b IS DISTINCT FROM %s
SELECT left(a, 1), right(a, 1), lower(a) COLLATE "C" FROM t NATURAL JOIN u CROSS JOIN v
SELECT COLLATION FOR (a), a IS NOT NULL, NOT (b), normalize(a, NFC) FROM t
SELECT interval '1' day, date 'x' + interval %s FROM t"""

WRITES = r"""
INSERT INTO t VALUES (1)
INSERT INTO t (a, b) VALUES (%s, %s), (%s, DEFAULT)
INSERT INTO s.t (a, b) SELECT a, b FROM u
INSERT INTO "T" ("a") VALUES (lower('x')) RETURNING (a), b
INSERT INTO t AS x (a) VALUES (1)
INSERT INTO t (a) OVERRIDING SYSTEM VALUE VALUES (1)
INSERT INTO t DEFAULT VALUES
INSERT INTO t (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET (b, c) = (1, 2), d = EXCLUDED.d WHERE (t.b > 1)
INSERT INTO t (a) SELECT a FROM u ON CONFLICT (a) DO NOTHING
INSERT INTO temp (a) VALUES (1)
UPDATE t SET a = 1
UPDATE t SET (a, b) = (1, 2) FROM (SELECT 1) u(x) WHERE (t.a = u.x)
UPDATE ONLY (t) SET (a, b) = (SELECT 1, 2)
DELETE FROM t USING u WHERE (t.a = u.a) RETURNING *
MERGE INTO t USING s ON (t.a = s.a) WHEN MATCHED AND (x) THEN DELETE WHEN NOT MATCHED THEN INSERT (a, b) VALUES (1, 2)
MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN UPDATE SET (a, b) = (1, 2)
WITH x AS (INSERT INTO t (a) VALUES (1) RETURNING a) SELECT * FROM x
WITH x AS (SELECT 1) INSERT INTO t (a) SELECT * FROM x
WITH x (a) AS (DELETE FROM t RETURNING a), y (b) AS (UPDATE u SET c = 1 RETURNING d) SELECT * FROM x, y
SELECT * FROM t FOR UPDATE
SELECT * FROM t FOR NO KEY UPDATE SKIP LOCKED
SELECT * FROM t FOR SHARE
SELECT * FROM t FOR KEY SHARE OF t NOWAIT
SELECT * FROM (SELECT a FROM t FOR UPDATE) x
SELECT 1for update
SELECT 1.for update
SELECT a FROM t WHERE b = 'x'for update
SELECT a FROM t FOR/**/UPDATE
SELECT 1; DELETE FROM t
SELECT update FROM t
SELECT pg_notify('a', 'b')
SELECT pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2)
SELECT txid_current(), pg_current_wal_lsn(), pg_catalog.pg_cancel_backend(1)
SELECT lo_unlink(1)"""

CALLS = r"""
SELECT set_config('a', 'b', false)
select"set_config"('a','b',false)
SELECT pg_catalog.set_config('a', 'b', false)
SELECT SET_CONFIG /* x */ -- y⏎ ('a', 'b', false)
SELECT lower(set_config('a', 'b', false))
SELECT DISTINCT ON (a) leak(a) FROM t
SELECT DISTINCT ON ((a)) leak(a) FROM t
INSERT INTO t VALUES (1) RETURNING WITH (OLD AS o) leak(o.a)
SELECT nextval('s'), currval('s'), lastval()
SELECT setval('s', 1)
SELECT setseed(0.5)
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_lock_shared(1)
SELECT lo_open(1, 2)
SELECT query_to_xml('SELECT 1', true, true, '')
SELECT * FROM ts_stat('SELECT v FROM t')
SELECT dblink_exec('x')
SELECT * FROM f(1)
SELECT * FROM f(1) AS (a int)
SELECT * FROM a, f(1) x(a)
SELECT * FROM LATERAL leak(1)
SELECT * FROM a CROSS JOIN leak(1)
SELECT * FROM ROWS FROM (leak(1))
SELECT public.lower('x')
SELECT db.pg_catalog.lower('x')
SELECT "LOWER"('x')
SELECT "pg_catalog.lower"('x')
SELECT "in"(1)
SELECT U&"s\0065t_config"('a', 'b', false)
SELECT U&"s!0065t_config" UESCAPE '!' ('a', 'b', false)
SELECT 1 OPERATOR(public.+) 2
SELECT 1 OPERATOR(pg_catalog.+) leak(2)
SELECT a FROM t ORDER BY leak(a)
SELECT a FROM t GROUP BY a, leak(b)
SELECT cube(a) FROM t
SELECT a FROM t ORDER BY cube(a)
SELECT set('a', 1)
SELECT update, a AT TIME ZONE set(1) FROM t
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY n), cube(m) FROM t
SELECT * FROM unnest(a) WITH ORDINALITY, leak(1)
SELECT over(1), filter(2)
SELECT a FROM t JOIN u ON conflict(u.a)
INSERT INTO t SELECT 1 FROM a JOIN b ON conflict(b.x)
MERGE INTO t USING s ON conflict(s.a) WHEN MATCHED THEN DELETE
UPDATE t SET a = set(1)
UPDATE t SET a = 1, b = leak(2)
SELECT NOT materialized(1)
SELECT CASE WHEN a THEN insert('x') END
SELECT a FROM t TABLESAMPLE custom (10)
SELECT system('x')
SELECT join(1)
SELECT WHERE ilike(1, 2)
SELECT second(x)
SELECT 5 %%leak(1)
SELECT 5 %leak(1)
SELECT %s(1)
SELECT a FROM %s(1)
SELECT $1.leak(1)
SELECT TREAT(5 AS setseed)
SELECT (VALUES (leak(1)))
SELECT ARRAY[leak(1)], a[leak(2)]
SELECT EXTRACT(epoch FROM leak(1))
SELECT JSON_OBJECT('a' VALUE leak(1))
SELECT a AT TIME ZONE leak(1) FROM t
SELECT a LIKE 'x' ESCAPE leak(1)
SELECT linK(1)
SELECT ſet_config(1)
SELECT löwer(1)
SELECT E'\\', leak(1), '\'
SELECT $a$ $a$, leak(1), $a$ $a$
SELECT a$$, leak(1), b$$ FROM t
SELECT '', leak(1), ''
SELECT 1 -- x⏎, leak(1)
SELECT 1 -- x␍, leak(1)
SELECT (f)(1), leak(1)
WITH x AS (SELECT leak(1)) SELECT * FROM x
WITH x AS (SELECT 1) SELECT a, leak(1) FROM x
SELECT 1; SELECT leak(1)"""

BROKEN = r"""
SELECT 'a
SELECT E'a\'
SELECT "a
SELECT $a$ $b$
SELECT /* a /* b */ c
SELECT E'a'⏎'\'', leak('b')
SELECT %(it's)s, lower('a')
SELECT %(a(b))s
SELECT 5 %slower('x')
SELECT 5 %sfor update
SELECT %s⏎'\', leak(1) --'"""

OTHER = r"""
- NOTIFY a
- VACUUM t
- CREATE TABLE t (a int, b varchar(3))
- CREATE TABLE temp (a int)
- CREATE INDEX CONCURRENTLY i ON t (lower(a))
- CREATE FUNCTION f() RETURNS int LANGUAGE sql SET search_path = a, pg_temp AS $$ SELECT 1; BEGIN $$
- CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN a THEN 1 END; SELECT 2; END
- CREATE OR REPLACE PROCEDURE f() BEGIN ATOMIC INSERT INTO t VALUES (1); END; SELECT 1
- CREATE RULE r AS ON INSERT TO t DO ALSO (DELETE FROM u; DELETE FROM v)
- DO $$ BEGIN PERFORM 1; END $$
- CALL p(1)
- EXPLAIN ANALYZE DELETE FROM t
- TRUNCATE t
- ALTER SYSTEM SET work_mem = 1
- COMMIT PREPARED 'x'
- ROLLBACK PREPARED 'x'
- COPY t FROM '/x'
- COPY t TO PROGRAM 'cat'
- REFRESH MATERIALIZED VIEW v
- SELECT 1; VACUUM t
- %s
- 'x'
- 1; SELECT 1
- ſelect 1
-  SELECT 1
-
- ;
- -- nothing
- /* nothing */
j SELECT * INTO t2 FROM t
j SELECT * INTO UNLOGGED t2 FROM t
j SELECT 1into t2 FROM t
js SELECT * INTO TEMP t2 FROM t
js SELECT * INTO LOCAL TEMPORARY TABLE t2 FROM t
js (SELECT * INTO pg_temp.t2 FROM t)
js WITH x AS (SELECT 1) SELECT * INTO TABLE "pg_temp"."t2" FROM x
st BEGIN
st begin isolation level serializable; SELECT 1; COMMIT
st SELECT 1; BEGIN
st SELECT 1; /* x */ begin
st START TRANSACTION READ ONLY
st COMMIT
st COMMIT AND CHAIN
st END
st ROLLBACK
st ROLLBACK WORK
st ABORT
st PREPARE TRANSACTION 'x'
st CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; END; COMMIT
s SAVEPOINT a
s RELEASE SAVEPOINT a
s ROLLBACK TO a
s ROLLBACK WORK TO SAVEPOINT a
s SET search_path = a
s SET LOCAL search_path = a
s -- x⏎ /* y */ SET ROLE a
s RESET ALL
s DISCARD ALL
s PREPARE p AS SELECT 1
s EXECUTE p(1)
s DEALLOCATE p
s LISTEN a
s UNLISTEN *
s DECLARE c CURSOR FOR SELECT 1
s FETCH ALL FROM c
s MOVE c
s CLOSE c
s LOCK TABLE t
s LOAD 'x'
s CREATE TEMP TABLE t (a int)
s CREATE TEMPORARY TABLE t AS SELECT 1
s CREATE LOCAL TEMP TABLE t (a int)
s CREATE GLOBAL TEMPORARY TABLE t (a int)
s CREATE OR REPLACE TEMP VIEW v AS SELECT 1
s CREATE TEMP SEQUENCE s
s CREATE TABLE pg_temp.t (a int)
s CREATE TABLE IF NOT EXISTS "pg_temp".t (a int)
s CREATE FUNCTION pg_temp.f() RETURNS int LANGUAGE sql AS 'SELECT 1'
s COPY t FROM STDIN
s COPY t (a, b) FROM STDIN WITH (FORMAT csv)
s COPY (SELECT * FROM t) TO STDOUT
s copy t to stdout"""


def texts(block: str) -> list[str]:
    return [line.replace("⏎", "\n").replace("␍", "\r") for line in block.strip("\n").split("\n")]


def marked(block: str) -> list[tuple[str, str]]:
    pairs = (text.partition(" ")[::2] for text in texts(block))
    return [(marks.strip("-"), text) for marks, text in pairs]


def summary(verdict: Verdict) -> str:
    marks = {
        "c": verdict.clean,
        "r": verdict.reads,
        "j": verdict.joinable,
        "s": verdict.session is not None,
        "t": verdict.controls_transaction,
    }
    return "".join(mark for mark, holds in marks.items() if holds)


@pytest.mark.parametrize("text", texts(READS))
def test_what_only_reads_is_clean_and_reads(text: str) -> None:
    """A query without locks that calls only harmless functions is known for it."""
    assert look(text).functions == frozenset()
    assert summary(look(text)) == "crj"


@pytest.mark.parametrize("text", texts(WRITES))
def test_what_writes_is_clean_and_does_not_read(text: str) -> None:
    """Plain DML, a locking clause and a function that changes something leave nothing behind, but are no reads."""
    assert look(text).functions == frozenset()
    assert summary(look(text)) == "cj"


@pytest.mark.parametrize("text", texts(CALLS))
def test_an_unknown_call_is_never_clean(text: str) -> None:
    """A call of a function beyond the known ones is found wherever it stands."""
    assert summary(look(text)) == "j"


@pytest.mark.parametrize("text", texts(BROKEN))
def test_what_cannot_be_read_for_sure_is_taken_for_the_worst(text: str) -> None:
    """A string or comment without its end, and a text that means two things, give a verdict without promises."""
    assert summary(look(text)) == ""


@pytest.mark.parametrize(("marks", "text"), marked(OTHER))
def test_other_statements(marks: str, text: str) -> None:
    """A statement that is no query promises nothing; one for a session says so."""
    assert summary(look(text)) == marks
