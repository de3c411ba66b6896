"""Any text as a statement: what the pool thinks of it, and that a ``%`` is a ``%`` where there are no parameters."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pgdbpool.text import look, verdict
from tests.fuzz import fuzz
from tests.fuzz.configs import anything
from tests.usage import each_call

WORDS = """
    select SELECT from where insert into INSERT update delete merge with recursive as table values set reset begin commit
    rollback to savepoint prepare execute listen notify declare cursor for fetch copy stdin create temp temporary table
    pg_temp function atomic case when then end returning distinct on over filter within group order by lock share lateral
    lower now set_config nextval leak pg_catalog.lower public.lower pg_notify a b t x y \xa0 ä
""".split()
MARKS = "( ) , ; . :: = % %% %s %(a)s %(b c)s * - + [ ] $1 1 1.5 1e5 ' \" $$ $a$ /* */ -- \\".split()
CLOSED = ["'x'", "'it''s'", "E'a\\'b'", '"t"', '"a""b"', "$$x$$", "$a$;$a$", "/* a /* b */ */", "-- c\n", "U&'x'"]
SPACE = [" ", "\n", "\t", "\r\n", "\f", " -- c\n", "/**/"]

pieces = st.sampled_from(WORDS) | st.sampled_from(MARKS) | st.sampled_from(CLOSED) | anything(max_size=3)
statements = st.lists(st.tuples(pieces, st.sampled_from([*SPACE, "", ""])), max_size=25).map(
    lambda parts: "".join(piece + space for piece, space in parts)
)
# Tokens that nothing joins with what follows.
_WHOLE = [*(word for word in WORDS if word.strip()), *CLOSED[:4], "$$x$$", *"( ) , 1 = .".split()]
token_lists = st.lists(st.sampled_from(_WHOLE), min_size=1, max_size=15)


@fuzz(150, 20_000)
@given(statements)
def test_any_text_gets_a_verdict(sql: str) -> None:
    """The same each time, and never that it reads without that it is clean, or is clean and only makes sense in a session."""
    if "\0" in sql:
        with pytest.raises(ValueError, match="NUL"):
            look(sql)
        return
    found = look(sql)
    assert verdict._judge(sql) == found
    assert found.clean or not found.reads
    assert found.joinable or not found.clean
    assert not (found.clean and (found.session or found.controls_transaction or found.functions))


@fuzz(100, 10_000)
@given(token_lists, st.lists(st.sampled_from(SPACE), min_size=16, max_size=16))
def test_white_space_and_comments_say_nothing(tokens: list[str], spaces: list[str]) -> None:
    """Whatever stands between the tokens, the verdict is the same, and so it is with a semicolon at the end."""
    plain = look(" ".join(tokens))
    if any("\n" in space for space in spaces) and any("'" in each for each in tokens):
        spaces = [space if "\n" not in space else " " for space in spaces]  # which would join two strings
    assert look("".join(token + space for token, space in zip(tokens, spaces, strict=False))) == plain
    if _ends(tokens):
        assert look(" ".join(tokens) + " ;").reads == plain.reads


@fuzz(100, 10_000)
@given(token_lists)
def test_case_says_nothing(tokens: list[str]) -> None:
    """Upper case in words changes no verdict."""
    shouted = [token.upper() if token.isalpha() and token.isascii() else token for token in tokens]
    assert look(" ".join(shouted)) == look(" ".join(tokens))


@fuzz(100, 10_000)
@given(token_lists, token_lists)
def test_two_statements_are_as_bad_as_the_worse(one: list[str], other: list[str]) -> None:
    """Of two in one text what is known is true of both, and each function of either is named."""
    first, second, both = (look(" ".join(tokens)) for tokens in (one, other, [*one, ";", *other]))
    assume(_ends(one) and first.single and second.single)
    assert both.clean == (first.clean and second.clean)
    assert both.reads == (first.reads and second.reads)
    assert both.joinable == (first.joinable and second.joinable)
    assert both.controls_transaction == (first.controls_transaction or second.controls_transaction)
    assert both.functions == first.functions | second.functions
    assert both.session == (first.session or second.session)


def _ends(tokens: list[str]) -> bool:
    """Whether a semicolon after them ends a statement: not inside parentheses, nor in a function's body."""
    depth = 0
    for token in tokens:
        depth = max(0, depth + {"(": 1, ")": -1}.get(token, 0))
    return not depth and "atomic" not in tokens


@fuzz(150, 20_000)
@given(statements, st.lists(st.sampled_from(["'x'", "1", "NULL", "'%s'", "E'\\\\'"]), min_size=25, max_size=25))
def test_the_verdict_holds_with_and_without_parameters(sql: str, values: list[str]) -> None:
    """What is clean, or only reads, is so too when psycopg2 has put plain values in place of ``%s``, and ``%`` of ``%%``."""
    found = None if "\0" in sql else look(sql)
    with suppress(ValueError, TypeError, KeyError):
        sent = sql % (tuple(values[: sql.replace("%%", "").count("%")]) or ())
        if found is not None and (found.clean or found.reads):
            assert (look(sent).clean, look(sent).reads) == (found.clean, found.reads), sent


REPEATED = """( ) /* $a$ $$ $ ' '' " "" e' E'\\ \\ a. .a ; ;; % %% %s %( %(a %(a)s - -- 1 1. a ä \xa0 , :: U& 'a' E'a' $a$$b$
"a" /**/ (( )) (a) a(a) select ;select update,( begin;atomic create; case; with( into() '%s'""".split()


@pytest.mark.parametrize("gap", ["", " ", "\n"], ids=repr)
@pytest.mark.parametrize("length", [16_384, 500_000])
def test_a_long_text_takes_a_moment(length: int, gap: str) -> None:
    """Whatever is repeated in it, the longest text that is read, and one that is not, have their verdict within a second."""
    slow = {}
    for piece in REPEATED:
        since = time.process_time()
        look((piece + gap) * (length // len(piece + gap)))
        if (took := time.process_time() - since) > 1.0:
            slow[piece] = took
    assert slow == {}


_text = st.lists(st.sampled_from(["%", "%%", "%s", "%(a)s", "a", "'", "\\", '"', "ä", "\n", ";"]), max_size=8).map(
    "".join
)


@pytest.fixture
def pool(make_pool: Callable[..., Any]) -> Any:
    return make_pool(connection_count=1, autocommit=False)


@pytest.mark.contract("2.p2.3")
@fuzz(25, 5_000)
@given(text=_text)
def test_without_parameters_a_percent_is_a_percent(pool: Any, text: str) -> None:
    """By every way in, the server gets the text as it was written, and with parameters as psycopg2 reads it."""
    literal = "'" + text.replace("'", "''") + "'"
    for call in each_call(pool).values():
        assert call(f"SELECT {literal}").scalar() == text
        assert call(f"SELECT {literal.replace('%', '%%')} || %s", (text,)).scalar() == text * 2
    with pool.connection() as raw, raw.cursor() as cursor:
        cursor.execute(f"SELECT {literal}")
        assert cursor.fetchone() == (text,)
    with pool.handler() as db:
        assert [tuple(row) for row in db.stream(f"SELECT {literal}")] == [(text,)]
