# ruff: noqa: T201
"""Without autocommit: commit() keeps what came before it, the end of the block the rest."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {
        "group1": {"connection_count": 2, "autocommit": False},
        "watch": {"connection_count": 1, "autocommit": True},
    },
}


def committed():
    with dbpool.Handler("watch") as db:
        return [rec["text"] for rec in db.query("SELECT text FROM note ORDER BY text")]


dbpool.Connection.init(config)
with dbpool.Handler("group1") as db:
    db.query("INSERT INTO note VALUES (%s)", ("first",))
    db.query("INSERT INTO note VALUES (%s)", ("second",))
    print(committed())
    db.commit()
    print(committed())
    db.query("INSERT INTO note VALUES (%s)", ("third",))
    print(committed())
print(committed())
