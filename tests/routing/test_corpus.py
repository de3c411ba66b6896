"""What goes to a standby, judged by the servers' own answers to a corpus of statements (contract §5)."""

from __future__ import annotations

import re
from contextlib import ExitStack, closing
from typing import NamedTuple

import pytest
from psycopg2.extensions import make_dsn

from tests.life import thread_of
from tests.routing import schema
from tests.routing.corpus import CORPUS, FOUND_OUT, HIDDEN, OF_THE_SERVER, PLAIN, Case
from tests.routing.judge import Seen, compare, differs, keep, session
from tests.routing.where import Sent, Wired
from tests.servers import ROLE, eventually
from tests.several import Replicas

pytestmark = [pytest.mark.contract("5.target-auto.2"), pytest.mark.timeout(180)]


class Played(NamedTuple):
    """A statement, what the servers showed of it, and what the pool did with it."""

    case: Case
    seen: Seen
    sent: Sent

    @property
    def of_the_server(self) -> bool:
        return any(re.search(rf"\b{name}\(", str(self.case.text)) for name in OF_THE_SERVER)


@pytest.fixture(scope="module")
def played(home: Replicas) -> list[Played]:
    """All of them, by the servers first; the plain reads by the pool before anything is changed."""
    return play(home, PLAIN, [*CORPUS[len(PLAIN) :], *_elsewhere(home)])


def play(home: Replicas, plain: list[Case], others: list[Case]) -> list[Played]:
    cases = [*plain, *others]
    seen = compare(home, cases)
    with Wired(home) as wired:
        wired.learn(cases)
        sent = [wired.send(case) for case in plain]
        keep(home, cases, seen)
        sent += [_sent(wired, case) for case in others]
    return [Played(*each) for each in zip(cases, seen, sent, strict=True)]


def _elsewhere(home: Replicas) -> list[Case]:
    """A read that writes by a connection of its own, where the server has the extension."""
    if not home.primary.sql("SELECT 1 FROM pg_available_extensions WHERE name = 'dblink'"):
        return []
    home.primary.sql("CREATE EXTENSION dblink SCHEMA web")
    text = "SELECT n FROM dblink(%s, $$INSERT INTO scratch VALUES (11, 'x') RETURNING 1$$) AS t(n int)"
    return [Case(text, (make_dsn(**home.primary.dsn()),))]


def _sent(wired: Wired, case: Case) -> Sent:
    wired.learn([case])  # one before it may have changed what names stand for
    return wired.send(case)


def shown(found: list[Played]) -> str:
    """One on each line, for a test to say that there is none."""
    return "\n".join(f"{each.case}: {each.seen.against() or 'harmless'}, {each.sent}"[:400] for each in found)


def test_the_corpus_is_large(played: list[Played]) -> None:
    """At least 200 statements, no two alike, many of which the servers forbid on a standby and many of which they do not."""
    assert len({(type(case.text), repr(case)) for case in CORPUS}) == len(CORPUS) >= 220
    forbidden = [each for each in played if each.seen.against()]
    assert len(forbidden) >= 150
    assert len(played) - len(forbidden) >= 100


def test_nothing_goes_wrong_on_a_standby(played: list[Played]) -> None:
    """What changes something or is answered otherwise is not sent to a standby, unless it asks about the server itself."""
    wrong = [each for each in played if each.sent.to_standby and each.seen.against() and not each.seen.refused]
    assert shown([each for each in wrong if not each.of_the_server]) == ""


@pytest.mark.parametrize("kind", list(HIDDEN))
def test_nothing_hidden_goes_wrong_on_a_standby(home: Replicas, kind: str) -> None:
    """Nor what changes something by a function that the text does not name."""
    with closing(session(home.primary)) as own, own.cursor() as cursor:
        cursor.execute(f"SET search_path = hidden, web; {schema.HIDDEN[kind]}")
    try:
        hidden = play(home, [], HIDDEN[kind])
    finally:
        home.primary.sql(f"DROP SCHEMA hidden CASCADE; CREATE SCHEMA hidden AUTHORIZATION {ROLE}")
    assert shown([each for each in hidden if not each.seen.against()]) == ""
    assert shown([each for each in hidden if each.sent.to_standby]) == ""


def test_a_standby_refuses_only_what_nobody_could_know(played: list[Played]) -> None:
    """Of what a standby refuses it gets no more than what the catalog vouches for, and nobody sees the refusal."""
    refused = [each for each in played if each.seen.refused]
    assert {str(each.case) for each in refused if each.sent.to_standby} <= set(FOUND_OUT)
    assert shown([each for each in refused if each.sent.answer == each.seen.there]) == ""


def test_plain_reads_go_to_standbys(played: list[Played]) -> None:
    """A plain read is answered by a standby alone, and the servers agree that it is one."""
    plain = [each for each in played if each.case in PLAIN]
    assert shown([each for each in plain if each.seen.against()]) == ""
    assert shown([each for each in plain if each.sent.servers not in [("standby1",), ("standby2",)]]) == ""


def test_the_answer_is_the_primarys(played: list[Played]) -> None:
    """What a standby answers to a plain read is what the primary answers."""
    plain = [each for each in played if each.case in PLAIN]
    assert shown([each for each in plain if differs(each.seen.here, each.seen.again, each.sent.answer)]) == ""
    assert shown([each for each in plain if each.sent.answer[0] == "error"]) == ""


def test_each_exception_is_one(played: list[Played]) -> None:
    """No function is excused whose answer is the same everywhere."""
    differing = [str(each.case.text) for each in played if each.seen.against().startswith("differs")]
    assert [name for name in OF_THE_SERVER if not any(f"{name}(" in text for text in differing)] == []


def test_a_process_of_the_primary(home: Replicas) -> None:
    """Who is in the way of one of the primary's processes is asked of the primary."""
    with ExitStack() as stack:
        holder, waiter = (stack.enter_context(closing(session(home.primary))) for _ in range(2))
        holder.cursor().execute("SELECT pg_advisory_lock(77)")
        waiting = thread_of(waiter.cursor().execute, "SELECT pg_advisory_lock(77)")
        pid = waiter.info.backend_pid
        assert eventually(lambda: home.primary.sql("SELECT pg_blocking_pids(%s) <> '{}'", (pid,)) == [(True,)])
        case = Case("SELECT pg_blocking_pids(%s)", (pid,))
        [seen] = compare(home, [case])
        with Wired(home) as wired:
            wired.learn([case])
            sent = wired.send(case)
        holder.cursor().execute("SELECT pg_advisory_unlock(77)")
        assert waiting.result().error is None
    assert differs(seen.here, seen.again, seen.there)
    assert (sent.answer, sent.servers) == (seen.here, ("primary",))
