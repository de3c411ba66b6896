# ruff: noqa: T201
"""A WSGI application that answers by JSON, and by 500 where something is wrong."""

import json
import os

from pgdbpool import pool as dbpool

config = {
    "type": "threaded",
    "db": {
        "host": os.environ["DB_HOST"],
        "name": os.environ["DB_NAME"],
        "user": os.environ["DB_USER"],
        "pass": os.environ["DB_PASSWORD"],
        "ssl": "prefer",
        "connect_timeout": 30,
        "connection_retry_sleep": 1,
        "query_timeout": 30000,
        "session_tmp_buffer": 128,
    },
    "groups": {
        "default": {"connection_count": 10, "autocommit": True},
        "transactions": {"connection_count": 5, "autocommit": False},
    },
}

dbpool.Connection.init(config)


def application(environ, start_response):
    sql = "SELECT id, name, email FROM person WHERE active ORDER BY id"
    try:
        found = []
        with dbpool.Handler("default") as db:
            for row in db.query(sql if environ["PATH_INFO"] == "/" else "SELECT nothing"):
                found.append({"id": row[0], "name": row[1], "email": row[2]})
        start_response("200 OK", [("Content-Type", "application/json; charset=UTF-8")])
        yield json.dumps(found).encode("utf-8")
    except Exception:
        start_response("500 Internal Server Error", [("Content-Type", "text/plain")])
        yield b"Internal Server Error"


for path in ("/", "/wrong", "/"):
    answer = application({"REQUEST_METHOD": "GET", "PATH_INFO": path}, lambda status, headers: print(status, headers))
    print(b"".join(answer))
