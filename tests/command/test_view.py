"""What ``top`` shows of given figures."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from pgdbpool.command.dashboard import Dashboard
from pgdbpool.command.failing import Wrong
from pgdbpool.command.findings import findings
from pgdbpool.command.page import Page

from .pages import endpoint, figures, group, holder, server_of_group

STANDBY = {"role": "standby", "lag_seconds": 0.02, "lag_bytes": 4096, "share": 0.97, "connections": 3}
DOWN = {"state": "down", "last_error": 'connection to server at "db2", port 5432 failed: Connection refused'}


def shown(document: Any, width: int = 150, height: int | None = None) -> list[str]:
    """The lines that a terminal of this size gets."""
    console = Console(file=io.StringIO(), width=width, height=height or 1000)
    dashboard = Dashboard(Page("http://127.0.0.1/pool/"))
    dashboard.show(document)
    options = console.options.update(height=height)
    return ["".join(part.text for part in line).rstrip() for line in console.render_lines(dashboard, options)]


def row(lines: list[str], name: str) -> list[str]:
    """The cells of the row of that name."""
    return next(line.split() for line in lines if line.startswith(f"{name}  "))


def worst(**changes: Any) -> str:
    return findings(figures(**changes))[0].text


def test_groups() -> None:
    """A group's row has connections in use, idle and of how many, who waits, times, rate and timeouts."""
    crowded = group(connection_count=24, in_use=13, idle=9, waiting=5, timeouts=3)
    lines = shown(figures(groups={"web": crowded}))
    assert row(lines, "web") == "web 13 9 5 24 0 ms 0 ms 1.0 ms 4.0 ms 20 ms 300 ms 15/s 3".split()


def test_servers() -> None:
    """A server's row has its role, state, lag, share of the reads, connections, errors and the last one's words."""
    down = endpoint(**DOWN, role="unknown", lag_seconds=None, lag_bytes=None, connections=0, connect_errors=31)
    lines = shown(
        figures(endpoints={"db1:5432": endpoint(share=0.03), "db2:5432": endpoint(**STANDBY), "db3:5432": down})
    )
    assert row(lines, "db1:5432") == "db1:5432 primary up – 3% 4 0".split()
    assert row(lines, "db2:5432") == "db2:5432 standby up 20 ms 4.1 kB 97% 3 0".split()
    assert row(lines, "db3:5432") == "db3:5432 unknown down – 0% 0 31 connection refused".split()


def test_connections_held_now() -> None:
    """It says for how long, where it was taken, where the thread stands, what PostgreSQL does, and who blocks it."""
    blocker = {"pid": 4242, "who": "pgdbpool:web", "place": "/app/shop/store.py:42 (order)"}
    waits = holder(
        seconds=12.1, state_seconds=12.0, waits_for="Lock: transactionid", backend_pid=4243, blocked_by=[blocker]
    )
    unknown = holder(seconds=0.4, taken=None, state=None, state_seconds=None, server="db2:5432")
    lines = shown(figures(holders=[waits, unknown]), width=200)
    (first,) = [line for line in lines if line.startswith("12.1 s")]
    (second,) = [line for line in lines if line.startswith("400 ms")]
    for text in ("web", "db1:5432", "4711", "shop/store.py:42 (order)", "shop/mail.py:17 (send)", "4243"):
        assert text in first
    assert "active 12.0 s, waits for Lock: transactionid" in first
    assert first.endswith("pid 4242 pgdbpool:web shop/store.py:42 (order)")
    assert "db2:5432    4711  –" in second


def test_events_and_advice() -> None:
    """The last events come newest first, with how many workers saw them; advice has its own lines."""
    events = [{"at": at, "kind": "down", "about": "db2:5432", "text": f"no. {at}", "workers": at} for at in (1, 2)]
    lines = shown(figures(events=events, advice=["group 'web': 6 in place of 4"]))
    told = [line for line in lines if "db2:5432" in line]
    assert [line.partition("down: ")[2] for line in told] == ["no. 2 (2 workers)", "no. 1"]
    assert lines[lines.index("advice") + 1] == "group 'web': 6 in place of 4"


FULL = {"db1:5432": server_of_group(4, 0)}
WAITING = {"web": group(in_use=4, idle=0, waiting=5, waiting_for=0.8, servers=FULL)}
BLOCKED = [holder(blocked_by=[{"pid": 7, "who": "psql", "place": None}], backend_pid=pid) for pid in (1, 2)]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "All is well: 0 of 4 connections in use, nobody waits for long"),
        ({"pool": "none", "groups": {}, "endpoints": {}, "workers": []}, "No pool has been made yet"),
        ({"pool": "closed"}, "The pool is closed"),
        ({"pool": "not ready", "groups": {"web": group(unserved="none is up")}}, "No server can serve web now"),
        (
            {"groups": WAITING, "holders": [holder(seconds=31.8)]},
            "5 requests wait for a connection of web, the first for 800 ms: all 4 are in use; "
            "longest held 31.8 s at shop/store.py:42 (order)",
        ),
        (
            {"groups": {"web": group(waiting=1, waiting_for=0.2, opening=2)}},
            "1 request waits for a connection of web, for 200 ms: 2 being opened",
        ),
        ({"groups": {"web": group(waiting=1, waiting_for=0.01)}}, "All is well"),
        ({"endpoints": {"db2:5432": endpoint(**DOWN)}}, "db2:5432 is down: connection refused"),
        ({"endpoints": {"a": endpoint(state="silent"), "b": endpoint(**STANDBY)}}, "a does not answer"),
        ({"endpoints": {"a": endpoint(state="drained"), "b": endpoint()}}, "a is drained"),
        ({"endpoints": {"a": endpoint(**{**STANDBY, "lag_seconds": 90.0})}}, "a is 90.0 s (4.1 kB) behind"),
        ({"holders": BLOCKED}, "2 connections to db1:5432 wait for a lock of psql (pid 7)"),
        (
            {"holders": [holder(state="idle in transaction", state_seconds=12.0)]},
            "A transaction of web has been idle for 12.0 s at shop/store.py:42 (order)",
        ),
        ({"alone": "the folder is not writable"}, "Figures of this worker only: the folder is not writable"),
    ],
)
def test_the_worst_thing_going_on(changes: dict[str, Any], text: str) -> None:
    """It stands first, in plain words."""
    assert worst(**changes).startswith(text)
    assert text.split(":")[0] in " ".join(" ".join(shown(figures(**changes))[1:3]).split())


def test_the_worst_comes_before_what_is_less_bad() -> None:
    """Of several findings what hurts stands before what may hurt; a missing primary is said beside the server that is down."""
    servers = {"a": endpoint(state="unknown", role="unknown"), "b": endpoint(**DOWN), "c": endpoint(**STANDBY)}
    found = findings(figures(endpoints=servers, groups=WAITING, alone="so it is"))
    assert [each.level for each in found] == ["bad", "bad", "bad", "warn", "note", "good"]
    assert "No primary is up: nothing can be written" in [each.text for each in found]


def test_requests_that_waited_in_vain() -> None:
    """Timeouts of the last minute are told, those before it are not; what is not known of the history counts as none."""
    for points, told in (([0] * 20, 0), ([5, *[0] * 12], 0), ([5, 1, *[0] * 8, None, 2], 8), ([1], 1)):
        history = {"step": 5, "end": 1732224000, "groups": {"web": {"timeouts": points}}}
        said = f"{told} request{'' if told == 1 else 's'} waited for a connection of web in vain in the last minute"
        assert (said in [each.text for each in findings(figures(history=history))]) == bool(told), points


def test_nothing_in_the_figures_commands_the_terminal() -> None:
    """Escape sequences, other control characters and signs that turn the text around are shown, wherever they stand."""
    evil = "\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e[bold]x"
    other = {"pid": 1, "who": evil, "place": evil}
    document = figures(
        groups={evil: group(servers={evil: server_of_group(4, 0)}, waiting=1, waiting_for=9.0)},
        endpoints={evil: endpoint(state="down", last_error=evil)},
        holders=[holder(group=evil, server=evil, taken=evil, now=evil, state=evil, waits_for=evil, blocked_by=[other])],
        events=[{"at": 1.0, "kind": evil, "about": evil, "text": evil, "workers": 1}],
        advice=[evil],
        alone=evil,
    )
    text = "\n".join(shown(document, width=900))
    assert [each for each in text if not each.isprintable() and each != "\n"] == []
    assert text.count(r"\x1b]0;owned\x07\x1b[2J\r\x9b31m\u202e[bold]x") > 12


@pytest.mark.parametrize(
    ("width", "height"), [(200, 60), (110, 24), (80, 24), (80, 10), (80, 1), (60, 24), (30, 10), (5, 3)]
)
def test_it_fits(width: int, height: int) -> None:
    """No line is longer than the screen is wide, nor are there more than it has; the first says what is the matter."""
    document = figures(
        groups={f"group {number}": group() for number in range(7)} | WAITING,
        endpoints={f"server-{number}.example.com:5432": endpoint(**STANDBY) for number in range(5)},
        holders=[holder() for _ in range(50)],
        events=[{"at": 1.0, "kind": "down", "about": "x" * 40, "text": "y" * 400, "workers": 2}] * 9,
        advice=["z" * 300],
    )
    lines = shown(document, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    if width >= 80 and height >= 10:
        assert "5 requests wait for a connection of web" in lines[1]
        assert any(line.startswith("group") for line in lines)
    if width >= 80 and height >= 24:
        assert any(" more" in line for line in lines)


@pytest.mark.parametrize(
    "broken",
    [{"groups": []}, {"groups": {"web": {}}}, {"endpoints": {"a": None}}, {"events": [{"at": "x"}]}, {"advice": 1}],
)
def test_figures_that_cannot_be_read(broken: dict[str, Any]) -> None:
    """Figures of another shape are told as such in place of a traceback."""
    with pytest.raises(Wrong, match="another version"):
        shown(figures(**broken))
