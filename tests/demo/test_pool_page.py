"""What an operator sees below ``/pool/`` while the demo runs: contract §8."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from pgdbpool.demo.shop import store

from tests.command.shell import pgdbpool
from tests.demo.test_launch import Demo
from tests.life import thread_of
from tests.servers import eventually

LAMP = 2
SEEN = 2.0  # seconds


class Operator:
    """Somebody who looks at the page of a demo that runs."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo
        self.browser = demo.browser()
        assert demo.process.stdout is not None
        self.url = demo.process.stdout.readline().strip()  # the next one that it tells

    def figures(self) -> dict[str, Any]:
        return json.loads(self.browser.get("/pool/stats.json").text)  # type: ignore[no-any-return]

    def holder(self, function: str) -> dict[str, Any] | None:
        """The connection that was taken in that function of the shop, if one is held."""
        held = (each for each in self.figures()["holders"] if each["taken"])
        return next((each for each in held if each["taken"].endswith(f"({function})")), None)

    def sees(self, condition: Callable[[], Any]) -> Any:
        """What is seen in time."""
        since = time.monotonic()
        seen = eventually(condition, 10.0)
        assert seen, self.figures()
        assert time.monotonic() - since <= SEEN
        return seen

    def workers(self) -> set[int]:
        """Gunicorn's, as the system knows them."""
        children = psutil.Process(self.demo.process.pid).children(recursive=True)
        served = [each for each in children if "pgdbpool.demo.shop.app" in " ".join(each.cmdline())]
        return {each.pid for each in served if each.ppid() in {other.pid for other in served}}

    def folders(self) -> dict[str, Path]:
        """Of the servers, by what the page calls them."""
        told = re.findall(r"psql -h (\S+) -p (\d+) ", self.demo.said)
        return {f"127.0.0.1:{port}": Path(folder) for folder, port in told}


def line_of(function: Any, text: str) -> str:
    """A place in the shop as the page names it."""
    lines, first = inspect.getsourcelines(function)
    number = next(first + index for index, line in enumerate(lines) if text in line)
    return f"store.py:{number} ({function.__name__})"


@pytest.fixture(scope="module")
def operator() -> Iterator[Operator]:
    """Of a demo whose two workers have both been seen; at its end it leaves nothing."""
    folder = Path(tempfile.mkdtemp()).resolve()
    folder.chmod(0o711)  # the server's account has to reach its folder in it
    demo = Demo(folder, "--port", "0")
    try:
        made = Operator(demo)
        assert eventually(lambda: {each["pid"] for each in made.figures()["workers"]} == made.workers(), 10)
        yield made
        os.kill(demo.process.pid, signal.SIGTERM)
        assert (demo.end(), demo.left()) == (0, [])
        assert "Traceback" not in demo.said
    finally:
        demo.process.kill()
        demo.process.communicate()
        eventually(lambda: os.listdir(folder) == [])  # a watcher removes what the kill left
    folder.rmdir()


@pytest.mark.contract("8.p1.1")
def test_the_page_is_there(operator: Operator) -> None:
    """At the address that the demo tells is the page with its files; the shop links to it; other hosts' are forbidden."""
    page = operator.browser.get("/pool/")
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    answers = {name: operator.browser.get(f"/pool/{name}") for name in files}

    assert operator.url == f"http://127.0.0.1:{operator.browser.port}/pool/"
    assert 'href="/pool/"' in operator.browser.get("/").text
    assert operator.browser.get("/pool").headers["Location"] == "pool/"
    assert {".js", ".css"} <= {Path(name).suffix for name in files}
    assert {name: answer.status for name, answer in answers.items()} == dict.fromkeys(files, 200)
    assert all("default-src 'none'" in each.headers["Content-Security-Policy"] for each in (page, *answers.values()))


@pytest.mark.contract("8.p1.1", "6.status_app.2")
def test_both_workers_and_all_servers(operator: Operator) -> None:
    """The figures are those of both workers, and of the three servers with their roles; nobody is alone."""
    figures = operator.figures()

    assert {each["pid"] for each in figures["workers"]} == operator.workers()
    assert len(operator.workers()) == 2
    assert (figures["alone"], figures["pool"]) == (None, "ready")
    assert set(figures["endpoints"]) == set(operator.folders())
    roles = lambda: sorted((each["role"], each["state"]) for each in operator.figures()["endpoints"].values())  # noqa: E731
    assert eventually(lambda: roles() == [("primary", "up"), ("standby", "up"), ("standby", "up")])


@pytest.mark.contract("8.p1.2")
def test_top_shows_it(operator: Operator) -> None:
    """``pgdbpool top URL --once`` names the servers and the group, with ``--json`` it is all that the page shows."""
    shown = pgdbpool("top", operator.url, "--once")
    told = pgdbpool("top", operator.url, "--once", "--json")
    figures = json.loads(told.stdout)

    assert (shown.returncode, told.returncode, shown.stderr, told.stderr) == (0, 0, "", "")
    assert all(label in shown.stdout for label in ["web", "primary", *operator.folders()])
    assert figures.keys() == operator.figures().keys()
    assert {each["pid"] for each in figures["workers"]} == operator.workers()
    assert figures["endpoints"].keys() == operator.folders().keys()


@pytest.mark.contract("8.p1.1")
def test_who_takes_stock_and_whom_that_holds_up(operator: Operator) -> None:
    """Within 2 s the button is seen with the line that holds its connection, and an order of that product as blocked by it."""
    before = operator.figures()["groups"]["web"]["checkouts"]
    counting = thread_of(operator.browser.other().post, f"/product/{LAMP}/count")
    counter = operator.sees(lambda: (found := operator.holder("count")) and found["state"] and found)
    assert counter["taken"].endswith("/" + line_of(store.count, "with pgdbpool.transaction()"))
    assert counter["now"].endswith("/" + line_of(store.count, "time.sleep"))
    assert (counter["state"], counter["blocked_by"]) == ("idle in transaction", [])

    # The order may wait for five seconds (`query_timeout`), and the counting goes on for eight.
    assert eventually(lambda: operator.holder("count")["seconds"] > 4.0)
    ordering = thread_of(operator.browser.other().order, LAMP)
    order = operator.sees(lambda: (found := operator.holder("order")) and found["blocked_by"] and found)
    blocker = {"pid": counter["backend_pid"], "who": "pgdbpool:web", "place": counter["taken"]}
    assert (order["waits_for"], order["blocked_by"]) == ("Lock: transactionid", [blocker])
    assert order["taken"].endswith("/" + line_of(store.order, "with pgdbpool.transaction()"))
    assert order["now"].endswith("/" + line_of(store.order, "UPDATE stock"))

    counted = counting.result().value
    assert (counted.status, counted.headers["Location"]) == (303, f"/product/{LAMP}")
    assert ordering.result().value.status == 303
    operator.sees(lambda: operator.figures()["holders"] == [])
    assert operator.figures()["groups"]["web"]["checkouts"] > before


@pytest.mark.contract("8.p1.1")
def test_a_standby_is_stopped(operator: Operator) -> None:
    """Within 2 s the page has it down, with an event; the shop goes on."""
    roles = {label: each["role"] for label, each in operator.figures()["endpoints"].items()}
    label = next(label for label, role in roles.items() if role == "standby")
    postmaster = int((operator.folders()[label] / "data" / "postmaster.pid").read_text().split()[0])
    os.kill(postmaster, signal.SIGINT)

    operator.sees(lambda: operator.figures()["endpoints"][label]["state"] == "down")
    operator.sees(
        lambda: [each for each in operator.figures()["events"] if (each["kind"], each["about"]) == ("down", label)]
    )
    states = {name: each["state"] for name, each in operator.figures()["endpoints"].items()}
    assert states == {**dict.fromkeys(roles, "up"), label: "down"}
    assert [operator.browser.get("/").status for _ in range(8)] == [200] * 8
