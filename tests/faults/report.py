"""``doc/reliability.md``: all pools side by side, first in one table, then row by row."""

from __future__ import annotations

from tests.faults.measured import ALL, CONNECTIONS, IN_FLIGHT, LATE, NONE, Limits, Measured
from tests.faults.record import OURS, Record, worst
from tests.faults.rows import ROWS, Row
from tests.faults.words import in_short

__all__ = ["written"]

_BEGINNING = """# Reliability

What becomes of a web server's requests when its database fails, or the network before it: pgdbpool beside the other
pools and its own predecessor, all under the same fault at the same moment. `make faults` runs it with psycopg2's pool for
comparison, `make faults PEERS=1 SEEDS=5` with all of them, and writes this page.

{standing}

## In one table

✓ within the row's limits, ✗ not; then how many requests failed of how many, and how long the longest took; † marks a ledger
that is not exact: something is lost, twice or halved, or there although its writer was told that it had failed. A row without a
time is a script: how many of the cases that it tries did not end as they should. Of several seeds each figure is the worst.

{table}

{not_run}## What was run

{place}

**The load.** Each pool has a process of its own with {connections} connections, and 16 threads that ask every 80 ms:
60 % reads whose answer is known, 25 % inserts of a key that is used once, 15 % transfers between accounts whose sum must
stay 0. A row strikes all pools at once, on the same server, under this load. Where a row is a script, each pool runs the
same one.

**The limits that the pools are given.** 3.4 s to wait for a connection; 1.5 s for an answer where a pool knows such a limit
(pgdbpool: a `query_timeout` of 500 ms, and the second that its contract adds); `connect_timeout` 2 s. psycopg_pool is here with
and without its check at each checkout, SQLAlchemy with and without `pool_pre_ping`; psycopg2's pool, which does not wait, has a
semaphore around it. In all else they are as their documentation sets them up: pgdbpool, which sets limits of TCP by itself,
with shorter ones in 10a and 10b, the others with libpq's defaults. None but pgdbpool has a word for a write in doubt, so what
failed by theirs and is there nevertheless counts against the ledger.

**Several servers.** In rows 11 to 14, and in 32, there are a primary and two standbys. pgdbpool is given a list of the three
and finds out the rest; the others have libpq's own list of hosts with `target_session_attrs=read-write`, and where it is
reads that are struck, `prefer-standby` and `load_balance_hosts=random`. In 11 and 12 a tenth of the requests are reads in a
transaction, which no standby may answer.

**What is judged.** The limits of time are three times as long as in `make faults`, for all alike, because seven pools share the
machine and come back at the same moment. Of each row that has the load: the failures that it does not allow; the longest
request; the seconds from the end of the fault to the first success, and until nothing fails any more; whether all {connections}
connections can be held at once afterwards; what is left behind (sessions, open transactions, advisory locks, descriptors);
whether anything held the GIL for longer than 0.3 s; and the ledger: what was acknowledged is there exactly once, what failed is
not there, no transfer is there by half. `InDoubt` counts as a failure, of which the ledger allows either.

A row is only here because psycopg2's pool fails it: what no pool gets wrong would show nothing.

## Row by row
"""


def written(record: Record) -> str:
    """The page."""
    ran = [number for number in record.rows if not record.not_run(number)]
    not_run = [f"- {number} {ROWS[number].name}: {why}" for number in record.rows if (why := record.not_run(number))]
    beginning = _BEGINNING.format(
        standing=_standing(record, ran),
        table=_table(record, ran),
        not_run="".join(f"{line}\n" for line in ["Not run here:", "", *not_run, ""]) if not_run else "",
        place="\n".join(f"- {name}: {text}" for name, text in _place(record).items()),
        connections=CONNECTIONS,
    )
    return "\n".join([beginning, *(_details(record, ROWS[number]) for number in ran)])


def _place(record: Record) -> dict[str, str]:
    return {**record.place, "seeds": " ".join(map(str, record.seeds))}


def _worst(record: Record, number: str, peer: str) -> Measured | None:
    found = record.of(number, peer)
    return worst(found) if found else None


def _passes(record: Record, number: str, peer: str) -> bool:
    found = _worst(record, number, peer)
    return found is not None and not found.problems


def _standing(record: Record, ran: list[str]) -> str:
    """Where ours falls short, and which of the others do not."""
    short = [number for number in ran if not _passes(record, number, OURS)]
    if not short:
        return f"**pgdbpool is within the limits of all {len(ran)} rows, with every seed.**"
    said = [f"**pgdbpool is within the limits of {len(ran) - len(short)} of {len(ran)} rows.** It is not in:", ""]
    for number in short:
        better = [peer for peer in record.peers if _passes(record, number, peer)]
        others = f" ({', '.join(better)} {'is' if len(better) == 1 else 'are'} here)" if better else ""
        said.append(f"- {_link(ROWS[number])}{' (its script failed)' if record.is_broken(number) else others}")
    return "\n".join(said)


def _link(row: Row) -> str:
    heading = _heading(row)
    return f"[{heading}](#{heading.lower().replace(' ', '-')})"


def _heading(row: Row) -> str:
    return f"{row.number} {row.name}"


# -- the table


def _table(record: Record, ran: list[str]) -> str:
    lines = [["fault", *record.peers], ["---"] * (len(record.peers) + 1)]
    lines += [[_link(ROWS[number]), *(_cell(record, number, peer) for peer in record.peers)] for number in ran]
    lines += [["**within the limits**", *(f"**{_count(record, ran, peer)}**" for peer in record.peers)]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _count(record: Record, ran: list[str], peer: str) -> str:
    part = [number for number in ran if record.of(number, peer)]
    return f"{sum(_passes(record, number, peer) for number in part)} of {len(part)}"


def _cell(record: Record, number: str, peer: str) -> str:
    found = _worst(record, number, peer)
    if found is None:
        return "–"
    wait = "" if "cases" in found.facts else f", {found.worst:.1f} s"
    ledger = "" if found.ledger in ("", "exact") else " †"
    return f"{'✗' if found.problems else '✓'} {found.failed}/{found.requests}{wait}{ledger}"


# -- row by row


def _details(record: Record, row: Row) -> str:
    shown = {peer: found for peer in record.peers if (found := _worst(record, row.number, peer))}
    is_script = any("cases" in found.facts for found in shown.values())
    allowed = "every case ends as it should" if is_script else _allowed(row.limits)
    lines = [f"### {_heading(row)}", "", row.sentence, "", f"Allowed: {allowed}.", ""]
    lines += [f"- **{peer}** {_shown(found, record.of(row.number, peer))}" for peer, found in shown.items()]
    return "\n".join([*lines, ""])


def _allowed(limits: Limits) -> str:
    """What a row allows, in words; the GIL's limit is the same in all."""
    begins = f"later than {limits.clean:g} s after the end" if limits.clean else "after the end"
    awaited = "write" if limits.written else "request"
    said = {
        _may_fail(limits.failed): True,
        f"no request takes longer than {limits.told:g} s": True,
        f"the first {awaited} succeeds {limits.back:g} s after the end of the fault at the latest": True,
        f"what begins {begins} does not fail": True,
        f"at most {limits.attempts} attempts to connect fail meanwhile": limits.attempts is not None,
        f"not more than {limits.rate or 0:g} attempts to connect fail in a second": limits.rate is not None,
        f"what fails later says `{limits.says}`": limits.says,
        f"no error says `{limits.never}`": limits.never,
        f"the 99th percentile of the requests' times is not more than {limits.slower or 0:g} × as long": limits.slower,
    }
    return "; ".join(text for text, holds in said.items() if holds)


def _may_fail(failed: str | int) -> str:
    under_way = f"of the requests under way when the fault strikes one for each connection fails ({CONNECTIONS})"
    words = {NONE: "no request fails", ALL: "requests fail as long as the fault lasts", IN_FLIGHT: under_way}
    return {**words, LATE: f"{under_way}, and what has waited until its limit"}.get(
        str(failed), f"{failed} requests fail"
    )


def _shown(found: Measured, seeds: list[Measured]) -> str:
    """A pool's line or two: what it did not keep, and its most frequent errors."""
    if not found.problems:
        back = "" if found.back is None or "cases" in found.facts else f"; back after {found.back:.2f} s"
        return f"is within the limits{back}"
    bad = sum(bool(each.problems) for each in seeds)
    words = [in_short(each) for each in found.problems]
    more = f"; and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    errors = [f"`{in_short(error).replace('`', '')}` ({number})" for error, number in found.facts.get("errors", ())][:2]
    of = f" (with {bad} of {len(seeds)} seeds)" if 0 < bad < len(seeds) else ""
    return f"fails{of}: {'; '.join(words[:_SHOWN])}{more}" + (f". Most frequent: {', '.join(errors)}" if errors else "")


_SHOWN = 3  # problems of one pool
