# ruff: noqa: T201
"""The server ends a connection, and takes no other one in its place."""

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
    db.query('ALTER DATABASE "{}" CONNECTION LIMIT 0'.format(os.environ["DB_NAME"]))
    db.query("SELECT pg_terminate_backend(%s, 5000)", (backend,))
print("it is gone")
with dbpool.Handler("group1") as db:
    print(db.query("SELECT 1").fetchone()[0])
