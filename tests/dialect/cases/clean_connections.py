# ruff: noqa: T201
"""What one block sets on its connection, and the next one finds."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1, "autocommit": True}},
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as db:
    db.query("SET work_mem = '64kB'")
    db.query("CREATE TEMP TABLE mine AS SELECT 1")
with dbpool.Handler("group1") as db:
    print(db.query("SELECT current_setting('work_mem') = '64kB', to_regclass('mine') IS NOT NULL").fetchone())
