# ruff: noqa: T201
"""A handler that is used without ``with``, and so never gives its connection back."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1, "autocommit": True}},
}

dbpool.Connection.init(config)
db = dbpool.Handler("group1")
print(db.query("SELECT count(*) FROM item").fetchone()[0])
