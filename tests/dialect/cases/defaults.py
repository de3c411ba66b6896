# ruff: noqa: T201
"""Nothing but what must be there: autocommit is off, and the limits are 1.0's."""

import os

from pgdbpool import pool as dbpool

place = {"host": os.environ["DB_HOST"], "name": os.environ["DB_NAME"]}
config = {
    "db": {**place, "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]},
    "groups": {"plain": {"connection_count": 3}, "other": {"connection_count": 1, "autocommit": True}},
}

dbpool.Connection.init(config)
with dbpool.Handler("plain") as db:
    print(db.query("SHOW statement_timeout").fetchone()[0], db.query("SHOW temp_buffers").fetchone()[0])
    db.query("INSERT INTO note VALUES ('plain')")
    with dbpool.Handler("other") as other:
        print(other.query("SELECT count(*) FROM note").fetchone()[0])
