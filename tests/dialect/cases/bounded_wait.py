# ruff: noqa: T201
"""A thread that waits for a connection which never comes back."""

import os
import threading

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
taken = threading.Event()


def keep():
    with dbpool.Handler("group1"):
        taken.set()
        threading.Event().wait()


threading.Thread(target=keep, daemon=True).start()
taken.wait()
print("one thread keeps the only connection")
with dbpool.Handler("group1") as db:
    db.query("SELECT 1")
