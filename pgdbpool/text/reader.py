"""A text's statements, read token by token."""

from __future__ import annotations

from itertools import islice

from .calls import END_OF_PREFIX, SYNTAX, called, opens_clause
from .functions import LEAVES_NOTHING, READING, tells_of_server
from .lexer import tokens

_WRITES = frozenset(["INSERT", "UPDATE", "DELETE", "MERGE"])
_ASKS = frozenset(["SELECT", "VALUES", "TABLE", "WITH"])
QUERIES = _WRITES | _ASKS | {"SHOW"}
_LOCKS = frozenset(["UPDATE", "SHARE", "NO", "KEY"])
_PREFIXES = (("DISTINCT", "ON"), ("RETURNING", "WITH"))
_STRINGS = frozenset(["string", "escaped"])
_ESCAPED = frozenset(["escaped", "param"])
_ANY_NAME = _STRINGS | _ESCAPED  # U&"..." UESCAPE 'x' (...), or a placeholder in place of a name
_LOOKED_UP = frozenset(["OVERLAY", "SUBSTRING"])  # as calls they may be anybody's (gram.y), unlike TRIM or POSITION
_LONGEST_NAME = 63  # bytes; the server cuts off the rest
_HEAD = 64  # tokens: enough to tell the form of a statement


def read(sql: str, whole: bool) -> list[Statement]:
    """The statements in ``sql`` that are not empty, or as many as its first tokens hold."""
    statements = [Statement()]
    for token, name in islice(tokens(sql), None if whole else _HEAD):
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
        self.odd = False  # a name in it is not the one that the server looks up, or not to be told from a qualified one
        self.keyword = ""
        self.functions: set[str] = set()
        self.names: set[str] = set()
        self.head: list[str] = []  # what tells the form of what is no query, and of SELECT INTO
        self._last = self._before = ""  # the last token, and the one in front of the last name
        self._name: list[str] = []  # the parts of the name that the last token ended
        self._open = [("", ")")]  # of each open parenthesis, the outermost first: its clause, and the token of its end
        self._atomic = 0  # open BEGIN ATOMIC and CASE in a function's body, where a semicolon ends nothing

    @property
    def may_end(self) -> bool:
        return len(self._open) == 1 and not self._atomic

    @property
    def clean(self) -> bool:
        return self.query and not self.leaves and not self.functions

    @property
    def asks(self) -> bool:
        """Whether a standby might answer it."""
        changes = self.leaves or self.writes or self.odd
        return self.keyword in _ASKS and not (changes or any(map(tells_of_server, self.names)))

    def take(self, token: str, name: str) -> None:
        self._last = self._named(token, name) if name else self._unnamed(token)

    def _named(self, token: str, name: str) -> str:
        """A word or a quoted name; what follows a point is a name in any case."""
        if token not in SYNTAX or token in _LOOKED_UP:
            self.names.add(name)
            self.odd |= "." in name or len(name) > _LONGEST_NAME or len(name.encode()) > _LONGEST_NAME
        quoted, qualified = token == '"', self._last == "."
        if qualified:
            self._name = [*(self._name or [""]), name]
        else:
            if not quoted:
                self._keyword(token)
            self._before, self._name = self._last, [name]
        self._note('"pg_temp"' if quoted and name == "pg_temp" else token)
        return '"' if qualified else token

    def _note(self, token: str) -> None:
        """Of what is no query what stands outside parentheses is kept, of a query what follows INTO."""
        if (self.head if self.query else len(self._open) == 1) and len(self.head) < _HEAD:
            self.head.append(token)

    def _keyword(self, word: str) -> None:
        if not self.begun:
            self.begun, self.keyword, self.query = True, word, word in QUERIES
        if word in _WRITES or (self._last == "FOR" and word in _LOCKS):
            self.writes = True
        elif word == "INTO":
            if self.query and self._last not in ("INSERT", "MERGE"):
                self.leaves, self.head = True, ["SELECT"]
        elif self._atomic:
            self._atomic += {"CASE": 1, "END": -1}.get(word, 0)
        elif self.keyword == "CREATE" and word == "ATOMIC" and self._last == "BEGIN":
            self._atomic = 1
        clause, end = self._open[-1]
        if opens_clause(word, self._last, clause):
            self._open[-1] = word, end

    def _unnamed(self, token: str) -> str:
        if token == "(":
            self._opened()
        elif token == ")":
            token = self._open.pop()[1] if len(self._open) > 1 else token
        else:
            # A string on the next line goes on in the mode of the one before.
            self.broken |= token == "broken" or (token in _STRINGS and self._last in _ESCAPED)
            self.begun = True
        if token == ".":
            self._note(token)
        else:
            self._name = []
        return token

    def _opened(self) -> None:
        if self._last in _ANY_NAME:
            self.leaves = True
        elif self.query and self._name and called(self._last, self._before, self._open[-1][0]):
            self._call()
        self._open.append(("", END_OF_PREFIX if (self._before, self._last) in _PREFIXES else ")"))

    def _call(self) -> None:
        *schema, name = self._name
        builtin = schema in ([], ["pg_catalog"])
        if builtin and name in LEAVES_NOTHING:
            self.writes = True
        elif not builtin or name not in READING:
            self.functions.add(".".join(self._name))
