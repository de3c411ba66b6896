"""What a standby refuses for being one is run on the primary, and remembered (contract §5)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.routing.corpus import FOUND_OUT, Case
from tests.routing.where import Wired
from tests.several import Replicas

pytestmark = pytest.mark.contract("5.target-auto.3")

# Functions that the catalog calls stable, by the SQLSTATE of a standby.
STABLE = """
CREATE FUNCTION refused_{code}() RETURNS text STABLE LANGUAGE plpgsql AS $$
BEGIN
  IF pg_is_in_recovery() THEN RAISE EXCEPTION 'not here' USING ERRCODE = '{code}'; END IF;
  RETURN 'here';
END$$
"""
CODES = ["25006", "0A000", "55000", "XX000"]


@pytest.fixture(scope="module")
def wired(home: Replicas) -> Iterator[Wired]:
    """A pool over the replicas, and functions that a standby refuses to run, each by another code."""
    home.primary.sql("SET search_path = web;" + ";".join(STABLE.format(code=code) for code in [*CODES, "22012"]))
    home.primary.sql(
        "CREATE FUNCTION web.place() RETURNS text STABLE LANGUAGE sql AS 'SELECT pg_current_wal_lsn()::text'"
    )
    home.caught_up()
    with Wired(home) as made:
        yield made


@pytest.mark.parametrize("text", [*FOUND_OUT, "SELECT place()", *(f"SELECT refused_{code}()" for code in CODES)])
def test_a_refusal_is_seen_by_nobody(wired: Wired, text: str) -> None:
    """It was tried on one standby and then run on the primary, once each; from then on only on the primary."""
    case = Case(text)
    wired.learn([case])
    first, second = wired.send(case), wired.send(case)
    assert first.servers in [("primary", "standby1"), ("primary", "standby2")]
    assert second.servers == ("primary",)
    assert "error" not in (first.answer[0], second.answer[0])


def test_what_the_primary_refuses_too_is_its_error(wired: Wired) -> None:
    """The user sees the primary's answer, which is an error of its own, after one attempt on each."""
    case = Case("SELECT * FROM empty_summary")
    wired.learn([case])
    first, second = wired.send(case), wired.send(case)
    assert (first.answer, second.answer) == (("error", "55000"), ("error", "55000"))
    assert len(first.servers) == 2
    assert second.servers == ("primary",)


@pytest.mark.parametrize("text", ["SELECT 1 / (id - id) FROM item", "SELECT refused_22012()"])
def test_any_other_error_is_the_answer(wired: Wired, text: str) -> None:
    """What fails on a standby for a reason of its own is not tried elsewhere."""
    case = Case(text)
    wired.learn([case])
    sent = wired.send(case)
    assert sent.answer == ("error", "22012")
    assert sent.servers in [("standby1",), ("standby2",)]


def test_what_is_not_there_yet_is_asked_of_the_primary(home: Replicas, wired: Wired) -> None:
    """A table that a standby does not show yet is read on the primary, and soon from a standby again."""
    case = Case("SELECT n FROM just_made")
    try:
        for standby in home.standbys:
            standby.sql("SELECT pg_wal_replay_pause()")
        home.primary.sql(
            "SET search_path = web; CREATE TABLE just_made AS SELECT 1 AS n; GRANT SELECT ON just_made TO web"
        )
        wired.learn([case])
        early = wired.send(case)
    finally:
        for standby in home.standbys:
            standby.sql("SELECT pg_wal_replay_resume()")
    home.caught_up()
    assert early.answer[1] == (("1",),)
    assert len(early.servers) == 2
    assert wired.send(case).servers in [("standby1",), ("standby2",)]


def test_a_primarys_refusal_is_an_error(wired: Wired) -> None:
    """25006 is no sign of a standby where the server does not report to be one: it is the statement's error."""
    case = Case("DO $$BEGIN RAISE read_only_sql_transaction; END$$")
    sent = wired.send(case)
    assert (sent.answer, sent.servers) == (("error", "25006"), ("primary",))
