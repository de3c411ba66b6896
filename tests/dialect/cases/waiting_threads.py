# ruff: noqa: T201
"""More threads than connections: each is served in the end."""

import os
import threading
import time

from pgdbpool import pool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
        "ssl": "require",
        "connect_timeout": 30,
        "connection_retry_sleep": 1,
        "query_timeout": 30,
        "session_tmp_buffer": 128,
    },
    "groups": {"group1": {"connection_count": 5, "autocommit": False}},
}

pool.Connection.init(config)
served = []


def work(seconds):
    with pool.Handler("group1") as db:
        served.append(db.query("SELECT count(*) FROM item").fetchone()[0])
        time.sleep(seconds)


threads = [threading.Thread(target=work, args=(seconds,)) for seconds in [0.3] * 7 + [0.05] * 5]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(served)
