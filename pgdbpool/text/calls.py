"""Whether a name in front of a parenthesis calls a function, or is syntax, a table, an alias or a type.

The answer is "a call" wherever the grammar leaves a doubt. What is never a call is proven by the grammar: a reserved
word, or one of category "column name" (``pg_get_keywords``), cannot name a function; and no call can follow what
``_NEVER_AFTER`` lists, except behind ``DISTINCT ON (...)`` and ``RETURNING WITH (...)``, whose closing parenthesis the
caller passes as ``END_OF_PREFIX``.
"""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["CLAUSES", "END_OF_PREFIX", "SYNTAX", "called", "opens_clause"]

END_OF_PREFIX = ")+"

SYNTAX = frozenset(
    """
    ALL AND ANY ARRAY AS ASYMMETRIC BOTH CASE CAST CURRENT_TIME CURRENT_TIMESTAMP DEFAULT DISTINCT ELSE EXCEPT FETCH
    FOR FROM GROUP HAVING IN INTERSECT LATERAL LEADING LIMIT LOCALTIME LOCALTIMESTAMP NOT OFFSET ON ONLY OR PLACING
    RETURNING SELECT SOME SYMMETRIC TABLE THEN TO TRAILING UNION USING VARIADIC WHEN WHERE WINDOW WITH BETWEEN BIT
    CHAR CHARACTER COALESCE DEC DECIMAL EXISTS EXTRACT FLOAT GREATEST GROUPING INTERVAL LEAST NCHAR NORMALIZE NULLIF
    NUMERIC OVERLAY POSITION ROW SUBSTRING TIME TIMESTAMP TRIM VALUES VARCHAR MERGE_ACTION JSON_ARRAY
    JSON_ARRAYAGG JSON_EXISTS JSON_OBJECT JSON_OBJECTAGG JSON_QUERY JSON_SCALAR JSON_SERIALIZE JSON_TABLE JSON_VALUE
    XMLATTRIBUTES XMLCONCAT XMLELEMENT XMLEXISTS XMLFOREST XMLNAMESPACES XMLPARSE XMLPI XMLROOT XMLSERIALIZE XMLTABLE
    """.split()
)

CLAUSES = frozenset(
    """
    CASE DELETE EXCEPT FROM GROUP HAVING INSERT INTERSECT JOIN LIMIT MATCHED MERGE OFFSET ORDER RETURNING SELECT SET
    TABLE UNION UPDATE USING VALUES WHERE WINDOW WITH
    """.split()
)

_NEVER_AFTER = frozenset(["AS", "INTO", "ORDINALITY", "::", ")", "'", "e'"])
_OPERAND_STARTS = frozenset(["", "(", ",", "op", END_OF_PREFIX])


def opens_clause(word: str, before: str, clause: str) -> bool:
    """Whether ``word`` begins a new clause where ``clause`` was; in doubt what makes more names count as calls."""
    opens = _OPENS_SOMETIMES.get(word)
    return word in CLAUSES if opens is None else opens(before, clause)


def called(word: str, before: str, clause: str) -> bool:
    """Whether ``word (`` is a call; ``before`` is the token in front of the name, ``clause`` the one that it is in."""
    if word in SYNTAX or before in _NEVER_AFTER:
        return False
    if clause == "WITH" and (before in ("WITH", "RECURSIVE", ",") or (before, word) == ("NOT", "MATERIALIZED")):
        return False
    syntax = _SYNTAX_SOMETIMES.get(word)
    return syntax is None or not syntax(before, clause)


def _after(*words: str) -> Callable[[str, str], bool]:
    return lambda before, clause: before in words


def _grouping(before: str, clause: str) -> bool:
    return clause == "GROUP" and before in ("BY", ",", "DISTINCT", "ALL")


def _infix(before: str, clause: str) -> bool:
    return before == "NOT" or (before not in _OPERAND_STARTS and before not in SYNTAX)


# By the token in front of the word and the clause that it is in.
_SYNTAX_SOMETIMES: dict[str, Callable[[str, str], bool]] = {
    "BERNOULLI": _after("TABLESAMPLE"),
    "BY": _after("GROUP", "ORDER", "PARTITION"),
    "CONFLICT": lambda before, clause: before == "ON" and clause not in ("JOIN", "MERGE", "USING"),
    "CUBE": _grouping,
    "ILIKE": _infix,
    "INSERT": lambda before, clause: before == "THEN" and clause == "MATCHED",
    "JOIN": _infix,
    "LIKE": _infix,
    "ROLLUP": _grouping,
    "SET": lambda before, clause: clause == "SET" and before != "NOT" and _infix(before, clause),
    "SETS": _after("GROUPING"),
    "SYSTEM": _after("TABLESAMPLE"),
    "VARYING": _after("BIT", "CHAR", "CHARACTER", "NCHAR"),
    "ZONE": _after("TIME"),
}
_OPENS_SOMETIMES: dict[str, Callable[[str, str], bool]] = {
    "GROUP": lambda before, clause: before != "WITHIN",
    "INSERT": lambda before, clause: before != "THEN",
    "SET": lambda before, clause: clause == "UPDATE",
    "UPDATE": _after("", "(", ")", "DO", "THEN"),
    "WITH": _after("", "("),
}
