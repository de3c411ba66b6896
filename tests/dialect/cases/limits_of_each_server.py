# ruff: noqa: T201
"""Two servers with limits of their own."""

import os

from pgdbpool import pool as dbpool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "db": [
        {"host": os.environ["DB_HOST_1"], **place, "query_timeout": 4000, "session_tmp_buffer": 16},
        {"host": os.environ["DB_HOST_2"], **place, "query_timeout": 2000, "session_tmp_buffer": 32},
    ],
    "groups": {"group1": {"connection_count": 2, "autocommit": True}},
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as one, dbpool.Handler("group1") as two:
    for db in (one, two):
        print(db.query("SHOW statement_timeout").fetchone()[0], db.query("SHOW temp_buffers").fetchone()[0])
