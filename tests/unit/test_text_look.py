"""What ``text.look`` says in words, and how it is bounded."""

from __future__ import annotations

import threading
import time

import pytest

from pgdbpool.text import LEAVES_NOTHING, READING, Verdict, look, verdict


@pytest.mark.parametrize(
    ("text", "keyword"),
    [
        ("", ""),
        ("-- nothing", ""),
        ("select 1", "SELECT"),
        ("((Select 1))", "SELECT"),
        ("/* a */ with x as (select 1) select 2", "WITH"),
        (";; vacuum t; select 1", "VACUUM"),
        ("SELECT 'a", "SELECT"),
        ("%s", ""),
        ('"select" 1', ""),
    ],
)
def test_keyword_is_the_first_of_the_first_statement(text: str, keyword: str) -> None:
    """The keyword is in upper case, whatever stands in front of it."""
    assert look(text).keyword == keyword


@pytest.mark.parametrize(
    ("text", "functions"),
    [
        ("SELECT lower(a), Leak(1), leak (2) FROM t", {"leak"}),
        ('SELECT Public.F(1), "Leak"(1), "a""b"(1)', {"public.f", "Leak", 'a"b'}),
        ("SELECT pg_catalog.nextval('s'), nextval('s')", {"pg_catalog.nextval", "nextval"}),
        ("SELECT LÖWE(1)", {"lÖwe"}),
        ("SELECT a(1); SELECT b(1)", {"a", "b"}),
        ("SELECT pg_notify('a', 'b')", set()),
    ],
)
def test_functions_are_named_as_the_server_folds_them(text: str, functions: set[str]) -> None:
    """What is called beyond the known functions has the name that the catalog knows it by."""
    assert look(text).functions == functions


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("BEGIN", "BEGIN only makes sense in a session: use pgdbpool.transaction()"),
        ("rollback to x", "ROLLBACK TO only makes sense in a session: use pgdbpool.transaction()"),
        ("LISTEN x", "LISTEN only makes sense in a session: use pgdbpool.connection()"),
        ("SET x = 1", "SET only makes sense in a session: use the group's `settings`"),
        (
            "COPY t FROM STDIN",
            "COPY FROM STDIN only makes sense in a session: use pgdbpool.connection() and copy_expert()",
        ),
        ("CREATE TEMP TABLE t ()", "CREATE TEMP only makes sense in a session: use pgdbpool.transaction()"),
        ("DECLARE c CURSOR FOR SELECT 1", "DECLARE only makes sense in a session: use stream()"),
        ("SELECT 1; LOCK t", "LOCK only makes sense in a session: use pgdbpool.transaction()"),
    ],
)
def test_a_statement_for_a_session_names_what_to_use(text: str, sentence: str) -> None:
    """Contract §2, query: what only makes sense in a session names what to use instead."""
    assert (look(text).session or "").startswith(sentence)


def test_a_nul_is_refused() -> None:
    """psycopg2 would send the text only up to the NUL."""
    with pytest.raises(ValueError, match="character 10 of the statement is a NUL"):
        look("SELECT 1;\0DROP TABLE t")
    with pytest.raises(ValueError, match="NUL"):
        look("SELECT 1" + " " * 100_000 + "\0")


def test_texts_up_to_8192_characters_are_cached_and_longer_ones_are_not() -> None:
    """The same text gives the very same verdict; a long one does not stay in memory."""
    short = "SELECT 1".ljust(8_192)
    assert look(short) is look(short)
    before = verdict._cached.cache_info().currsize
    assert look(short + " ") == look(short)
    assert verdict._cached.cache_info().currsize == before


def test_the_cache_is_bounded() -> None:
    """An application that writes values into its texts fills no memory."""
    for number in range(2_100):
        look(f"SELECT {number}")
    assert verdict._cached.cache_info().currsize <= 2_048


@pytest.mark.parametrize(
    ("start", "session", "controls"),
    [("SELECT 1", False, False), ("/* " + "x" * 70_000 + " */ BEGIN;", True, True), ("COPY t FROM STDIN", True, False)],
)
def test_of_a_huge_text_only_the_head_is_read(start: str, session: bool, controls: bool) -> None:
    """Over 65,536 characters nothing is promised; what it begins with is still known."""
    found = look(start + " " + "," * 65_536)
    assert (found.clean, found.reads, found.joinable) == (False, False, False)
    assert (found.session is not None, found.controls_transaction) == (session, controls)
    assert found.keyword == start.replace("/*", "").split(";")[0].strip(" x*/").split()[0]


@pytest.mark.parametrize(
    "piece", ["(", "a(", "/*", "'", "''", "$a$", "E'\\", '"', "a.", "%(", "--", "/*/", "*/", "$", "1."]
)
def test_hostile_texts_are_read_in_linear_time(piece: str) -> None:
    """The longest text that is read whole takes no more than a second of this thread's own time."""
    text = ("SELECT " + piece * 65_536)[:65_536]
    start = time.thread_time()
    look(text)
    assert time.thread_time() - start < 1


def test_a_verdict_cannot_be_changed() -> None:
    """It is shared between all threads that run the text."""
    found = look("SELECT 1")
    with pytest.raises(AttributeError):
        found.clean = False  # type: ignore[misc]
    assert not hasattr(found, "__dict__")


def test_threads_get_equal_verdicts() -> None:
    """Threads that look at the same new texts at once all get what one thread would."""
    texts = [f"SELECT lower(a), f{number}(b) FROM t -- {number}" for number in range(200)]
    gate, results = threading.Barrier(4), [list[Verdict]() for _ in range(4)]

    def work(into: list[Verdict]) -> None:
        gate.wait()
        into.extend(look(text) for text in texts)

    threads = [threading.Thread(target=work, args=(into,)) for into in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result == [verdict._judge(text) for text in texts] for result in results)


def test_no_function_is_in_both_sets() -> None:
    """A function either changes nothing or does."""
    assert not READING & LEAVES_NOTHING
