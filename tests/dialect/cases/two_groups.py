# ruff: noqa: T201
"""Two groups on one server, many connections."""

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
        "group1": {"connection_count": 50, "autocommit": True},
        "group2": {"connection_count": 30, "autocommit": False},
    },
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as one, dbpool.Handler("group2") as two:
    one.query("INSERT INTO note VALUES ('at once')")
    two.query("INSERT INTO note VALUES ('at the end')")
    print([list(rec) for rec in one.query("SELECT text FROM note")])
