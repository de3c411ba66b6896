"""``ssl`` as 1.0's manual shows it in two places, and as 1.0.2 itself refuses it."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
        "ssl": False,
        "connect_timeout": 10,
        "connection_retry_sleep": 1,
        "query_timeout": 5000,
        "session_tmp_buffer": 128,
    },
    "groups": {"group1": {"connection_count": 20, "autocommit": False}},
}

dbpool.Connection.init(config)
