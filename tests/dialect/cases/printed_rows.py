# ruff: noqa: T201
"""The example of Handler: rows as str() shows them."""

import os

from pgdbpool import pool as dbpool

config_dict = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1}},
}
dbpool.Connection.init(config_dict)

sql = "select id, name from item order by id"

with dbpool.Handler("group1") as db:
    for rec in db.query(sql):
        print(str(rec))
