# ruff: noqa: T201
"""A handler that is used when its block is over, and its connection perhaps somebody else's."""

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
with dbpool.Handler("group1") as db:
    print("in its block")
db.query("INSERT INTO note VALUES ('after the block')")
