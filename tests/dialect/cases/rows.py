# ruff: noqa: T201
"""How rows are read: by position, by name, as a dict, one by one, all at once."""

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
dbpool.Connection.init(config)

with dbpool.Handler("group1") as db:
    cursor = db.query("SELECT id, name, price FROM item WHERE price < %s ORDER BY id", (50,))
    print(cursor.rowcount, [column.name for column in cursor.description])
    rec = cursor.fetchone()
    print(rec[0], rec["name"], rec[-1], list(rec), dict(rec), len(rec))
    print(list(rec.keys()), list(rec.items()), rec.get("name"), rec.get("nothing", "none"))
    print([list(rec) for rec in cursor.fetchmany(5)], cursor.fetchone())
    print([list(rec) for rec in db.query("SELECT 1 AS one, '%' AS percent").fetchall()])
    print(list(db.query("SELECT %(n)s::int + 1 AS next", {"n": 41}).fetchone()))
    print(db.query("UPDATE item SET price = 2 WHERE id < 3").rowcount)
