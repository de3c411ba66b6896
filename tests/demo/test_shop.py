"""The example shop, served by gunicorn from a real PostgreSQL."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import NamedTuple
from uuid import uuid4

import pytest

from pgdbpool.demo.cluster import Cluster
from pgdbpool.demo.ports import listen
from pgdbpool.demo.serving import database_for_shop, gunicorn, wait_until_it_answers
from tests.demo.browser import Browser, Seen
from tests.servers import eventually

UMBRELLA = 6  # the shop opens with one of it


class Shop(NamedTuple):
    """A shop that is open, and the server behind it."""

    cluster: Cluster
    browser: Browser

    def stock(self, product: int = UMBRELLA) -> int:
        return self._number("SELECT n FROM stock WHERE product = %s", product)

    def ordered(self, product: int = UMBRELLA) -> int:
        return self._number("SELECT count(*) FROM purchase WHERE product = %s", product)

    def set_stock(self, n: int, product: int = UMBRELLA) -> None:
        self._number("UPDATE stock SET n = %s WHERE product = %s RETURNING n", n, product)

    def _number(self, sql: str, *params: object) -> int:
        connection = self.cluster.admin(dbname="shop")
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, params)
                return int(cursor.fetchone()[0])
        finally:
            connection.close()


@contextmanager
def opened(cluster: Cluster, name: str) -> Iterator[Browser]:
    """A shop on an empty database of its own; gunicorn has begun to start."""
    with listen(0) as listener:
        port = listener.getsockname()[1]
        with gunicorn(listener, database_for_shop(cluster, name)) as server:
            yield Browser(port)
            assert server.poll() is None


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """The server behind the shops of this module."""
    with Cluster() as running:
        yield running


@pytest.fixture(scope="module")
def shop(cluster: Cluster) -> Iterator[Shop]:
    """A shop that is open."""
    with listen(0) as listener:
        port = listener.getsockname()[1]
        with gunicorn(listener, database_for_shop(cluster)) as server:
            wait_until_it_answers(server, port)
            yield Shop(cluster, Browser(port))


def at_once(count: int, visit: object, *args: object) -> list[Seen]:
    """What ``count`` visitors see who come at the same moment."""
    barrier = Barrier(count)

    def one(_: int) -> Seen:
        barrier.wait(10)
        return visit(*args)  # type: ignore[operator, no-any-return]

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(one, range(count)))


def test_the_pages_show_what_the_database_holds(shop: Shop) -> None:
    """The first page lists the products, each has a page of its own with its stock, and the foot shows the pool."""
    first, umbrella = shop.browser.get("/"), shop.browser.get(f"/product/{UMBRELLA}")

    assert first.status == umbrella.status == 200
    assert first.text.count('<article class="card">') == 6
    assert f"{shop.stock()} in stock" in umbrella.text
    assert " of 4 pool connections in use" in umbrella.text
    assert f"Read from primary {shop.cluster.port}." in umbrella.text
    assert re.search(rf"Servers: 127\.0\.0\.1:{shop.cluster.port} \w+ up\.", umbrella.text)


def test_an_order_is_placed_and_the_stock_falls(shop: Shop) -> None:
    """An order leads to the list of orders, where it stands with its total, and its pieces are gone from the stock."""
    shop.set_stock(5)
    answer = shop.browser.order(UMBRELLA, n=2, customer="Grace <b>Hopper</b>")
    page = shop.browser.get(answer.headers["Location"])

    assert answer.status == 303
    assert "Thank you. Your order has number" in page.text
    assert "Grace &lt;b&gt;Hopper&lt;/b&gt;</td><td>2 &times; Last umbrella</td><td>EUR 64.00" in page.text
    assert shop.stock() == 3


def test_more_than_is_left_is_not_sold(shop: Shop) -> None:
    """An order for more than the stock changes nothing, and says so on a page."""
    shop.set_stock(1)
    before = shop.ordered()
    answer = shop.browser.order(UMBRELLA, n=2)

    assert answer.status == 409
    assert "Sold out" in answer.text
    assert (shop.stock(), shop.ordered()) == (1, before)


@pytest.mark.parametrize("round_", range(3))
def test_of_many_who_want_the_last_one_gets_it(shop: Shop, round_: int) -> None:
    """Of eight visitors who order the last piece at once exactly one gets it, the others see that it is sold out."""
    shop.set_stock(1)
    before = shop.ordered()
    seen = at_once(8, lambda: shop.browser.other().order(UMBRELLA))

    assert sorted(answer.status for answer in seen) == [303] + 7 * [409]
    assert (shop.stock(), shop.ordered() - before) == (0, 1)


def test_a_form_sent_twice_orders_once(shop: Shop) -> None:
    """A double click, also at the same moment through two workers, places one order and shows it twice."""
    shop.set_stock(10)
    before, form = shop.ordered(), str(uuid4())
    seen = at_once(4, lambda: shop.browser.order(UMBRELLA, form=form))

    assert {answer.status for answer in seen} == {303}
    assert len({answer.headers["Location"] for answer in seen}) == 1
    assert (shop.stock(), shop.ordered() - before) == (9, 1)


def test_restocking_takes_a_button(shop: Shop) -> None:
    """The button on the product's page adds five pieces and comes back to that page, which shows them."""
    shop.set_stock(0)
    sold_out = shop.browser.get(f"/product/{UMBRELLA}")
    answer = shop.browser.post(f"/product/{UMBRELLA}/restock")

    assert "sold out" in sold_out.text
    assert (answer.status, answer.headers["Location"]) == (303, f"/product/{UMBRELLA}")
    assert "5 in stock" in shop.browser.get(answer.headers["Location"]).text


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"customer": "Ada", "n": 1},
        {"form": "no number", "customer": "Ada", "n": 1},
        {"form": uuid4(), "customer": " ", "n": 1},
        {"form": uuid4(), "customer": "x" * 61, "n": 1},
        {"form": uuid4(), "customer": "A\0a", "n": 1},
        {"form": uuid4(), "customer": "Ada", "n": 0},
        {"form": uuid4(), "customer": "Ada", "n": "many"},
        {"form": uuid4(), "customer": "Ada", "n": 1, "more": "x" * 5000},
    ],
)
def test_half_a_form_orders_nothing(shop: Shop, fields: dict[str, object]) -> None:
    """A form that is incomplete, wrong or far too long is answered by 400 and changes nothing."""
    shop.set_stock(5)
    before = shop.ordered()
    answer = shop.browser.post(f"/product/{UMBRELLA}/order", **fields)

    assert answer.status == 400
    assert (shop.stock(), shop.ordered()) == (5, before)


@pytest.mark.parametrize("path", ["/nothing", "/product/77", "/product/0x1", "/product/99999999999999999999"])
def test_what_is_not_there_is_not_found(shop: Shop, path: str) -> None:
    """Unknown addresses and products are answered by 404."""
    assert shop.browser.get(path).status == 404


def test_an_order_for_nothing_is_not_found(shop: Shop) -> None:
    """An order for a product that does not exist is answered by 404."""
    assert shop.browser.order(77, form=str(uuid4())).status == 404


def test_head_has_no_body(shop: Shop) -> None:
    """HEAD is answered as GET, without the page."""
    answer = shop.browser.get("/orders", method="HEAD")

    assert (answer.status, answer.text) == (200, "")


def test_workers_that_start_together_make_one_set_of_tables(cluster: Cluster) -> None:
    """The first requests to an empty database, sixteen at once over two workers, all succeed and fill it once."""
    with opened(cluster, "fresh") as browser:
        seen = at_once(16, browser.get, "/")
        cards = browser.get("/").text.count('<article class="card">')

    assert [answer.status for answer in seen] == 16 * [200]
    assert cards == 6


def test_a_database_that_is_away_is_a_page_and_comes_back(shop: Shop) -> None:
    """While the server is stopped every page is a 503 with Retry-After; when it is back, so is the shop."""
    shop.cluster.stop()
    away = [shop.browser.get("/"), shop.browser.order(UMBRELLA, form=str(uuid4()))]
    shop.cluster.start()

    assert [answer.status for answer in away] == [503, 503]
    assert [answer.headers["Retry-After"] for answer in away] == ["2", "2"]
    assert "The database is away" in away[0].text
    assert eventually(lambda: all(shop.browser.get("/").status == 200 for _ in range(8)), 5)
