"""DSNs as libpq reads them: both forms, and every way to quote (PostgreSQL manual, Connection Strings)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from hypothesis import strategies as st

__all__ = ["CHARACTERS", "FRAGMENT", "Dsn", "dsns", "texts"]

# All of ASCII but NUL, and of the rest what is treated in a way of its own somewhere: other white space, what is invisible,
# two to four bytes in UTF-8. (hypothesis's own tables of characters take seconds to make.)
CHARACTERS = [*map(chr, range(1, 128)), *"äßÄπ€漢😀\x85\xa0\u2028\u200b\ufeff\uffff"]

FRAGMENT = "zq7"  # in every name that a DSN holds


@dataclass(frozen=True)
class Dsn:
    """The text, and the words that it is made of."""

    text: str
    words: dict[str, str]

    def __str__(self) -> str:
        return self.text


def texts(characters: Sequence[str], **size: int) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from(characters), **size).map("".join)


def _quoted(value: str) -> str:
    """For a keyword string."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


_NAMES = st.builds("{}{}{}".format, texts(CHARACTERS, max_size=6), st.just(FRAGMENT), texts(CHARACTERS, max_size=6))
_HOSTS = st.sampled_from([f"{FRAGMENT}.example", f"/tmp/{FRAGMENT}", f"@{FRAGMENT}", "::1"])


def _words(secrets: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, str]]:
    optional = {
        "host": _HOSTS,
        "port": st.integers(1, 65535).map(str),
        "dbname": _NAMES,
        "user": _NAMES,
        "password": secrets,
        "sslmode": st.sampled_from(["disable", "prefer", "verify-full"]),
        "connect_timeout": st.integers(1, 100).map(str),
        "application_name": _NAMES,
        "keepalives_idle": st.integers(1, 100).map(str),
        "sslpassword": secrets,
    }
    return st.fixed_dictionaries({}, optional=optional).filter(bool)


@st.composite
def _keyword_string(draw: st.DrawFn, words: dict[str, str]) -> str:
    parts = []
    for word, value in words.items():
        bare = value.isalnum() and value.isascii() and draw(st.booleans())
        equals = draw(st.sampled_from(["=", " = ", "= ", " ="]))
        parts.append(f"{word}{equals}{value if bare else _quoted(value)}")
    return draw(st.sampled_from([" ", "  ", "\n", "\t"])).join(parts)


@st.composite
def _uri(draw: st.DrawFn, words: dict[str, str]) -> str:
    """Each word in its place, or as a parameter; percent-encoded as far as it must be, or wholly."""
    safe = draw(st.sampled_from(["", "!$*"]))
    encoded = {word: quote(value, safe=safe) for word, value in words.items()}
    place: dict[str, str] = {}
    for word in ("user", "host", "port", "dbname"):
        if word in encoded and words[word][0] not in "/@" and draw(st.booleans()):
            place[word] = encoded.pop(word)
    if "user" in place and "password" in encoded and draw(st.booleans()):
        place["password"] = encoded.pop("password")
    if words.get("host") == "::1" and "host" in place:
        place["host"] = "[::1]"
    text = draw(st.sampled_from(["postgresql://", "postgres://"]))
    if "user" in place:
        text += place["user"] + (f":{place['password']}" if "password" in place else "") + "@"
    text += place.get("host", "") + (f":{place['port']}" if "port" in place else "")
    text += f"/{place['dbname']}" if "dbname" in place else draw(st.sampled_from(["", "/"]))
    parameters = [f"{word}={value}" for word, value in encoded.items()]
    return text + ("?" + "&".join(parameters) if parameters else "")


def dsns(secrets: st.SearchStrategy[str]) -> st.SearchStrategy[Dsn]:
    return _dsns(_words(secrets))


@st.composite
def _dsns(draw: st.DrawFn, some_words: st.SearchStrategy[dict[str, str]]) -> Dsn:
    words = draw(some_words)
    return Dsn(draw(st.one_of(_keyword_string(words), _uri(words))), words)
