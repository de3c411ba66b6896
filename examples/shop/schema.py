"""The shop's tables and first goods, made by whichever worker comes first."""

from __future__ import annotations

import pgdbpool

_LOCK = 7_042_001  # any number that nothing else in this database uses

_TABLES = """
CREATE TABLE IF NOT EXISTS product (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name   text NOT NULL UNIQUE,
    about  text NOT NULL,
    price  numeric(8, 2) NOT NULL CHECK (price > 0)
);
CREATE TABLE IF NOT EXISTS stock (
    product  integer PRIMARY KEY REFERENCES product,
    n        integer NOT NULL CHECK (n >= 0)
);
CREATE TABLE IF NOT EXISTS purchase (
    id        integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    form      uuid NOT NULL UNIQUE,
    product   integer NOT NULL REFERENCES product,
    customer  text NOT NULL,
    n         integer NOT NULL CHECK (n > 0),
    total     numeric(10, 2) NOT NULL,
    placed    timestamptz NOT NULL DEFAULT now()
);
"""

_ADD = """
WITH new AS (INSERT INTO product (name, about, price) VALUES (%s, %s, %s) RETURNING id)
INSERT INTO stock (product, n) SELECT id, %s FROM new
"""

_GOODS = [
    ("Tea tin", "Holds 250 g of loose tea and closes with a good sound.", "14.50", 12),
    ("Desk lamp", "Warm light, a heavy foot, and a switch that you find in the dark.", "59.00", 5),
    ("Notebook", "192 numbered pages, thread-bound, lies flat.", "11.90", 40),
    ("Wool blanket", "Woven from recycled wool, 130 by 180 cm.", "79.00", 3),
    ("Cast iron pan", "28 cm. Outlives its owner.", "45.00", 8),
    ("Last umbrella", "There is exactly one. Try it from two browsers at once.", "32.00", 1),
]

_ready = False


def ensure() -> None:
    """Create what is missing: safe from any number of threads and workers at once, nothing after the first time."""
    global _ready
    if not _ready:
        with pgdbpool.transaction() as db:
            db.query("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))  # CREATE TABLE IF NOT EXISTS alone can collide
            db.query(_TABLES)
            if not db.query("SELECT EXISTS (SELECT FROM product)").scalar():
                for goods in _GOODS:
                    db.query(_ADD, goods)
        _ready = True
