"""The parts of the view, made of a status page's figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import compress, islice
from typing import Any, NamedTuple

from rich.table import Table
from rich.text import Text

from pgdbpool.command.findings import STATES
from pgdbpool.command.words import NONE, count, octets, percent, place, rate, reason, seconds

STYLES = {"bad": "bold red", "warn": "yellow", "note": "cyan", "good": "green"}
# Columns of a screen with room for more than what matters most, for everything, and for folders too.
_SMALL, _WIDE, _WIDEST = 72, 110, 140
_MOST_EVENTS = 20

Figures = Mapping[str, Any]


class Column(NamedTuple):
    """``least``: how wide the screen is where it is shown; ``gives_way``: cut, where there is no room for all of it."""

    name: str
    number: bool = False
    least: int = 0
    gives_way: bool = False


class Row(NamedTuple):
    style: str
    cells: Sequence[str]


_GROUPS = (
    Column("group"),
    Column("in use", number=True),
    Column("idle", number=True, least=_SMALL),
    Column("waiting", number=True),
    Column("of", number=True),
    Column("wait p50", number=True, least=_WIDE),
    Column("wait p95", number=True),
    Column("p99", number=True, least=_WIDE),
    Column("hold p50", number=True, least=_WIDE),
    Column("hold p95", number=True),
    Column("p99", number=True, least=_WIDE),
    Column("rate", number=True, least=_SMALL),
    Column("timeouts", number=True, least=_SMALL),
)
_SERVERS = (
    Column("server"),
    Column("role"),
    Column("state"),
    Column("lag", number=True),
    Column("reads", number=True, least=_SMALL),
    Column("connections", number=True, least=_SMALL),
    Column("errors", number=True),
    Column("last error", least=_WIDE, gives_way=True),
)
_HOLDERS = (
    Column("held", number=True),
    Column("group", least=_WIDE),
    Column("server", least=_WIDE),
    Column("worker", number=True, least=_WIDE),
    Column("taken at", gives_way=True),
    Column("now at", gives_way=True),
    Column("pid", number=True, least=_SMALL),
    Column("PostgreSQL", gives_way=True),
    Column("blocked by", gives_way=True),
)
_EVENTS = (Column("time"), Column("about"), Column("event", gives_way=True))


def groups(figures: Figures, width: int) -> Table:
    """How many connections are in use, how long requests wait for them and hold them."""
    return _table(width, _GROUPS, (_group(name, each) for name, each in figures["groups"].items()))


def _group(name: str, group: Figures) -> Row:
    now = [count(group[each]) for each in ("in_use", "idle", "waiting", "connection_count")]
    lasted = [seconds(group[what][each]) for what in ("wait", "hold") for each in ("p50", "p95", "p99")]
    cells = [name, *now, *lasted, rate(group["hold"]["rate"]), count(group["timeouts"])]
    return Row(STYLES["warn"] if group["waiting"] else "", cells)


def servers(figures: Figures, width: int) -> Table:
    """What each server is, how far behind, and what it does for the pool."""
    return _table(width, _SERVERS, (_server(label, each) for label, each in figures["endpoints"].items()))


def _server(label: str, each: Figures) -> Row:
    known = each["role"] == "standby" and each["lag_seconds"] is not None
    lag = f"{seconds(each['lag_seconds'])} {octets(each['lag_bytes'])}" if known else NONE
    numbers = [percent(each["share"]), count(each["connections"]), count(each["connect_errors"])]
    style = STYLES[STATES[each["state"]][0]] if each["state"] in STATES else ""
    return Row(style, [label, each["role"], each["state"], lag, *numbers, reason(each["last_error"] or "")])


def holders(figures: Figures, width: int) -> Table | Text:
    """The connections held now, longest first: who has them, where that is now, what PostgreSQL says, who is in the way."""
    if not figures["holders"]:
        return Text("nobody holds a connection now", style="dim")
    return _table(width, _HOLDERS, (_holder(each, width >= _WIDEST) for each in figures["holders"]))


def _holder(each: Figures, folders: bool) -> Row:
    since = f" {seconds(each['state_seconds'])}" if each["state_seconds"] is not None else ""
    waits = f", waits for {each['waits_for']}" if each["waits_for"] else ""
    doing = f"{each['state']}{since}{waits}" if each["state"] else NONE
    blockers = ", ".join(_blocker(other, folders) for other in each["blocked_by"])
    whose = (each["group"], each["server"], str(each["worker"]))
    places = (_place(each["taken"], folders), _place(each["now"], folders))
    cells = (seconds(each["seconds"]), *whose, *places, str(each["backend_pid"]), doing, blockers)
    return Row(STYLES["warn"] if blockers else "", cells)


def _blocker(each: Figures, folders: bool) -> str:
    return f"pid {each['pid']} {each['who']}" + (f" {_place(each['place'], folders)}" if each["place"] else "")


def _place(text: str | None, folders: bool) -> str:
    return place(text) if folders else place(text).rpartition("/")[2]


def events(figures: Figures, width: int) -> Table | Text:
    """What happened last, newest first."""
    if not figures["events"]:
        return Text("no event yet", style="dim")
    return _table(width, _EVENTS, map(_event, islice(reversed(figures["events"]), _MOST_EVENTS)))


def _event(each: Figures) -> Row:
    at = datetime.fromtimestamp(each["at"]).strftime("%H:%M:%S")
    workers = f" ({each['workers']} workers)" if each["workers"] > 1 else ""
    return Row("", [at, each["about"], f"{each['kind']}: {each['text']}{workers}"])


def advice(figures: Figures, width: int) -> Text:
    lines = [Text(each) for each in figures["advice"]]
    return Text("\n").join([Text("advice", style="bold"), *lines]) if lines else Text()


PARTS = (groups, servers, holders, events, advice)


def _table(width: int, columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    shown = [width >= each.least for each in columns]
    for each in compress(columns, shown):
        table.add_column(each.name, justify="right" if each.number else "left", no_wrap=not each.gives_way)
    for row in rows:
        cells = (Text(each, no_wrap=True, overflow="ellipsis") for each in compress(row.cells, shown))
        table.add_row(*cells, style=row.style)
    return table
