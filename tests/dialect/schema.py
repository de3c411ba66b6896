"""What the examples find in their database: a few tables, and the schema ``SQLPrepare`` with the two functions 1.0 calls."""

from __future__ import annotations

# Called as the documented extension is: kind (S: it gives rows), name of the statement, parameters by name, their order.
SQLPREPARE = """
CREATE SCHEMA "SQLPrepare";
GRANT USAGE ON SCHEMA "SQLPrepare" TO PUBLIC;

CREATE TABLE "SQLPrepare".known (name text PRIMARY KEY, types text NOT NULL, body text NOT NULL);
GRANT SELECT ON "SQLPrepare".known TO PUBLIC;
INSERT INTO "SQLPrepare".known VALUES
    ('cheaper', '(numeric)', 'SELECT id, name FROM public.item WHERE price < $1 ORDER BY id'),
    ('all items', '', 'SELECT id FROM public.item ORDER BY id'),
    ('add', '(int, text, numeric)', 'INSERT INTO public.item VALUES ($1, $2, $3)');

CREATE FUNCTION "SQLPrepare"."PrepareQueries"() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE statement record;
BEGIN
    FOR statement IN TABLE "SQLPrepare".known LOOP
        RAISE NOTICE 'preparing %', statement.name;
        EXECUTE format('PREPARE %I %s AS %s', statement.name, statement.types, statement.body);
    END LOOP;
    RETURN true;
END $$;

CREATE FUNCTION "SQLPrepare"."ExecuteQuery"(kind text, name text, data json, parameters text[])
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    command text := format('EXECUTE %I', name);
    line record;
    lines json[] := '{}';
BEGIN
    IF cardinality(parameters) > 0 THEN
        command := command || (SELECT format('(%s)', string_agg(quote_nullable(data ->> each), ', ' ORDER BY place))
                               FROM unnest(parameters) WITH ORDINALITY AS p (each, place));
    END IF;
    IF kind <> 'S' THEN
        EXECUTE command;
        RETURN '{}';
    END IF;
    FOR line IN EXECUTE command LOOP
        lines := lines || row_to_json(line);
    END LOOP;
    RETURN array_to_json(lines);
END $$;
"""

ITEMS = """
CREATE TABLE public.item (id int PRIMARY KEY, name text, price numeric);
GRANT ALL ON public.item TO PUBLIC;
INSERT INTO public.item VALUES (1, 'apple', 1), (2, 'melon', 5), (3, 'saffron', 90);
"""

TABLES = (
    ITEMS
    + """
CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL CHECK (balance >= 0));
INSERT INTO account SELECT id, 100 FROM generate_series(1, 6) AS id;
CREATE TABLE moved (source int, target int, amount int);
CREATE TABLE person (id int PRIMARY KEY, name text, email text, active bool);
INSERT INTO person VALUES (1, 'Ann', 'ann@example.com', true), (2, 'Bob', 'bob@example.com', false),
    (3, 'Cem', 'cem@example.com', true);
CREATE TABLE note (text text);
CREATE TABLE server (number int);
GRANT ALL ON account, moved, person, note, server TO PUBLIC;
"""
)
