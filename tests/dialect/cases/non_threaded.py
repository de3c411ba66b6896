# ruff: noqa: T201
"""For servers of one thread per process; every key of the endpoint's that 1.0 had a default for is left out."""

import os

from pgdbpool import pool as dbpool

config = {
    "type": "non-threaded",
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
        "ssl": "prefer",
    },
    "groups": {"worker_pool": {"connection_count": 5, "autocommit": True}},
}

dbpool.Connection.init(config)
print(dbpool.Connection.get_threading_model())
for number in range(7):
    with dbpool.Handler("worker_pool") as db:
        db.query("INSERT INTO note VALUES (%s)", (f"note {number}",))
        print([list(rec) for rec in db.query("SELECT text FROM note ORDER BY text")])
