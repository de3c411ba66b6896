"""``sqlprepare`` where a statement cannot be prepared."""

import os

from pgdbpool import pool as dbpool

place = {"host": os.environ["DB_HOST"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {"db": {**place, "name": "postgres"}, "groups": {"prepared": {"connection_count": 1, "sqlprepare": True}}}

dbpool.Connection.init(config)
