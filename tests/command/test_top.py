"""``pgdbpool top``, run as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from pgdbpool.command.main import main

from .pages import Site, endpoint, figures, group, site
from .shell import INTERRUPTIBLE, environment, pgdbpool, terminal
from .test_page import unused

SCREEN, NO_SCREEN, CURSOR = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h"


@pytest.fixture(name="page")
def served() -> Iterator[Site]:
    """A status page."""
    with site() as made:
        yield made


@pytest.mark.contract("8.p1.2")
@pytest.mark.parametrize(("key", "status"), [("q", 0), ("\x03", 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_it_is_live_and_gives_the_terminal_back(page: Site, key: str | signal.Signals, status: int) -> None:
    """It shows what changes without being asked; q, Ctrl-C and signals end it at once, and the terminal is as before."""
    with terminal("top", page.url, "--interval", "0.1") as screen:
        before = screen.modes
        screen.until("All is well: 0 of 4 connections in use", "web", "db1:5432", "q ends")
        assert screen.modes != before
        screen.press("\x1a?")  # Ctrl-Z, which would stop it with the terminal as it is, and a key without a meaning
        page.show(figures(groups={"web": group(in_use=3, idle=1)}))
        screen.until("All is well: 3 of 4 connections in use")
        if isinstance(key, str):
            screen.press(key)
        else:
            screen.process.send_signal(key)
        assert screen.end() == status
        assert screen.modes == before
        assert screen.raw.index(SCREEN) < screen.raw.index(NO_SCREEN) < screen.raw.index(CURSOR)
        assert b"Traceback" not in screen.raw


def test_it_follows_the_size_of_the_terminal(page: Site) -> None:
    """It fills the terminal that it is in, and the terminal that this becomes, down to a few lines."""
    page.show(figures(advice=["an advice"]))
    exported = {"COLUMNS": "100", "LINES": "20"}  # by a shell, which had another size
    with terminal("top", page.url, "--interval", "60", columns=130, lines=30, **exported) as screen:
        screen.until("wait p50", "an advice")
        screen.resize(60, 8)
        rows = screen.until("wait p95", without="wait p50")
        assert "an advice" not in " ".join(rows)
        screen.resize(130, 30)
        screen.until("wait p50", "an advice")


def test_a_server_that_goes_and_comes_back() -> None:
    """While the server is away it says so, keeps showing what it knew, and goes on when it is back."""
    with site() as first:
        port = first.port
        with terminal("top", first.url, "--interval", "0.1") as screen:
            screen.until("All is well")
            first.close()
            shown = screen.until("does not answer: Connection refused; asking again; what follows is of ", "db1:5432")
            assert "All is well" not in " ".join(shown)
            with site(figures(pool="closed"), port):
                screen.until("The pool is closed", without="does not answer")


def test_a_server_that_hangs(page: Site) -> None:
    """A server that takes the question and keeps silent is told within seconds, and q ends it meanwhile."""
    with terminal("top", page.url, "--interval", "0.1") as screen:
        screen.until("All is well")
        page.silent.clear()
        screen.until("does not answer: nothing came for", "asking again; what follows is of ")
        screen.press("q")
        assert screen.end() == 0


def test_a_server_that_is_not_there_yet() -> None:
    """It may be started before the server; what turns out to be no status page ends it with one line on the old screen."""
    with terminal("top", f"http://127.0.0.1:{(port := unused())}/pool/", "--interval", "0.1") as screen:
        screen.until("Connection refused; asking again")
        with site({"ok": True}, port):
            assert screen.end() == 2
        assert NO_SCREEN in screen.raw
        assert b"found JSON of something else" in screen.raw.partition(NO_SCREEN)[2]


@pytest.mark.parametrize("way", ["once", "pipe", "dumb"])
def test_once(page: Site, way: str) -> None:
    """With --once, in a pipe and on a terminal that can only print, it prints one view and ends."""
    page.show(figures(groups={"web": group(in_use=3, idle=1)}, advice=["x" * 150]))
    if way == "pipe":
        done = pgdbpool("top", page.url)
        status, printed = done.returncode, done.stdout
    else:
        with terminal("top", page.url, *(["--once"] if way == "once" else ()), TERM=way) as screen:
            status, printed = screen.end(), screen.raw.decode()
    assert status == 0
    assert "All is well: 3 of 4 connections in use" in printed
    assert "\x1b[?" not in printed
    assert (way != "pipe") or ("x" * 150 in printed and "\x1b" not in printed)
    assert page.asked == 1


def test_no_color(page: Site) -> None:
    """With NO_COLOR nothing is coloured, with TERM alone it is."""
    page.show(figures(pool="closed"))
    coloured = {}
    for value in ("", "1"):
        with terminal("top", page.url, "--once", NO_COLOR=value) as screen:
            assert screen.end() == 0
            coloured[value] = b"31m" in screen.raw
    assert coloured == {"": True, "1": False}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_once_while_the_server_is_away(more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """--once then says so in one line on standard error, prints nothing, and exits with 1."""
    assert main(["top", f"http://ops:secret@127.0.0.1:{unused()}/pool/", "--once", *more]) == 1
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert "does not answer: Connection refused" in line
    assert "secret" not in line
    assert printed.out == ""


@pytest.mark.parametrize("limit", ["page._PATIENCE", "top.LONGEST"])
def test_once_while_the_server_hangs(
    page: Site, limit: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No page is waited for without end: neither one that keeps silent nor one that never comes to its end."""
    monkeypatch.setattr(f"pgdbpool.command.{limit}", 0.2)
    page.silent.clear()
    assert main(["top", page.url, "--once"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_what_is_no_status_page(page: Site) -> None:
    """Another page is told in one line with what URL should be; the exit status is 2."""
    done = pgdbpool("top", f"http://127.0.0.1:{page.port}/")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"pgdbpool: http://127.0.0.1:{page.port}/stats.json: found 404 Not Found; "
        "URL must be where status_app is mounted, such as http://127.0.0.1:8080/pool/\n"
    )


def test_json(page: Site) -> None:
    """--json prints the figures as they are, in one document, and cannot command the terminal either."""
    document = figures(endpoints={"\x1b[2J": endpoint()})
    page.show(document)
    done = pgdbpool("top", page.url, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, document)
    assert "\x1b" not in done.stdout


def test_json_again_and_again(page: Site) -> None:
    """--json with --interval prints a line each time, tells a failure on standard error, goes on, and Ctrl-C ends it with 0."""
    command = [*INTERRUPTIBLE, "top", page.url, "--json", "--interval", "0.1"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), text=True, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert [json.loads(process.stdout.readline()) for _ in range(3)] == [figures()] * 3
        page.status = 500
        assert "does not work: 500 Internal Server Error" in process.stderr.readline()
        page.status = 200
        page.show(figures(pool="closed"))
        while json.loads(process.stdout.readline())["pool"] != "closed":
            pass
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=5)[0] is not None
        assert process.returncode == 0


def test_without_rich(page: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without rich it says what to install; --json needs none."""
    monkeypatch.setitem(sys.modules, "rich", None)
    assert main(["top", page.url]) == 2
    assert capsys.readouterr() == ("", "pgdbpool: top needs rich: pip install 'pgdbpool[top]'\n")
    assert main(["top", page.url, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == figures()
