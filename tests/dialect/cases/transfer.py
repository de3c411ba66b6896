# ruff: noqa: T201
"""Money goes from one account to another by manual commit; a statement that the server rejects undoes all of it."""

import os

from pgdbpool import pool as dbpool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
limits = {"ssl": "require", "connect_timeout": 30, "query_timeout": 120, "session_tmp_buffer": 256}
config = {
    "type": "threaded",
    "db": [{"host": os.environ["DB_HOST_1"], **place, **limits}, {"host": os.environ["DB_HOST_2"], **place, **limits}],
    "groups": {
        "read_pool": {"connection_count": 15, "autocommit": True},
        "write_pool": {"connection_count": 10, "autocommit": False},
    },
}

dbpool.Connection.init(config)


def transfer(source, target, amount):
    try:
        with dbpool.Handler("write_pool") as db:
            db.query("INSERT INTO moved VALUES (%s, %s, %s)", (source, target, amount))
            db.query("UPDATE account SET balance = balance + %s WHERE id = %s", (amount, target))
            db.query("UPDATE account SET balance = balance - %s WHERE id = %s", (amount, source))
            db.commit()
            return True
    except Exception as error:
        print("failed:", isinstance(error, dbpool.DBQueryError))
        return False


print(transfer(1, 2, 60), transfer(1, 2, 1000), transfer(3, 4, 5), transfer(5, 6, 5))
