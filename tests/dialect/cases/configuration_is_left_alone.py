# ruff: noqa: T201
"""What ``Connection.init`` does to the program's own dict."""

import copy
import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"group1": {"connection_count": 1}},
}

before = copy.deepcopy(config)
dbpool.Connection.init(config)
print(config == before)
