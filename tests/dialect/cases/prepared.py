# ruff: noqa: T201
"""Statements that are prepared once for each connection, and executed by name."""

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
        "prepared": {"connection_count": 3, "autocommit": True, "sqlprepare": True},
        "blocks": {"connection_count": 2, "autocommit": False, "sqlprepare": True},
    },
}

dbpool.Connection.init(config)
for _ in range(7):
    with dbpool.Handler("prepared") as db:
        print(db.query_prepared(("S", "cheaper", '{"limit": 10}', "{limit}")))
        print(db.query_prepared(["S", "all items", "{}", []]))
with dbpool.Handler("blocks") as db:
    print(db.query_prepared(("I", "add", '{"id": 4, "name": "fig", "price": 3}', ["id", "name", "price"])))
    db.commit()
    print(db.query_prepared(("S", "cheaper", '{"limit": 10}', "{limit}")))
