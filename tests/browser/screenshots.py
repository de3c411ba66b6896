"""``python -m tests.browser.screenshots``: pictures of the page, of a real pool on real servers, into doc/page/."""

from __future__ import annotations

import argparse
import io
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg2

import pgdbpool
from pgdbpool.wsgi import status_app
from tests.browser.chromium import PHONE, Window, chromium, missing
from tests.browser.site import Site
from tests.life import Crowd, thread_of
from tests.servers import ROLE, chosen, eventually
from tests.several import Replicas, is_known, replicas, state
from tests.usage import TABLE, fresh_table

FOLDER = Path(__file__).parents[2] / "doc" / "page"
COLOURS = 160
LONG_PHONE = {**PHONE, "height": 1500}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.browser.screenshots", description=__doc__)
    parser.add_argument("--seconds", type=float, default=90.0, help="of load before the first picture")
    options = parser.parse_args()
    if lacking := missing():
        parser.error(lacking)
    FOLDER.mkdir(exist_ok=True)
    with ExitStack() as stack:
        servers = replicas(chosen()[0][0])
        stack.callback(servers.close)
        pool = stack.enter_context(pgdbpool.Pool(_config(servers)))
        site = Site(status_app(pool))
        stack.callback(site.stop)
        browser = stack.enter_context(chromium())
        _scenes(servers, pool, lambda name: _picture(browser, site, name), options.seconds)
    return 0


def _config(servers: Replicas) -> dict[str, Any]:
    """Labels as people have them, in place of those of the tests."""
    config = servers.config({"connection_count": 4, "timeout": 60, "query_timeout": 60_000, "hold_warning": 5})
    config["groups"]["reports"] = {"connection_count": 2, "target": "prefer-standby"}
    for number, each in enumerate(config["db"], 1):
        each["label"] = f"db{number}:5432"
    return config


def _scenes(servers: Replicas, pool: Any, picture: Callable[[str], None], seconds: float) -> None:
    fresh_table(servers.primary, TABLE)
    servers.primary.sql(f"INSERT INTO {ROLE}.{TABLE} SELECT n, '' FROM generate_series(1, 100) n")
    assert eventually(lambda: is_known(pool), 30)
    with Crowd(lambda: visit(pool), 5), Crowd(lambda: report(pool), 1):
        time.sleep(seconds)
        picture("calm")
        with forgotten(pool, 3):
            waiting = [thread_of(order, pool, 1) for _ in range(5)]
            time.sleep(12)
            picture("saturated")
        for each in waiting:
            each.result(30)
        time.sleep(5)
        servers.primary.kill9()
        assert eventually(lambda: state(pool, "db1:5432") == "down", 20)
        servers.standbys[0].sql("SELECT pg_promote()")
        assert eventually(lambda: state(pool, "db2:5432", "role") == "primary", 20)
        time.sleep(4)
        picture("failover")


def visit(pool: Any) -> None:
    """A page that reads; now and then an order."""
    time.sleep(random.expovariate(20))
    with suppress(psycopg2.Error):
        if random.random() < 0.15:
            order(pool, random.randint(2, 100))
        else:
            pool.query(f"SELECT count(*), pg_sleep(%s) FROM {TABLE}", (random.expovariate(120),))


def report(pool: Any) -> None:
    time.sleep(random.expovariate(1))
    with suppress(psycopg2.Error):
        pool.query("SELECT pg_sleep(%s)", (random.expovariate(1.2),), group="reports")


def order(pool: Any, number: int) -> None:
    """Fails where the primary is away."""
    with suppress(psycopg2.Error), pool.transaction() as db:
        db.query(f"UPDATE {TABLE} SET note = 'sold' WHERE id = %s", (number,))
        db.query("SELECT pg_sleep(%s)", (random.expovariate(100),))


@contextmanager
def forgotten(pool: Any, count: int) -> Iterator[None]:
    """Transactions that somebody left open while he sends mail; the first of them has sold number 1."""
    release = threading.Event()

    def send_mail(number: int) -> None:
        with pool.transaction() as db:
            db.query(f"UPDATE {TABLE} SET note = 'sold' WHERE id = %s", (number,))
            release.wait(60)

    threads = [thread_of(send_mail, number) for number in (1, 101, 102)[:count]]
    yield
    release.set()
    for each in threads:
        each.result()


def _picture(browser: Any, site: Site, name: str) -> None:
    looks: dict[str, dict[str, Any]] = {
        "light": {"color_scheme": "light"},
        "dark": {"color_scheme": "dark"},
        "phone": {"color_scheme": "dark", "viewport": LONG_PHONE, "device_scale_factor": 2},
    }
    for look, options in looks.items():
        if look == "phone" and name != "saturated":
            continue
        window = Window(browser, site.url, reduced_motion="reduce", **options)
        page = window.open()
        page.wait_for_timeout(2500)  # PostgreSQL is asked only while somebody looks
        _save(page.screenshot(full_page=look != "phone"), FOLDER / f"{name}-{look}.png")
        window.close()


def _save(png: bytes, path: Path) -> None:
    """With few colours, which is what makes it small."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    sys.stdout.write(f"{path}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    sys.exit(main())
