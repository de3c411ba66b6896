# ruff: noqa: T201
"""The type named: threaded."""

import os
import threading

from pgdbpool import pool as dbpool

config = {
    "type": "threaded",
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"web": {"connection_count": 4, "autocommit": True}},
}

dbpool.Connection.init(config)
found = []


def request():
    with dbpool.Handler("web") as db:
        found.extend(rec["id"] for rec in db.query("SELECT id FROM item"))


threads = [threading.Thread(target=request) for _ in range(10)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(found))
