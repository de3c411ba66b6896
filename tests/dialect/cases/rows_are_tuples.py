# ruff: noqa: T201
"""A program that takes rows for lists."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1}},
}
dbpool.Connection.init(config)

with dbpool.Handler("group1") as db:
    rec = db.query("SELECT id, name FROM item ORDER BY id").fetchone()
    twice = db.query("SELECT 'first' AS name, 'second' AS name").fetchone()
print(isinstance(rec, list), isinstance(rec, tuple))
print("name" in rec, "apple" in rec)
print(twice["name"])
rec["name"] = "pear"
