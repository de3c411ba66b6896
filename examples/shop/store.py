"""What the shop asks of its database: one function for each thing that it does.

Nothing here says which server is meant. The pool sees that a query only reads and sends it to a standby, but to one that
shows what the visitor has written; an order is a transaction on the primary. What others have written may be missing on a
standby for a moment. That is good enough to look at: an order asks the primary whether the stock is still there.
"""

from __future__ import annotations

import time
from typing import Any

import pgdbpool

# Which one answers, for the foot of the page.
_SERVER = "CASE WHEN pg_is_in_recovery() THEN 'standby' ELSE 'primary' END || ' ' || inet_server_port() AS server"

_PRODUCTS = f"SELECT id, name, about, price, n, {_SERVER} FROM product JOIN stock ON product = id"


class SoldOut(Exception):
    """Fewer pieces are in stock than were ordered."""


def products() -> list[Any]:
    """Every product with its stock."""
    return pgdbpool.query(f"{_PRODUCTS} ORDER BY id").fetchall()


def product(number: int) -> Any:
    """The product's row, or ``pgdbpool.NoRow``."""
    return pgdbpool.query(f"{_PRODUCTS} WHERE id = %s", (number,)).one()


def orders(limit: int = 50) -> list[Any]:
    """The latest orders, newest first."""
    return pgdbpool.query(
        "SELECT purchase.id, name, customer, n, total, to_char(placed, 'YYYY-MM-DD HH24:MI:SS') AS placed,"
        f" {_SERVER} FROM purchase JOIN product ON product.id = product ORDER BY purchase.id DESC LIMIT %s",
        (limit,),
    ).fetchall()


def order(form: str, number: int, customer: str, n: int) -> int:
    """Place an order and take it out of the stock, both or neither; the order's number.

    ``SoldOut`` if too few are left, ``pgdbpool.NoRow`` if there is no such product.
    ``form`` is the unique number of the form that was sent. A form that comes twice (a double click, or a second try
    after an error that left the first in doubt) orders once.
    """
    with pgdbpool.transaction() as db:
        placed = db.query(
            "INSERT INTO purchase (form, product, customer, n, total)"
            " SELECT %(form)s, id, %(customer)s, %(n)s, price * %(n)s FROM product WHERE id = %(number)s"
            " ON CONFLICT (form) DO NOTHING RETURNING id",
            {"form": form, "customer": customer, "n": n, "number": number},
        ).one_or_none()
        if placed is None:
            return int(db.query("SELECT id FROM purchase WHERE form = %s", (form,)).scalar())
        taken = db.query("UPDATE stock SET n = n - %s WHERE product = %s AND n >= %s", (n, number, n))
        if taken.rowcount == 0:
            raise SoldOut  # the block rolls back: the order is not placed
        return int(placed["id"])


def restock(number: int, n: int) -> None:
    """Add pieces to a product's stock, to 999 at most."""
    pgdbpool.query("UPDATE stock SET n = least(n + %s, 999) WHERE product = %s", (n, number))


def count(number: int, seconds: float) -> None:
    """Take stock: nobody may order the product meanwhile.

    How not to do it: a connection is held, and a row locked, while a person counts. The pool's page shows who does that,
    and who waits for it.
    """
    with pgdbpool.transaction() as db:
        db.query("SELECT n FROM stock WHERE product = %s FOR UPDATE", (number,)).one()
        time.sleep(seconds)
