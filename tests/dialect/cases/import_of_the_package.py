# ruff: noqa: T201
"""The same import as the README of 1.0.2 shows, which does not work there."""

import os

import pgdbpool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 2, "autocommit": False}},
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as db:
    db.query("INSERT INTO note VALUES (%s)", ("value1",))
    db.query("INSERT INTO note VALUES (%s)", ("value2",))
    db.commit()
print("committed")
