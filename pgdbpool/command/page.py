"""The figures of a status page, fetched from its URL."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from http.client import HTTPException, HTTPMessage, IncompleteRead
from ssl import SSLCertVerificationError, SSLError
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import SplitResult, quote, unquote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from pgdbpool.command.failing import Failed, Wrong
from pgdbpool.command.words import printable

LONGEST = 10.0  # seconds that an answer may take in all, name resolution included
_PATIENCE = 5.0  # seconds of silence in it
_FORMAT = 1
_KEYS = set("at pool workers groups endpoints holders events advice".split())
_LARGEST = 2**24  # octets
_EXAMPLE = "http://127.0.0.1:8080/pool/"
_SHOULD = f"URL must be where status_app is mounted, such as {_EXAMPLE}"


class _Staying(HTTPRedirectHandler):
    """Goes nowhere else: the name and password are for this server alone."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        return None


_OPENER = build_opener(_Staying())


class Page:
    """A status page; as text its URL without user, password and query, which may be secret."""

    def __init__(self, url: str) -> None:
        parts = _split(url)
        folder = _quoted(parts.path.removesuffix("/stats.json").rstrip("/"))
        place = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{folder}/"
        query = f"?{_quoted(parts.query)}" if parts.query else ""
        self._shown = printable(place)
        self._request = Request(f"{place}stats.json{query}", headers={"Accept": "application/json"})
        self._known = parts.username is not None
        if self._known:
            self._request.add_unredirected_header("Authorization", f"Basic {_token(parts)}")

    def __str__(self) -> str:
        return self._shown

    def read(self) -> dict[str, Any]:
        """``/stats.json`` as it is now. Raises ``Failed`` if the server is away, ``Wrong`` if it is no status page."""
        try:
            with _OPENER.open(self._request, timeout=_PATIENCE) as answer:
                return self._figures(answer.headers.get_content_type(), answer.read(_LARGEST))
        except HTTPError as error:
            with error:
                raise self._refused(error) from None
        except (OSError, IncompleteRead) as error:
            raise self._away(error) from None
        except HTTPException:
            raise self._wrong("a server that does not speak HTTP") from None

    def silent(self, passed: float) -> Failed:
        return Failed(f"{self} does not answer: nothing came for {passed:.0f} s")

    def strange(self) -> Wrong:
        """For who cannot read what ``read`` gave."""
        return self._wrong("figures of another version of pgdbpool")

    def _figures(self, kind: str, body: bytes) -> dict[str, Any]:
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            raise self._wrong(f"{kind}, which is not JSON") from None
        if not isinstance(found, dict) or "format" not in found:
            raise self._wrong("JSON of something else")
        if found["format"] != _FORMAT or not found.keys() >= _KEYS:
            raise self.strange()
        return found

    def _refused(self, error: HTTPError) -> Failed:
        if error.code >= 500:
            return Failed(f"{self} does not work: {error.code} {printable(error.reason)}")
        found = f"{error.code} {printable(error.reason)}"
        if error.code in (401, 403):
            why = "the name or password in URL is refused" if self._known else "URL needs a name and password"
            return Wrong(f"{self}stats.json: found {found}; {why}, such as http://NAME:PASSWORD@127.0.0.1:8080/pool/")
        if 300 <= error.code < 400:
            found += f", on to {printable(error.headers.get('Location', 'nowhere').partition('?')[0])}"
        return self._wrong(found)

    def _away(self, error: Exception) -> Failed:
        cause = error.reason if isinstance(error, URLError) else error
        if isinstance(cause, SSLCertVerificationError):
            return Wrong(f"{self} cannot be trusted: {cause.verify_message}")
        if isinstance(cause, SSLError) and cause.reason in ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"):
            return self._wrong("a server that does not speak TLS (http:// in place of https://?)")
        if isinstance(cause, TimeoutError):
            return Failed(f"{self} does not answer within {_PATIENCE:g} s")
        text = cause.strerror if isinstance(cause, OSError) and cause.strerror else str(cause)
        return Failed(f"{self} does not answer: {printable(text)}")

    def _wrong(self, found: str) -> Wrong:
        return Wrong(f"{self}stats.json: found {found}; {_SHOULD}")


def _split(url: str) -> SplitResult:
    """The URL's parts; one that cannot be right is not shown, for a password may be in it."""
    try:
        parts = urlsplit(url)
        spoken, host = parts.scheme in ("http", "https"), (parts.hostname or "").encode("idna")
        good = spoken and host and parts.port != 0 and not re.search(r"[\s\0]", parts.netloc)
    except ValueError:
        good = False
    if not good:
        raise Wrong(f"URL (not shown) is none of http:// or https:// with a host and a port up to 65535; {_SHOULD}")
    return parts


def _quoted(text: str) -> str:
    return quote(text, safe="/%:@!$&'()*+,;=?~")


def _token(parts: SplitResult) -> str:
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    return b64encode(pair.encode()).decode("ascii")
