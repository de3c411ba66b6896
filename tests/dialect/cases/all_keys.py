# ruff: noqa: T201
"""Every key that 1.0 knew, the retired ``connection_retry_sleep`` too; what they set on the server."""

import os

from pgdbpool import pool as dbpool

config = {
    "type": "threaded",
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
        "ssl": "disable",
        "connect_timeout": 10,
        "connection_retry_sleep": 1,
        "query_timeout": 7000,
        "session_tmp_buffer": 64,
    },
    "groups": {"group1": {"connection_count": 20, "autocommit": False}},
}

dbpool.Connection.init(config)
with dbpool.Handler("group1") as db:
    print(db.query("SHOW statement_timeout").fetchone()[0], db.query("SHOW temp_buffers").fetchone()[0])
