# ruff: noqa: T201
"""Threads that update one row through two groups, each at its own pace."""

import os
import threading
import time

from pgdbpool import pool

config = {
    "db": [
        {
            "host": os.environ["DB_HOST"],
            "name": os.environ["DB_NAME"],
            "user": os.environ["DB_USER"],
            "pass": os.environ["DB_PASSWORD"],
        }
    ],
    "groups": {
        "writer1": {"connection_count": 20, "autocommit": True},
        "writer2": {"connection_count": 10, "autocommit": True},
    },
}

pool.Connection.init(config)

with pool.Handler("writer1") as db1:
    db1.query("INSERT INTO item (id, name, price) VALUES (12354, 'update1', 0)")


def updater(group, times, pause):
    for _ in range(times):
        with pool.Handler(group) as db1:
            db1.query("UPDATE item SET price = price + 1 WHERE id = 12354")
            time.sleep(pause)


threads = [
    threading.Thread(target=updater, args=("writer1", 20, 0.01)),
    threading.Thread(target=updater, args=("writer2", 40, 0.02)),
    threading.Thread(target=updater, args=("writer1", 15, 0.05)),
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
with pool.Handler("writer2") as db1:
    print(list(db1.query("SELECT name, price::int FROM item WHERE id = 12354").fetchone()))
