# ruff: noqa: T201
"""A thread that waits for itself."""

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
with dbpool.Handler("group1"):
    print("the only connection is mine")
    with dbpool.Handler("group1") as db:
        db.query("SELECT 1")
