"""Secrets that are planted, and the ears that listen for them in all that is said."""

from __future__ import annotations

import pickle
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

import pgdbpool
from tests.servers import DATABASE, Server

MARK = "zQ7x"  # each secret holds it, whatever is quoted or encoded around it
PASSWORD, OTHER, KEY_WORD, SETTING = f"{MARK} p'w/d@:%", f"{MARK}-wrong", f"{MARK}-sslpassword", f"{MARK}-setting"
LOGIN = "keeper"


def quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def place(server: Server, **other: Any) -> dict[str, Any]:
    return {"host": server.host, "port": server.port, "name": DATABASE, "user": LOGIN, "label": "db", **other}


def keywords(server: Server, **other: Any) -> dict[str, Any]:
    words = {"host": server.host, "port": server.port, "dbname": DATABASE, "user": LOGIN}
    return {**words, "options": f"-c app.words={MARK}", "application_name": MARK, **other}


def dsn_of(server: Server, password: str, **other: Any) -> str:
    words = keywords(server, password=password, **other)
    return " ".join(f"{word}={quoted(str(value))}" for word, value in words.items())


def uri_of(server: Server, password: str, **other: Any) -> str:
    words = keywords(server, password=password, **other)
    query = "&".join(f"{word}={quote(str(value), safe='')}" for word, value in words.items())
    return f"postgresql:///?{query}"


def by_passfile(server: Server, password: str, folder: Path, **other: Any) -> dict[str, Any]:
    file = folder / "pgpass"
    file.write_text("*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:"))
    file.chmod(0o600)
    return place(server, libpq={"passfile": str(file)}, **other)


def renamed(other: dict[str, Any]) -> dict[str, Any]:
    return {{"name": "dbname", "ssl": "sslmode"}.get(key, key): value for key, value in other.items()}


# How the password is said: what a server, a password and other keys make an endpoint.
SAID: dict[str, Callable[..., dict[str, Any]]] = {
    "str": lambda server, password, folder, **other: place(server, **{"pass": password}, **other),
    "callable": lambda server, password, folder, **other: place(server, **{"pass": lambda: password}, **other),
    "keyword string": lambda server, password, folder, **other: {
        "dsn": dsn_of(server, password, **renamed(other)),
        "label": "db",
    },
    "URI": lambda server, password, folder, **other: {"dsn": uri_of(server, password, **renamed(other)), "label": "db"},
    "passfile": by_passfile,
}


def config_of(endpoint: dict[str, Any], **group: Any) -> dict[str, Any]:
    """With further secrets in the endpoint's ``libpq`` and in the group's ``settings``."""
    libpq = {"sslpassword": KEY_WORD, **endpoint.get("libpq", {})}
    settings = {"app.jwt_secret": SETTING}
    return {
        "db": {**endpoint, "libpq": libpq},
        "groups": {"web": {"connection_count": 2, "timeout": 2, "settings": settings, **group}},
    }


class Ears:
    """Everything that was said: by the log at DEBUG and by whatever is told or handed in."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def tell(self, *things: Any) -> None:
        """What a thing shows of itself; of an error also what a traceback prints, and what its pickle holds."""
        for thing in things:
            self.said += [f"{thing}", f"{thing!r}"]
            if isinstance(thing, BaseException):
                self.said += [*traceback.format_exception(thing), repr(pickle.dumps(thing))]

    def raised(self, call: Callable[[], Any], kind: type[BaseException] = Exception) -> Any:
        """The error that the call raises, once it is told."""
        with pytest.raises(kind) as caught:
            call()
        self.tell(caught.value, caught.value.__cause__)
        return caught.value

    def found(self) -> set[str]:
        """Each place where a secret stands, with what is around it."""
        return {found for text in self.said for found in re.findall(rf".{{0,80}}{MARK}.{{0,20}}", text)}


def locals_of(error: BaseException | None) -> Iterator[str]:
    """The local variables of the pool's own frames, as error trackers record them, in the whole chain of an error."""
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if frame.f_code.co_filename.startswith(str(Path(pgdbpool.__file__).parent)):
                yield f"{frame.f_code.co_name}: {frame.f_locals!r}"
        error = error.__cause__ or error.__context__


def tell_all(ears: Ears, pool: Any) -> None:
    """What a pool tells of itself, in every way in which it does."""
    ears.tell(pool, pool.handler(), pool.transaction(), pool.connection())
    ears.tell(pool.stats(), pool.explain(), pool.explain(workers=4), pool.check())
    ears.tell([thread.name for thread in threading.enumerate()], psutil.Process().cmdline())
