"""Any servers: what must hold of where requests go, whatever is known of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgdbpool.waiting import View
from pgdbpool.waiting.routing import aim
from tests.fuzz import fuzz

WRITING = ("primary", "read-write")
needs = st.sampled_from(["any", *WRITING, "standby", "read-only", "prefer-standby"])
views = st.builds(
    View,
    role=st.sampled_from(["unknown", "primary", "standby"]),
    read_only=st.booleans(),
    there=st.booleans(),
    away=st.booleans(),
    silent=st.booleans(),
    full=st.booleans(),
    drained=st.sampled_from([False, False, True]),
    weight=st.sampled_from([0.0, 0.1, 1.0, 3.0]),
    identity=st.sampled_from([None, None, "a", "b"]),
    fixed=st.booleans(),
    foreign=st.sampled_from([False, False, True]),
    fenced=st.sampled_from([False, False, True]),
    lagging=st.sampled_from([False, False, True]),
)
servers = st.lists(views, max_size=5)


def _may(need: str, view: View) -> bool:
    """Whether a server of our cluster and that role is one for this need (libpq's words), or may turn out to be."""
    if need == "any":
        return True
    if view.foreign or view.fenced:
        return False
    if need == "prefer-standby" or view.role == "unknown":
        return True
    if need == "read-only":
        return view.role == "standby" or view.read_only
    return view.role == ("standby" if need == "standby" else "primary") and not (
        need == "read-write" and view.read_only
    )


def _is_late(need: str, view: View) -> bool:
    return need not in ("any", *WRITING) and view.role == "standby" and view.lagging


@pytest.mark.contract("3.group.target.1", "5.eligible.1")
@fuzz(150, 10_000)
@given(needs, servers)
def test_only_who_may_serve_serves(need: Any, known: list[View]) -> None:
    """Never a drained, foreign, fenced or late server, or one of the wrong role; one that is there goes before others."""
    found = aim(need, known)
    fit = [i for i, view in enumerate(known) if _may(need, view)]
    usable = [i for i in fit if not known[i].drained]
    timely = [i for i in usable if not _is_late(need, known[i])]
    assert {*found.keep} <= {*usable}
    assert {*found.serve} <= {*timely}
    assert {*fit} <= {*found.hope}
    assert bool(found.keep) == bool(usable)
    late = {known[i].identity for i in usable if i not in timely} - {None}  # whose other addresses are as late
    assert found.serve or all(known[i].identity in late for i in timely)
    there = [i for i in found.serve if known[i].there]
    assert there in ([], list(found.serve))
    if any(known[i].there and known[i].identity not in late for i in timely):
        assert there
        assert len(found.serve) == 1 or need not in WRITING
    for each in found:
        assert list(each) == sorted(set(each))


@pytest.mark.contract("5.target-any.1")
@fuzz(150, 10_000)
@given(needs, servers, st.data())
def test_what_does_not_matter_changes_nothing(need: Any, known: list[View], data: st.DataObject) -> None:
    """A drained server more, for ``any`` all but health, for writing the weights, and the order of those that read."""
    found = aim(need, known)
    drained = replace(data.draw(views), drained=True)
    assert aim(need, [*known, drained])[:2] == found[:2]
    if need == "any":
        others = data.draw(st.lists(views, min_size=len(known), max_size=len(known)))
        kept = ("there", "away", "silent", "full", "drained", "weight")
        others = [
            replace(other, **{name: getattr(view, name) for name in kept})
            for view, other in zip(known, others, strict=True)
        ]
        assert aim(need, others)[:2] == found[:2]
    elif need in WRITING:
        assert aim(need, [replace(view, weight=1.0) for view in known]) == found
    if need not in WRITING:
        alone = [replace(view, identity=None) for view in known]
        order = data.draw(st.permutations(range(len(known))))
        moved = aim(need, [alone[i] for i in order])
        assert [sorted(order[i] for i in each) for each in moved] == [list(each) for each in aim(need, alone)]


@pytest.mark.contract("3.endpoint.weight.1")
@fuzz(150, 10_000)
@given(needs, servers)
def test_who_has_no_weight_reads_last(need: Any, known: list[View]) -> None:
    """A server of weight 0 serves reads only where every other one that may is not there."""
    if need in WRITING:
        return
    alone = [replace(view, identity=None) for view in known]
    serve = aim(need, alone).serve
    others = [view for i, view in enumerate(alone) if i not in serve and _may(need, view) and not view.drained]
    others = [view for view in others if not _is_late(need, view)]
    if any(alone[i].weight == 0 and alone[i].there for i in serve):
        assert not any(view.there and view.weight for view in others)
