"""A text's statements, read token by token."""

from __future__ import annotations

from itertools import islice

from . import session
from .calls import CLAUSES, END_OF_PREFIX, called, opens_clause
from .functions import LEAVES_NOTHING, READING
from .lexer import tokens

__all__ = ["Statement", "read"]

_QUERIES = frozenset(["SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "SHOW"])
_WRITES = frozenset(["INSERT", "UPDATE", "DELETE", "MERGE"])
_LOCKS = frozenset(["UPDATE", "SHARE", "NO", "KEY"])
_PREFIXES = (("DISTINCT", "ON"), ("RETURNING", "WITH"))
_STRINGS = frozenset(["'", "e'"])
_ESCAPED = frozenset(["e'", "%"])
_ANY_NAME = frozenset(["'", "e'", "%"])  # U&"..." UESCAPE 'x' (...), or a placeholder in place of a name
_BEFORE_NEW_NAME = frozenset(["INTO", "LOCAL", "GLOBAL", "UNLOGGED", "TABLE"])
_NOTED = _WRITES | _LOCKS | CLAUSES | {"INTO"}
_HEAD = 64


def read(sql: str, limit: int | None = None) -> list[Statement]:
    """The statements in ``sql`` that are not empty, or as many as the first ``limit`` tokens hold."""
    statements = [Statement()]
    for token, name in islice(tokens(sql), limit):
        if token == ";" and statements[-1].may_end:
            statements.append(Statement())
        else:
            statements[-1].take(token, name)
            if statements[-1].broken:
                break
    return [statement for statement in statements if statement.begun]


class Statement:
    """One statement; ``take`` gives it its next token."""

    def __init__(self) -> None:
        self.begun = self.broken = self.query = self.leaves = self.writes = False
        self.keyword = ""
        self.functions: set[str] = set()
        self.temporary: str | None = None  # the sentence about SELECT INTO TEMP
        self._head: list[str] = []  # the first tokens of what is no query
        self._last = self._second = ""  # the last token, and the one in front of it
        self._before = ""  # the token in front of the last name
        self._name: list[str] = []  # the parts of the name that the last token ended
        self._open = [("", ")")]  # of each open parenthesis, the outermost first: its clause, and the token of its end
        self._into = False  # the name of a table that SELECT INTO makes is due
        self._atomic = 0  # open BEGIN ATOMIC and CASE in a function's body, where a semicolon ends nothing

    @property
    def may_end(self) -> bool:
        return len(self._open) == 1 and not self._atomic

    @property
    def clean(self) -> bool:
        return self.query and not self.leaves and not self.functions

    @property
    def session(self) -> str | None:
        return self.temporary or session.instead(self._head)

    @property
    def controls_transaction(self) -> bool:
        return session.controls_transaction(self._head)

    def take(self, token: str, name: str) -> None:
        if name:
            token = self._named(token, name)
        elif token == "(":
            self._opened()
        elif token == ")":
            token = self._closed()
        elif token == ".":
            self.begun = True
            self._note(token)
        else:
            self._other(token)
        self._second, self._last = self._last, token

    def _named(self, token: str, name: str) -> str:
        """A word or a quoted name; what follows a point is a name in any case."""
        quoted, qualified = token == '"', self._last == "."
        if qualified:
            self._name = [*(self._name or [""]), name]
        else:
            if not quoted and (not self.begun or self.keyword == "CREATE" or token in _NOTED):
                self._keyword(token)
            self._before, self._name = self._last, [name]
        if self._into or not self.query:
            self._note('"pg_temp"' if quoted and name == "pg_temp" else token)
        return '"' if qualified else token

    def _note(self, token: str) -> None:
        """Keep the first tokens of what is no query; in a query, see what follows SELECT INTO."""
        if not self.query:
            if len(self._open) == 1 and len(self._head) < _HEAD:
                self._head.append(token)
        elif self._into and token not in _BEFORE_NEW_NAME:
            self._into, self.temporary = False, session.into_temporary(token)

    def _keyword(self, word: str) -> None:
        if not self.begun:
            self.begun, self.keyword, self.query = True, word, word in _QUERIES
        if word in _WRITES or (self._last == "FOR" and word in _LOCKS):
            self.writes = True
        elif word == "INTO":
            if self.query and self._last not in ("INSERT", "MERGE"):
                self.leaves = self._into = True
        elif self._atomic:
            self._atomic += {"CASE": 1, "END": -1}.get(word, 0)
        elif self.keyword == "CREATE" and word == "ATOMIC" and self._last == "BEGIN":
            self._atomic = 1
        clause, end = self._open[-1]
        if opens_clause(word, self._last, clause):
            self._open[-1] = word, end

    def _opened(self) -> None:
        if self._last in _ANY_NAME:
            self.leaves = True
        elif self.query and self._name and called(self._last, self._before, self._open[-1][0]):
            self._call()
        self._open.append(("", END_OF_PREFIX if (self._second, self._last) in _PREFIXES else ")"))
        self._name = []

    def _closed(self) -> str:
        self._name = []
        return self._open.pop()[1] if len(self._open) > 1 else ")"

    def _call(self) -> None:
        *schema, name = self._name
        builtin = schema in ([], ["pg_catalog"])
        if builtin and name in LEAVES_NOTHING:
            self.writes = True
        elif not builtin or name not in READING:
            self.functions.add(".".join(self._name))

    def _other(self, token: str) -> None:
        # A string on the next line goes on in the mode of the one before.
        self.broken |= token == "broken" or (token in _STRINGS and self._last in _ESCAPED)
        self.begun, self._name = True, []
