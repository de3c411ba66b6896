"""The shop as a WSGI application: ``gunicorn -k gthread --threads 16 shop.app:application`` in the folder above.

The database is named by libpq's variables (PGHOST, PGPORT, PGDATABASE, PGUSER, PGPASSWORD). Where it has standbys,
SHOP_SERVERS names all the servers instead of PGHOST and PGPORT, in any order: "db1:5432 db2:5432 db3:5432".
SHOP_CONNECTIONS is how many connections a worker holds to each server at most, 4 by default.
SHOP_SECRET, which nobody can guess and all workers share, signs the cookie by which a visitor's next page shows what the
last one wrote, whichever worker and server it comes from. Without it there is no cookie.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import psycopg2.errors

import pgdbpool
from pgdbpool.wsgi import Middleware, status_app

from . import pages, schema, store


def _servers() -> list[dict[str, Any]]:
    """Every server as an endpoint. Which of them is the primary is not said: the pool finds out."""
    alone = f"{os.environ.get('PGHOST', '127.0.0.1')}:{os.environ.get('PGPORT', '5432')}"
    shared = {
        "name": os.environ.get("PGDATABASE", "shop"),
        "user": os.environ.get("PGUSER", "shop"),
        "pass": os.environ.get("PGPASSWORD", ""),
        "connect_timeout": 2,
    }
    places = (place.rpartition(":") for place in (os.environ.get("SHOP_SERVERS") or alone).split())
    return [{"host": host, "port": int(port), **shared} for host, _, port in places]


pgdbpool.init(
    {
        "db": _servers(),
        "groups": {"web": {"connection_count": int(os.environ.get("SHOP_CONNECTIONS", "4")), "timeout": 2}},
    }
)

_LONGEST_FORM = 4096  # bytes
_COUNTING = 8.0  # seconds


class Page(NamedTuple):
    """An answer before it has its frame and its usual headers."""

    status: HTTPStatus
    title: str
    body: str
    headers: tuple[tuple[str, str], ...] = ()
    server: str = ""  # that the page was read from


def _shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    page = _answered(environ)
    text = pages.frame(page.title, page.body, pages.foot(pgdbpool.stats(), page.server)).encode()
    headers = [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", str(len(text))),
        ("Cache-Control", "no-store"),
        ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'self'"),
        *page.headers,
    ]
    start_response(f"{page.status.value} {page.status.phrase}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]


_front = Middleware(_shop, secret=os.environ.get("SHOP_SECRET"))
_status = status_app()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The shop; below /pool/ what an operator wants to see. The shop asks nobody who he is: do not mount it so in public."""
    path = environ.get("PATH_INFO", "")
    if path == "/pool" or path.startswith("/pool/"):
        inside = {"SCRIPT_NAME": environ.get("SCRIPT_NAME", "") + "/pool", "PATH_INFO": path.removeprefix("/pool")}
        return _status({**environ, **inside}, start_response)
    return _front(environ, start_response)


def _answered(environ: dict[str, Any]) -> Page:
    """The page for a request, whatever becomes of it; a programming error goes on to the server's log."""
    try:
        schema.ensure()
        return _routed(environ)
    except store.SoldOut:
        text = "Somebody else was faster: that many are not left, and nothing was ordered."
        return Page(HTTPStatus.CONFLICT, "Sold out", pages.note(text))
    except pgdbpool.NoRow:
        return _not_found()
    except pgdbpool.InDoubt:
        return _unavailable(
            "The database went away while it confirmed. Please look whether it was done before sending again."
        )
    except (pgdbpool.PoolTimeout, pgdbpool.TooManyRequests):
        return _unavailable("Every connection to the database is busy. Please try again in a moment.")
    except psycopg2.errors.QueryCanceled:  # which pgdbpool's DBQueryError is, too
        return _unavailable("That takes too long: somebody may be taking stock. Please try again in a moment.")
    except pgdbpool.PoolError:  # DBOfflineError and its kin
        return _unavailable("The database is away. Please try again in a moment; nothing was changed.")


def _routed(environ: dict[str, Any]) -> Page:
    method = environ["REQUEST_METHOD"].replace("HEAD", "GET")
    for known, pattern, view in _ROUTES:
        match = re.fullmatch(pattern, environ.get("PATH_INFO") or "/")
        if match and known == method:
            return view(environ, *map(int, match.groups()))
    return _not_found()


def _products(environ: dict[str, Any]) -> Page:
    rows = store.products()
    return Page(HTTPStatus.OK, "Products", pages.products(rows), server=_server(rows))


def _product(environ: dict[str, Any], number: int) -> Page:
    row = store.product(number)
    return Page(HTTPStatus.OK, row["name"], pages.product(row), server=_server([row]))


def _orders(environ: dict[str, Any]) -> Page:
    rows = store.orders()
    placed = parse_qs(environ.get("QUERY_STRING", "")).get("placed", [""])[0]
    return Page(HTTPStatus.OK, "Orders", pages.orders(rows, placed), server=_server(rows))


def _order(environ: dict[str, Any], number: int) -> Page:
    form = _form(environ)
    try:
        token, customer, n = str(uuid.UUID(form["form"])), form["customer"].strip(), int(form["n"])
    except (KeyError, ValueError):
        token, customer, n = "", "", 0
    if not (customer and len(customer) <= 60 and "\0" not in customer and 1 <= n <= 99):
        text = "Please give a name of at most 60 characters and a number from 1 to 99."
        return Page(HTTPStatus.BAD_REQUEST, "Not a complete order", pages.note(text, f"/product/{number}", "Back"))
    return _see(f"/orders?placed={store.order(token, number, customer, n)}")


def _restock(environ: dict[str, Any], number: int) -> Page:
    store.restock(number, 5)
    return _see(f"/product/{number}")


def _count(environ: dict[str, Any], number: int) -> Page:
    store.count(number, _COUNTING)
    return _see(f"/product/{number}")


def _server(rows: list[Any]) -> str:
    return str(rows[0]["server"]) if rows else ""


def _form(environ: dict[str, Any]) -> dict[str, str]:
    """The fields of a form that was sent; none if it is longer than any of ours."""
    length = int(environ.get("CONTENT_LENGTH") or 0)
    if length > _LONGEST_FORM:
        return {}
    text = environ["wsgi.input"].read(length).decode("utf-8", "replace")
    return {name: values[0] for name, values in parse_qs(text).items()}


def _see(place: str) -> Page:
    """After a POST: have the browser fetch a page, so that reloading does not send the form again."""
    return Page(HTTPStatus.SEE_OTHER, "Done", pages.note("Done.", place, "Go on"), (("Location", place),))


def _not_found() -> Page:
    return Page(HTTPStatus.NOT_FOUND, "No such page", pages.note("There is nothing at this address."))


def _unavailable(text: str) -> Page:
    return Page(HTTPStatus.SERVICE_UNAVAILABLE, "One moment", pages.note(text), (("Retry-After", "2"),))


_ROUTES: list[tuple[str, str, Callable[..., Page]]] = [
    ("GET", r"/", _products),
    ("GET", r"/orders", _orders),
    ("GET", r"/product/(\d{1,9})", _product),
    ("POST", r"/product/(\d{1,9})/order", _order),
    ("POST", r"/product/(\d{1,9})/restock", _restock),
    ("POST", r"/product/(\d{1,9})/count", _count),
]
