"""A text's statements, read token by token."""

from __future__ import annotations

from itertools import islice

from . import session
from .calls import CLAUSES, END_OF_PREFIX, called, opens_clause
from .functions import LEAVES_NOTHING, READING
from .lexer import fold, tokens

__all__ = ["Statement", "read"]

_QUERIES = frozenset(["SELECT", "VALUES", "TABLE", "WITH", "INSERT", "UPDATE", "DELETE", "MERGE", "SHOW"])
_WRITES = frozenset(["INSERT", "UPDATE", "DELETE", "MERGE"])
_LOCKS = frozenset(["UPDATE", "SHARE", "NO", "KEY"])
_PREFIXES = (("DISTINCT", "ON"), ("RETURNING", "WITH"))
_MARKS = frozenset([",", "::"])
_ESCAPED = frozenset(["e'", "%"])
_ANY_NAME = frozenset(["'", "e'", "%"])  # U&"..." UESCAPE 'x' (...), or a placeholder in place of a name
_BEFORE_NEW_NAME = frozenset(["INTO", "LOCAL", "GLOBAL", "UNLOGGED", "TABLE"])
_NOTED = _WRITES | _LOCKS | CLAUSES | {"INTO"}
_HEAD = 64


def read(sql: str, limit: int | None = None) -> list[Statement]:
    """The statements in ``sql`` that are not empty, or as many as the first ``limit`` tokens hold."""
    statements = [Statement()]
    for kind, text in islice(tokens(sql), limit):
        statement = statements[-1]
        if text == ";" and statement.may_end:
            if not statement.untouched:
                statements.append(Statement())
        else:
            statement.take(kind, text)
            if statement.broken:
                break
    return [statement for statement in statements if statement.begun]


class Statement:
    """One statement; ``take`` gives it its next token.

    ``before`` is the token in front of the last name, ``last`` the last one: a word in upper case, a mark, ``'`` for a
    string, ``"`` for a name that is no keyword, ``%`` for a placeholder, ``op`` for the rest.
    """

    __slots__ = (
        "_atomic", "_before", "_clauses", "_head", "_into", "_last", "_name", "_prefix", "_second",
        "begun", "broken", "functions", "keyword", "leaves", "query", "temporary", "writes",
    )  # fmt: skip

    def __init__(self) -> None:
        self.begun = self.broken = self.query = self.leaves = self.writes = False
        self.keyword = ""
        self.functions: set[str] = set()
        self.temporary: str | None = None  # the sentence about SELECT INTO TEMP
        self._head: list[str] = []
        self._last = self._second = self._before = ""
        self._name: list[str] = []  # the parts of the name that the last token ended
        self._clauses = [""]  # of each open parenthesis, the outermost first
        self._prefix = [False]  # whether that parenthesis belongs to DISTINCT ON or RETURNING WITH
        self._into = False  # the name of a table that SELECT INTO makes is due
        self._atomic = 0  # open BEGIN ATOMIC and CASE in a function's body, where a semicolon ends nothing

    @property
    def untouched(self) -> bool:
        return self._last == ""

    @property
    def may_end(self) -> bool:
        return len(self._clauses) == 1 and not self._atomic

    @property
    def clean(self) -> bool:
        return self.query and not self.leaves and not self.functions

    @property
    def reads(self) -> bool:
        return self.clean and not self.writes

    @property
    def session(self) -> str | None:
        return self.temporary or session.instead(self._head)

    @property
    def controls_transaction(self) -> bool:
        return session.controls_transaction(self._head)

    def take(self, kind: str, text: str) -> None:
        if kind == "word":
            self._word(text)
        elif kind == "mark":
            self._mark(text)
        elif kind == "quoted":
            self._quoted(text)
        elif kind == "broken":
            self.begun = self.broken = True
        else:
            self._value(kind, text)

    def _word(self, text: str) -> None:
        upper = text.upper() if text.isascii() else text
        if self._last == ".":
            self._part(fold(text))
        else:
            if not self.begun or self.keyword == "CREATE" or upper in _NOTED:
                self._keyword(upper)
            self._before, self._name = self._last, [fold(text)]
            self._second, self._last = self._last, upper
        if not self.query or self._into:
            self._note(upper)

    def _quoted(self, text: str) -> None:
        name = text[1:-1].replace('""', '"')
        if self._last == ".":
            self._part(name)
        else:
            self._before, self._name = self._last, [name]
            self._step('"')
        if not self.query or self._into:
            self._note(f'"{name}"')

    def _part(self, name: str) -> None:
        if self._name:
            self._name.append(name)
        else:
            self._name = ["", name]
        self._step('"')

    def _note(self, word: str) -> None:
        """Keep the first words of what is no query; in a query, see what follows SELECT INTO."""
        if not self.query:
            if len(self._clauses) == 1 and len(self._head) < _HEAD:
                self._head.append(word)
        elif word not in _BEFORE_NEW_NAME:
            self._into, self.temporary = False, session.into_temporary(word)

    def _keyword(self, word: str) -> None:
        if not self.begun:
            self.begun, self.keyword, self.query = True, word, word in _QUERIES
        if word in _WRITES or (self._last == "FOR" and word in _LOCKS):
            self.writes = True
        elif word == "INTO":
            self._select_into()
        elif self.keyword == "CREATE":
            self._body(word)
        self._clause(word)

    def _select_into(self) -> None:
        if self.query and self._last not in ("INSERT", "MERGE"):
            self.leaves = self._into = True

    def _body(self, word: str) -> None:
        if self._atomic:
            self._atomic += {"CASE": 1, "END": -1}.get(word, 0)
        elif word == "ATOMIC" and self._last == "BEGIN":
            self._atomic = 1

    def _clause(self, word: str) -> None:
        if opens_clause(word, self._last, self._clauses[-1]):
            self._clauses[-1] = word

    def _mark(self, text: str) -> None:
        if text == "(":
            self._open()
        elif text == ")":
            self._close()
        elif text == ".":
            self._dot()
        else:
            self._plain(text if text in _MARKS else "op")

    def _value(self, kind: str, text: str) -> None:
        if kind == "string":
            self.broken |= self._last in _ESCAPED  # a string on the next line goes on in the mode of the one before
            self._plain("e'" if text[0] in "eE" else "'")
        else:
            self._plain("%" if kind == "param" else "op")

    def _plain(self, last: str) -> None:
        self.begun, self._name = True, []
        self._second, self._last = self._last, last

    def _dot(self) -> None:
        self.begun = True
        if not self.query:
            self._note(".")
        self._step(".")

    def _open(self) -> None:
        if self._last in _ANY_NAME:
            self.leaves = True
        elif self.query and self._name:
            self._call()
        self._clauses.append("")
        self._prefix.append((self._second, self._last) in _PREFIXES)
        self._name = []
        self._step("(")

    def _close(self) -> None:
        self._name = []
        prefix = False
        if len(self._clauses) > 1:
            self._clauses.pop()
            prefix = self._prefix.pop()
        self._step(END_OF_PREFIX if prefix else ")")

    def _call(self) -> None:
        if not called(self._last, self._before, self._clauses[-1]):
            return
        *schema, name = self._name
        builtin = schema in ([], ["pg_catalog"])
        if builtin and name in LEAVES_NOTHING:
            self.writes = True
        elif not builtin or name not in READING:
            self.functions.add(".".join(self._name))

    def _step(self, token: str) -> None:
        self._second, self._last = self._last, token
