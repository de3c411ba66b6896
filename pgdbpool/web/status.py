"""``status_app``: the page for people, its figures for programs, and what a load balancer asks."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.resources import files
from mimetypes import MimeTypes
from typing import Any, NamedTuple
from urllib.parse import quote

from pgdbpool.engine.current import default_pool
from pgdbpool.errors import PoolClosed
from pgdbpool.report.summing import Figures, nothing, present

Environ = Mapping[str, Any]

_ALWAYS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'"
    "; base-uri 'none'; form-action 'none'; frame-ancestors 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_TEXT = "text/plain; charset=utf-8"


def status_app(pool: Any = None) -> Callable[[Environ, Callable[..., Any]], list[bytes]]:
    """A WSGI application that shows ``pool``, or the default pool as it is at each request; all workers of the host summed.

    Below the path where it is mounted: ``/`` the page, ``/stats.json``, ``/metrics`` (Prometheus; extra ``status``),
    ``/healthz`` (200 while the process works), ``/readyz`` (503 while no group can be served). It asks for no password:
    whoever can reach it can read it.
    """

    def app(environ: Environ, start_response: Callable[..., Any]) -> list[bytes]:
        answer = _answer(pool, environ)
        start_response(answer.status, [*{**_ALWAYS, **answer.headers}.items()])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    return app


class _Answer(NamedTuple):
    status: str
    headers: dict[str, str]
    body: bytes


def _said(body: bytes, kind: str, status: str = "200 OK", **headers: str) -> _Answer:
    """What is so at this moment only."""
    about = {"Content-Type": kind, "Content-Length": str(len(body)), "Cache-Control": "no-store"}
    return _Answer(status, {**about, **headers}, body)


def _words(text: str, status: str = "200 OK", **headers: str) -> _Answer:
    return _said(f"{text}\n".encode(errors="backslashreplace"), _TEXT, status, **headers)


def _answer(pool: Any, environ: Environ) -> _Answer:
    path, base = environ.get("PATH_INFO", ""), environ.get("SCRIPT_NAME", "")
    name = path.removeprefix("/") or "index.html"
    if path not in _FIGURES and name not in _page():
        return _words("there is nothing here", "404 Not Found")
    if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
        return _words("this can only be read", "405 Method Not Allowed", Allow="GET, HEAD")
    if not path and not base.endswith("/"):
        # The page's own addresses are relative to it. So is this one: a proxy may have taken off what comes before.
        here = quote(base.rpartition("/")[2].encode("latin-1"))
        return _words("the page is at this address with a slash", "302 Found", Location=f"{here}/")
    return _FIGURES[path](pool, environ) if path in _FIGURES else _file(name, environ)


# -- figures ----------------------------------------------------------------------------------------------------------


def _found(pool: Any) -> Any:
    """The pool that is meant; None before ``pgdbpool.init``."""
    with suppress(PoolClosed):
        return default_pool() if pool is None else pool
    return None


def _figures(pool: Any, *, live: bool = True) -> Figures:
    return pool.host_figures(live=live) if pool else nothing()


def _stats(pool: Any, _: Environ) -> _Answer:
    pool = _found(pool)
    told = present(_figures(pool)) | ({} if pool else {"pool": "none"})
    return _said(json.dumps(told).encode(), "application/json")


def _metrics(pool: Any, environ: Environ) -> _Answer:
    try:
        from pgdbpool.web.metrics import exposition
    except ImportError:
        return _words("/metrics needs prometheus-client: pip install 'pgdbpool[status]'", "501 Not Implemented")
    # A scrape does not have all workers write often, and the servers asked who blocks whom, as a look at the page does.
    text, kind = exposition(_figures(_found(pool), live=False), environ.get("HTTP_ACCEPT", ""))
    return _said(text, kind, Vary="Accept")


def _healthz(_: Any, __: Environ) -> _Answer:
    return _words("this process works")


def _readyz(pool: Any, _: Environ) -> _Answer:
    pool = _found(pool)
    groups = pool.unserved() if pool else {}
    lines = [" ".join(f"{name}: {why or 'can be served'}".split()) for name, why in groups.items()]
    status = "200 OK" if None in groups.values() else "503 Service Unavailable"
    return _words("\n".join(lines) or "there is no pool in this process yet", status)


_FIGURES = {"/stats.json": _stats, "/metrics": _metrics, "/healthz": _healthz, "/readyz": _readyz}

# -- the page ---------------------------------------------------------------------------------------------------------


class _File(NamedTuple):
    body: bytes
    kind: str
    tag: str


@cache
def _page() -> dict[str, _File]:
    """The page's files by their names."""
    types = MimeTypes()  # Python's own table, whatever this machine's is
    found = {}
    for each in (files(__package__) / "page").iterdir():
        if each.is_file():
            kind, body = types.guess_type(each.name)[0] or "application/octet-stream", each.read_bytes()
            charset = "; charset=utf-8" if kind.startswith("text/") or kind.endswith("javascript") else ""
            found[each.name] = _File(body, kind + charset, f'"{sha256(body).hexdigest()[:20]}"')
    return found


def _file(name: str, environ: Environ) -> _Answer:
    body, kind, tag = _page()[name]
    about = {"ETag": tag, "Cache-Control": "no-cache"}
    known = environ.get("HTTP_IF_NONE_MATCH", "")
    if known.strip() == "*" or tag in re.findall(r'"[^"]*"', known):
        return _Answer("304 Not Modified", about, b"")
    return _Answer("200 OK", {**about, "Content-Type": kind, "Content-Length": str(len(body))}, body)
