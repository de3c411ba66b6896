"""What the statements of the corpus need in the database, owned by the tests' role.

``touch`` leaves a trace in the session that a standby lets happen without a word: whatever runs it there loses something.
"""

from __future__ import annotations

from tests.servers import DATABASE, ROLE

LONG = "seen_" + "x" * 70  # longer than a name may be: the server cuts it

# As the superuser.
FRAME = f"""
CREATE SCHEMA a AUTHORIZATION {ROLE};
CREATE SCHEMA b AUTHORIZATION {ROLE};
CREATE SCHEMA hidden AUTHORIZATION {ROLE};
ALTER ROLE {ROLE} IN DATABASE {DATABASE} SET search_path = {ROLE}, hidden;
"""

TABLES = """
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(10, 2), tags text[], data jsonb, at timestamptz);
INSERT INTO item SELECT n, 'item ' || n, n * 1.5, ARRAY['t' || n, 'all'], jsonb_build_object('n', n, 'list', '[1, 2]'::jsonb),
  '2026-01-01'::timestamptz + n * interval '1 day' FROM generate_series(1, 9) AS n;
CREATE TABLE orders (id serial PRIMARY KEY, item int REFERENCES item, n int);
INSERT INTO orders (item, n) SELECT 1 + n % 9, n FROM generate_series(1, 20) AS n;
CREATE TABLE "Mixed Case" ("Id" int, "select" text, "for update" text);
INSERT INTO "Mixed Case" VALUES (1, 'nextval', 'set');
CREATE TABLE tree (id int, parent int);
INSERT INTO tree VALUES (1, NULL), (2, 1), (3, 2);
CREATE TABLE scratch (id int, note text);
CREATE TABLE doomed (id int);
CREATE UNLOGGED TABLE cache (id int, note text);
CREATE TABLE measured (at date, n int) PARTITION BY RANGE (at);
CREATE TABLE measured_2025 PARTITION OF measured FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE UNLOGGED TABLE measured_2026 PARTITION OF measured FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE plain_parts (n int) PARTITION BY LIST (n);
CREATE TABLE plain_part PARTITION OF plain_parts DEFAULT;
INSERT INTO plain_parts VALUES (1), (2);
CREATE SEQUENCE counter;
CREATE SEQUENCE "Counter";
SELECT nextval('counter'), nextval('"Counter"');
SELECT lo_from_bytea(4242, 'kept');
"""

FUNCTIONS = """
CREATE FUNCTION touch(n int DEFAULT 1) RETURNS int LANGUAGE plpgsql AS
  $$BEGIN PERFORM set_config('corpus.touched', 'yes', false); RETURN n; END$$;
CREATE FUNCTION touch_item(i item) RETURNS int LANGUAGE sql AS 'SELECT touch(i.id)';
CREATE FUNCTION touch_more(i item, n int DEFAULT 1) RETURNS int LANGUAGE sql AS 'SELECT touch(n)';
CREATE FUNCTION touch_any(i anyelement) RETURNS int LANGUAGE sql AS 'SELECT touch(1)';
CREATE FUNCTION touch_record(i record) RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN touch(1); END';
CREATE FUNCTION touch_all(VARIADIC n int[]) RETURNS int LANGUAGE sql AS 'SELECT touch(1)';
CREATE FUNCTION touch_rows(n int) RETURNS SETOF int LANGUAGE sql AS 'SELECT touch(1) FROM generate_series(1, n)';
CREATE FUNCTION writes() RETURNS bigint LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO scratch VALUES (0, 'by a function'); RETURN 1; END$$;
CREATE FUNCTION bumps() RETURNS bigint STABLE LANGUAGE sql AS $$SELECT nextval('counter')$$;
CREATE FUNCTION writes_all_the_same() RETURNS bigint STABLE LANGUAGE plpgsql AS 'BEGIN RETURN writes(); END';
CREATE FUNCTION fixed() RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS 'BEGIN RETURN writes(); END';
CREATE FUNCTION twice(n int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT 2 * n';
CREATE FUNCTION price_of(which int) RETURNS numeric STABLE LANGUAGE sql AS 'SELECT price FROM item WHERE id = which';
CREATE FUNCTION items(first int DEFAULT 1) RETURNS SETOF item STABLE LANGUAGE sql AS 'SELECT * FROM item WHERE id >= first';
CREATE FUNCTION label(i item) RETURNS text STABLE LANGUAGE sql AS $$SELECT i.id || ': ' || i.name$$;
CREATE FUNCTION defaulted(n int DEFAULT touch()) RETURNS int STABLE LANGUAGE sql AS 'SELECT n';
CREATE FUNCTION a.report() RETURNS int STABLE LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION b.report() RETURNS int LANGUAGE sql AS 'SELECT touch(2)';
CREATE FUNCTION "a.report"() RETURNS int LANGUAGE sql AS 'SELECT touch(3)';
CREATE FUNCTION "Quoted Function"() RETURNS int LANGUAGE sql AS 'SELECT touch(4)';
CREATE FUNCTION reverse(i item) RETURNS text STABLE LANGUAGE sql AS 'SELECT i.name';
CREATE PROCEDURE act() LANGUAGE plpgsql AS $$BEGIN INSERT INTO scratch VALUES (0, 'by a procedure'); END$$;
"""

KINDS = """
CREATE FUNCTION add(a int, b int) RETURNS int IMMUTABLE STRICT LANGUAGE sql AS 'SELECT a + b';
CREATE FUNCTION less(a int, b int) RETURNS int IMMUTABLE STRICT LANGUAGE sql AS 'SELECT a - b';
CREATE FUNCTION add_touching(a int, b int) RETURNS int STRICT LANGUAGE sql AS 'SELECT touch(a + b)';
CREATE FUNCTION join_touching(a text, b text) RETURNS text LANGUAGE sql AS 'SELECT a || touch(1) || b';
CREATE AGGREGATE total (int) (sfunc = add, stype = int);
CREATE AGGREGATE total_touching (int) (sfunc = add_touching, stype = int);
CREATE AGGREGATE total_at_last (int) (sfunc = add, stype = int, finalfunc = touch);
CREATE AGGREGATE total_moving (int)
  (sfunc = add, stype = int, msfunc = add_touching, minvfunc = less, mstype = int, initcond = 0, minitcond = 0);
CREATE OPERATOR @+@ (leftarg = int, rightarg = int, function = add);
CREATE TYPE amount AS (value numeric, currency text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
"""

VIEWS = f"""
CREATE VIEW cheap AS SELECT * FROM item WHERE price < 5;
CREATE VIEW cheaper AS SELECT id, lower(name) AS name FROM cheap WHERE price_of(id) < 4;
CREATE VIEW touching AS SELECT id, touch(id) FROM item;
CREATE VIEW deep AS SELECT id FROM touching WHERE touch > 1;
CREATE VIEW deeper AS SELECT count(*) AS n FROM deep JOIN item USING (id);
CREATE VIEW "Touching View" AS SELECT touch(1);
CREATE VIEW {LONG} AS SELECT touch(1);
CREATE VIEW activity AS SELECT datname, state FROM pg_stat_activity WHERE pid = pg_backend_pid();
CREATE VIEW counted AS SELECT last_value FROM counter;
CREATE VIEW locking AS SELECT * FROM item WHERE id = 1 FOR UPDATE;
CREATE VIEW a.thing AS SELECT touch(1) AS n;
CREATE TABLE b.thing (n int);
INSERT INTO b.thing VALUES (1);
CREATE MATERIALIZED VIEW summary AS SELECT item, sum(n) AS n FROM orders GROUP BY item;
CREATE MATERIALIZED VIEW empty_summary AS SELECT 1 AS n WITH NO DATA;
CREATE TABLE tenants (id int, owner text);
INSERT INTO tenants VALUES (1, current_user), (2, 'other');
ALTER TABLE tenants ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY own ON tenants USING (owner = current_user);
CREATE TABLE watched (id int);
INSERT INTO watched VALUES (1);
ALTER TABLE watched ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY seen ON watched USING (touch(id) > 0);
CREATE TABLE watched_deep (id int);
INSERT INTO watched_deep VALUES (1);
ALTER TABLE watched_deep ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY seen ON watched_deep USING (EXISTS (SELECT FROM deep));
CREATE VIEW over_watched AS SELECT * FROM watched;
"""

# What runs a volatile function and is named in no text. Each is made by itself, in a schema that goes again.
HIDDEN = {
    "operators": """
CREATE OPERATOR +@@ (leftarg = int, rightarg = int, function = add_touching);
CREATE OPERATOR + (leftarg = text, rightarg = text, function = join_touching);
CREATE VIEW of_operators AS SELECT id +@@ 1 AS n FROM item;
""",
    "operators behind words": """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE FUNCTION touch_mood(x mood, n int) RETURNS boolean LANGUAGE sql AS 'SELECT touch(n) = n';
CREATE OPERATOR = (leftarg = mood, rightarg = int, function = touch_mood);
CREATE OPERATOR ~~ (leftarg = mood, rightarg = int, function = touch_mood);
CREATE OPERATOR >= (leftarg = mood, rightarg = int, function = touch_mood);
CREATE OPERATOR <= (leftarg = mood, rightarg = int, function = touch_mood);
""",
    "casts": """
CREATE TYPE mood AS ENUM ('sad', 'glad');
CREATE FUNCTION mood_as_text(x mood) RETURNS text LANGUAGE sql AS $$SELECT 'x' || touch(1)$$;
CREATE CAST (mood AS text) WITH FUNCTION mood_as_text(mood) AS IMPLICIT;
CREATE FUNCTION mood_as_json(x mood) RETURNS json LANGUAGE sql AS $$SELECT to_json('x' || touch(1))$$;
CREATE CAST (mood AS json) WITH FUNCTION mood_as_json(mood);
CREATE FUNCTION touch_amount(x amount) RETURNS int LANGUAGE sql AS 'SELECT touch(1)';
CREATE CAST (amount AS int) WITH FUNCTION touch_amount(amount);
""",
    "domains": """
CREATE DOMAIN checked AS int CHECK (touch(VALUE) > 0);
CREATE DOMAIN checked_twice AS checked CHECK (VALUE < 100);
CREATE TABLE holder (c checked);
CREATE FUNCTION wants(n checked) RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN n; END';
""",
    "overloads": """
CREATE FUNCTION "substring"(i item) RETURNS int LANGUAGE sql AS 'SELECT touch(i.id)';
CREATE FUNCTION "overlay"(i item) RETURNS int LANGUAGE sql AS 'SELECT touch(i.id)';
CREATE FUNCTION "json_object"(i item) RETURNS int LANGUAGE sql AS 'SELECT touch(i.id)';
CREATE FUNCTION initcap(i item) RETURNS int LANGUAGE sql AS 'SELECT touch(i.id)';
CREATE FUNCTION lower(i item) RETURNS int LANGUAGE sql AS 'SELECT touch(i.id)';
CREATE AGGREGATE sum (text) (sfunc = join_touching, stype = text, initcond = '');
""",
}

OWN = TABLES + FUNCTIONS + KINDS + VIEWS
