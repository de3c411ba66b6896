# ruff: noqa: T201
"""Two groups over two servers; connections are dealt to the servers in turn, odd numbers going on in the next group."""

import os

from pgdbpool import pool as dbpool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "type": "threaded",
    "db": [{"host": os.environ["DB_HOST_1"], **place}, {"host": os.environ["DB_HOST_2"], **place}],
    "groups": {
        "read_write": {"connection_count": 21, "autocommit": True},
        "transactions": {"connection_count": 10, "autocommit": False},
    },
}

dbpool.Connection.init(config)
for number in range(4):
    with dbpool.Handler("read_write") as db:
        db.query("INSERT INTO note VALUES (%s)", (f"at once {number}",))
    with dbpool.Handler("transactions") as db:
        db.query("INSERT INTO note VALUES (%s)", (f"in a transaction {number}",))
        db.query("INSERT INTO note VALUES (%s)", (f"in the same {number}",))
        db.commit()
print("done")
