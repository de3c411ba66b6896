# ruff: noqa: T201
"""A key that nobody knows."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1, "auto_commit": True}},
}

dbpool.Connection.init(config)
print("accepted")
