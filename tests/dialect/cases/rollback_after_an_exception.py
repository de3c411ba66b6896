# ruff: noqa: T201
"""The program's own exception between two statements; 1.0's manual says that the transaction is rolled back then."""

import os

from pgdbpool import pool as dbpool

config = {
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
    },
    "groups": {"write_pool": {"connection_count": 2, "autocommit": False}},
}

dbpool.Connection.init(config)


def transfer(source, target, amount):
    try:
        with dbpool.Handler("write_pool") as db:
            db.query("UPDATE account SET balance = balance - %s WHERE id = %s", (amount, source))
            if target is None:
                raise ValueError("there is nobody to give it to")
            db.query("UPDATE account SET balance = balance + %s WHERE id = %s", (amount, target))
            db.commit()
            return True
    except Exception as error:
        print("failed:", error)
        return False


print(transfer(1, 2, 10), transfer(1, None, 50))
