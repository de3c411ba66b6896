"""The smallest application: ``gunicorn -k gthread --threads 16 first:application``."""

import pgdbpool

pgdbpool.init(
    {
        "db": {"host": "127.0.0.1", "name": "shop", "user": "web", "pass": "secret"},
        "groups": {"web": {"connection_count": 8}},
    }
)


def application(environ, start_response):
    """Answer every request with the database's name and clock."""
    row = pgdbpool.query("SELECT current_database() AS name, now() AS time").one()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{row['name']}, {row['time']:%H:%M:%S}\n".encode()]
