"""What 1.0.2's users wrote runs unchanged: each program under both versions (contract §1; all of it: ``make dialect``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.contract.sentences import CONTRACT, sentences
from tests.dialect.__main__ import run
from tests.dialect.catalogue import ALL, CASES, DIFFERENCES, EXAMPLES, SHORT, Case
from tests.dialect.compare import Comparison, Stage, stage
from tests.dialect.versions import Missing, folder_of_old

REST = [case for case in ALL if case not in SHORT]


@pytest.fixture(scope="module")
def both() -> Iterator[Stage]:
    """Two servers; 1.0.2 is there."""
    try:
        folder_of_old()
    except Missing as missing:
        pytest.fail(str(missing))
    with stage() as on:
        yield on


@pytest.fixture(scope="module")
def short(both: Stage) -> dict[str, Comparison]:
    """The short form: a few seconds."""
    return {each.case.name: each for each in run(SHORT, both)}


@pytest.fixture(scope="module")
def rest(both: Stage) -> dict[str, Comparison]:
    """All other cases."""
    return {each.case.name: each for each in run(REST, both)}


def named(case: Case) -> str:
    return case.name


@pytest.mark.contract("1.p2.1", "1.p3.1", "1.p3.2")
@pytest.mark.parametrize("case", SHORT, ids=named)
def test_a_program_of_1_0_2(case: Case, short: dict[str, Comparison]) -> None:
    """What it prints, raises and commits, and its sessions per server are the same, but for what the contract names."""
    assert short[case.name].unexpected() == [], short[case.name].errors


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.contract("1.p2.1", "1.p3.1", "1.p3.2")
@pytest.mark.parametrize("case", REST, ids=named)
def test_another_program_of_1_0_2(case: Case, rest: dict[str, Comparison]) -> None:
    """The same for all others, those among them for which 1.0.2 waits for ever."""
    assert rest[case.name].unexpected() == [], rest[case.name].errors


@pytest.mark.contract("1.p3.2")
def test_every_difference_is_one_that_the_contract_names() -> None:
    """No case allows a difference without a sentence of the contract; each case is listed, and its program is there."""
    known = {sentence.id for sentence in sentences(CONTRACT.read_text(encoding="utf-8"))}
    assert [case.name for case in ALL if bool(case.differs) != bool(case.contract)] == []
    assert [case.name for case in ALL if not known.issuperset(case.contract)] == []
    assert [case.name for case in DIFFERENCES if not case.differs] == []
    assert len(EXAMPLES) > 20
    assert sorted(case.path for case in ALL) == sorted(CASES.glob("*.py"))


def test_a_difference_is_found(short: dict[str, Comparison]) -> None:
    """A case that allows another difference than there is, or none where there is one, is reported."""
    seen = short["rows_are_tuples"]
    for wrong in ({}, {"printed": (seen.old.printed, "something else")}, {**seen.case.differs, "sessions": ([1], [2])}):
        assert replace(seen, case=replace(seen.case, differs=wrong)).unexpected() != []
