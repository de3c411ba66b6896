# ruff: noqa: T201
"""The same, with a further statement after the one that failed."""

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
with dbpool.Handler("group1") as db:
    db.query("INSERT INTO note VALUES ('before')")
    try:
        db.query("SELECT 1 / 0")
    except dbpool.DBQueryError:
        print("it failed")
    print(db.query("SELECT 'goes on'").fetchone()[0])
