# ruff: noqa: T201
"""What 1.0's exceptions are raised for."""

import os

from pgdbpool import pool as dbpool

place = {"host": os.environ["DB_HOST"], "name": os.environ["DB_NAME"]}
right = {"user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"], "query_timeout": 300}


def config(**changed):
    return {"db": {**place, **right, **changed}, "groups": {"group1": {"connection_count": 2, "autocommit": True}}}


for wrong in ({"pass": "wrong"}, {"name": "no_such_database"}, {"host": "/no/such/place"}):
    try:
        dbpool.Connection.init(config(**wrong))
    except dbpool.DBConnectionError:
        print("DBConnectionError", sorted(wrong))

dbpool.Connection.init(config())
for sql, params in (("selec 1", None), ("SELECT %s / 0", (1,)), ("SELECT pg_sleep(3)", None)):
    try:
        with dbpool.Handler("group1") as db:
            db.query(sql, params)
    except dbpool.DBQueryError:
        print("DBQueryError", sql)
try:
    with dbpool.Handler("group2") as db:
        db.query("SELECT 1")
except dbpool.UnconfiguredGroupError:
    print("UnconfiguredGroupError")
