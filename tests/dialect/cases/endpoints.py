# ruff: noqa: T201
"""Two servers in the configuration; statements are shared out over both."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": [
        {
            "host": os.environ["DB_HOST_1"],
            "name": os.environ["DB_NAME"],
            "user": os.environ["DB_USER"],
            "pass": os.environ["DB_PASSWORD"],
        },
        {
            "host": os.environ["DB_HOST_2"],
            "name": os.environ["DB_NAME"],
            "user": os.environ["DB_USER"],
            "pass": os.environ["DB_PASSWORD"],
        },
    ],
    "groups": {"default": {"connection_count": 20, "autocommit": True}},
}

dbpool.Connection.init(config)
servers = []
for _ in range(8):
    with dbpool.Handler("default") as db:
        print([list(rec) for rec in db.query("SELECT name FROM item ORDER BY id")])
        servers.append(db.query("SELECT number FROM server").fetchone()[0])
print(servers.count(1) >= 2, servers.count(2) >= 2)
