# ruff: noqa: T201
"""What the pool tells of itself."""

import os

from pgdbpool import pool as dbpool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "db": [{"host": os.environ["DB_HOST_1"], **place}, {"host": os.environ["DB_HOST_2"], **place}],
    "groups": {"group1": {"connection_count": 5}, "group2": {"connection_count": 2}},
}

dbpool.Connection.init(config)
print(dbpool.Connection.get_threading_model())
print(dbpool.Connection.get_max_pool_size("group1"), dbpool.Connection.get_max_pool_size("group2"))
try:
    dbpool.Connection.get_max_pool_size("group3")
except KeyError:
    print("KeyError")
