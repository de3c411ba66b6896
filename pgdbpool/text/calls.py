"""Whether a name in front of a parenthesis calls a function, or is syntax, a table, an alias or a type.

The answer is "a call" wherever the grammar leaves a doubt. What is never a call is proven by the grammar: a reserved
word, or one of category "column name" (``pg_get_keywords``), cannot name a function; and no call can follow what
``_NEVER_AFTER`` lists, except behind ``DISTINCT ON (...)`` and ``RETURNING WITH (...)``, whose closing parenthesis the
caller passes as ``END_OF_PREFIX``.
"""

from __future__ import annotations

import re

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

_CLAUSES = frozenset(
    """
    CASE DELETE EXCEPT FROM GROUP HAVING INSERT INTERSECT JOIN LIMIT MATCHED MERGE OFFSET ORDER RETURNING SELECT SET
    TABLE UNION UPDATE USING VALUES WHERE WINDOW WITH
    """.split()
)

_NEVER_AFTER = frozenset(["AS", "INTO", "ORDINALITY", "::", ")", "string", "escaped"])
_OPERAND_STARTS = frozenset(["", "(", ",", "op", END_OF_PREFIX])
_PHRASE = re.compile(
    r"TABLESAMPLE (BERNOULLI|SYSTEM)|(GROUP|ORDER|PARTITION) BY|GROUPING SETS|(BIT|N?CHAR|CHARACTER) VARYING|TIME ZONE"
)


def opens_clause(word: str, before: str, clause: str) -> bool:
    """Whether ``word`` begins a new clause where ``clause`` was; in doubt what makes more names count as calls."""
    if word == "SET":
        return clause == "UPDATE"
    if word == "UPDATE":
        return before in ("", "(", ")", "DO", "THEN")
    if word == "WITH":
        return before in ("", "(")
    return word in _CLAUSES and f"{before} {word}" not in ("THEN INSERT", "WITHIN GROUP")


def called(word: str, before: str, clause: str) -> bool:
    """Whether ``word (`` is a call; ``before`` is the token in front of the name, ``clause`` the one that it is in."""
    phrase = f"{before} {word}"
    if word in SYNTAX or before in _NEVER_AFTER or _PHRASE.fullmatch(phrase):
        return False
    if clause == "WITH" and (before in ("WITH", "RECURSIVE", ",") or phrase == "NOT MATERIALIZED"):
        return False
    if word in ("CUBE", "ROLLUP"):
        return clause != "GROUP" or before not in ("BY", ",", "DISTINCT", "ALL")
    if word in ("ILIKE", "JOIN", "LIKE"):
        return before != "NOT" and _starts_operand(before)
    if word == "SET":
        return clause != "SET" or before == "NOT" or _starts_operand(before)
    if phrase == "ON CONFLICT":
        return clause in ("JOIN", "MERGE", "USING")
    return phrase != "THEN INSERT" or clause != "MATCHED"


def _starts_operand(before: str) -> bool:
    """Whether an operand, and no infix operator, may follow."""
    return before in _OPERAND_STARTS or before in SYNTAX
