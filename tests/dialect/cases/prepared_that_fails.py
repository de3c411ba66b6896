"""A prepared statement that the server rejects."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"prepared": {"connection_count": 1, "autocommit": True, "sqlprepare": True}},
}

dbpool.Connection.init(config)
with dbpool.Handler("prepared") as db:
    db.query_prepared(("I", "nothing of that name", "{}", "{}"))
