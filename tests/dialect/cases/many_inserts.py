# ruff: noqa: T201
"""1.0's example of several writable servers: four groups, 102 connections; inserts spread over the servers."""

import os

from pgdbpool import pool

place = {"name": os.environ["DB_NAME"], "user": os.environ["DB_USER"], "pass": os.environ["DB_PASSWORD"]}
config = {
    "db": [{"host": os.environ["DB_HOST_1"], **place}, {"host": os.environ["DB_HOST_2"], **place}],
    "groups": {
        "writer1": {"connection_count": 20, "autocommit": True},
        "writer2": {"connection_count": 10, "autocommit": True},
        "reader1": {"connection_count": 24, "autocommit": True},
        "reader2": {"connection_count": 48, "autocommit": True},
    },
}

pool.Connection.init(config)

servers = []
for _ in range(40):
    with pool.Handler("writer1") as db1:
        db1.query("INSERT INTO note VALUES ('test1')")
        db1.query("INSERT INTO note VALUES ('test3')")
        servers.append(db1.query("SELECT number FROM server").fetchone()[0])
    with pool.Handler("writer2") as db2:
        db2.query("INSERT INTO note VALUES ('test100')")
        servers.append(db2.query("SELECT number FROM server").fetchone()[0])
print(servers.count(1) >= 20, servers.count(2) >= 20)
