"""The ties between the contract's sentences and the tests."""

from __future__ import annotations

from .sentences import CONTRACT, LATER, named_by_tests, sentences

KNOWN = sentences(CONTRACT.read_text(encoding="utf-8"))


def test_every_id_is_unique() -> None:
    """No two sentences of the contract share an id."""
    ids = [sentence.id for sentence in KNOWN]
    assert sorted({id_ for id_ in ids if ids.count(id_) > 1}) == []


def test_tests_name_sentences_that_exist() -> None:
    """An id in ``@pytest.mark.contract`` is a sentence of doc/contract.md."""
    unknown = {id_: tests for id_, tests in named_by_tests().items() if id_ not in {sentence.id for sentence in KNOWN}}
    assert unknown == {}


def test_the_list_of_later_sentences_is_not_stale() -> None:
    """Each entry of the list of what comes later still stands for a sentence."""
    assert set(LATER.values()) - {sentence.later for sentence in KNOWN} == set()
    starts = [start.rstrip(".") + "." for start in LATER]
    assert [start for start in starts if not any(f"{s.id}.".startswith(start) for s in KNOWN)] == []


def test_code_and_table_cells_are_read_as_they_stand() -> None:
    """Examples are no sentences, a stop or a bar inside code ends nothing, and a row is called after its first name."""
    text = "## 9. T\n\nOne `a. B`. Two.\n\n```python\nx. Y\n```\n\n"
    text += "| call | does |\n|---|---|\n| `f(a | b) -> X` | it. So |\n"
    assert [(s.id, s.text) for s in sentences(text)] == [
        ("9.p1.1", "One `a. B`."),
        ("9.p1.2", "Two."),
        ("9.call.f.1", "`f(a | b) -> X` it."),
        ("9.call.f.2", "So"),
    ]
