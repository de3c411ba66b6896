# ruff: noqa: T201
"""Two servers and two connections; what a query gave is read after its block."""

import os

from pgdbpool import pool as dbpool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "db": [{"host": os.environ["DB_HOST_1"], **place}, {"host": os.environ["DB_HOST_2"], **place}],
    "groups": {"default": {"connection_count": 2, "autocommit": True}},
}

dbpool.Connection.init(config)

with dbpool.Handler("default") as db:
    results = db.query("SELECT id, name, email FROM person ORDER BY id")
print([list(rec) for rec in results])
