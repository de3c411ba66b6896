# ruff: noqa: T201
"""The same servers under threads that read."""

import os
import threading
import time

from pgdbpool import pool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "db": [{"host": os.environ["DB_HOST_1"], **place}, {"host": os.environ["DB_HOST_2"], **place}],
    "groups": {
        "reader1": {"connection_count": 24, "autocommit": True},
        "reader2": {"connection_count": 48, "autocommit": True},
    },
}

pool.Connection.init(config)
counts = []


def reader(group, sql, times, pause):
    for _ in range(times):
        with pool.Handler(group) as db1:
            counts.append(len(db1.query(sql).fetchall()))
            time.sleep(pause)


threads = [
    threading.Thread(target=reader, args=("reader1", "SELECT * FROM item WHERE id between 1 AND 2", 10, 0.01)),
    threading.Thread(target=reader, args=("reader2", "SELECT * FROM item WHERE id > 2", 8, 0.02)),
    threading.Thread(target=reader, args=("reader1", "SELECT * FROM item", 15, 0.01)),
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sorted(counts))
