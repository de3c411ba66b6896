"""One of two servers is not there when the program starts."""

import os

from pgdbpool import pool as dbpool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "db": [{"host": os.environ["DB_HOST_1"], **place}, {"host": "/no/such/place", **place}],
    "groups": {"group1": {"connection_count": 4}},
}

dbpool.Connection.init(config)
