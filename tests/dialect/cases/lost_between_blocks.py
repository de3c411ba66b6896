# ruff: noqa: T201
"""A connection that is lost while nobody uses it is replaced."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {
        "group1": {"connection_count": 1, "autocommit": True},
        "other": {"connection_count": 1, "autocommit": True},
    },
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as db:
    backend = db.query("SELECT pg_backend_pid()").fetchone()[0]
with dbpool.Handler("other") as db:
    print(db.query("SELECT pg_terminate_backend(%s, 5000)", (backend,)).fetchone()[0])
for _ in range(3):
    with dbpool.Handler("group1") as db:
        db.query("INSERT INTO note VALUES ('after it was lost')")
        print(db.query("SELECT pg_backend_pid()").fetchone()[0] == backend)
