# ruff: noqa: T201
"""The connection is lost between two statements of one transaction."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1}, "other": {"connection_count": 1, "autocommit": True}},
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as db:
    backend = db.query("SELECT pg_backend_pid()").fetchone()[0]
    db.query("INSERT INTO note VALUES ('first half')")
    with dbpool.Handler("other") as other:
        other.query("SELECT pg_terminate_backend(%s, 5000)", (backend,))
    db.query("INSERT INTO note VALUES ('second half')")
    print("the second half was accepted")
