"""Where ``top`` gets its figures: a URL, and what is found there."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from pgdbpool.command.failing import Failed, Wrong
from pgdbpool.command.page import Page

from .pages import Site, figures, site
from .shell import pgdbpool

SECRET = "of-nobody-else"


@pytest.fixture(name="page")
def served() -> Iterator[Site]:
    """A status page."""
    with site() as made:
        yield made


def complaint(url: str) -> str:
    """What is said of a URL that is wrong; no word of it is the secret."""
    with pytest.raises(Wrong) as caught:
        Page(url).read()
    assert SECRET not in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize("path", ["/pool/", "/pool", "/pool/stats.json", "/pool//", "/pool/?key=1"])
def test_the_figures_are_found_below_the_url(page: Site, path: str) -> None:
    """The URL is where the page is mounted, with or without a slash at its end."""
    read = Page(f"http://127.0.0.1:{page.port}{path}")
    assert read.read() == figures()
    assert str(read) == page.url


def test_basic_authentication(page: Site) -> None:
    """Name and password in the URL are sent, any character of them, and not shown; without them it says what is missing."""
    page.password = f"ops:{SECRET}/@"
    url = f"http://ops:{SECRET}%2F%40@127.0.0.1:{page.port}/pool/"
    assert Page(url).read() == figures()
    assert str(Page(url)) == page.url
    assert "401" in complaint(page.url)
    assert "URL needs a name and password" in complaint(page.url)
    assert "refused" in complaint(f"http://ops:{SECRET}@127.0.0.1:{page.port}/pool/")


@pytest.mark.parametrize(
    "url",
    [
        f"127.0.0.1:8080/{SECRET}",
        f"ops:{SECRET}@127.0.0.1:8080",
        f"ftp://ops:{SECRET}@127.0.0.1/",
        f"file:///etc/{SECRET}",
        f"http://ops:{SECRET}@127.0.0.1:99999/",
        f"http://ops:{SECRET}@127.0.0.1:0/",
        f"http:///{SECRET}",
        f"http://a b{SECRET}/",
        f"http://[{SECRET}/",
        f"http://{'x' * 70}.{SECRET}/",
        "",
    ],
)
def test_a_url_that_is_none(url: str) -> None:
    """What is no URL of a web server is refused before anything is asked, and not repeated: a password may be in it."""
    assert "URL must be where status_app is mounted, such as http://127.0.0.1:8080/pool/" in complaint(url)


@pytest.mark.parametrize(
    ("status", "kind", "body", "found"),
    [
        (404, "text/html", b"<h1>\x1b[2JNo</h1>", "404 Not Found"),
        (200, "text/html", b"<h1>Shop</h1>", "text/html, which is not JSON"),
        (200, "application/json", b'{"format": 1', "not JSON"),
        (200, "application/json", b"[" * 100_000, "not JSON"),
        (200, "application/json", b'{"ok": true}', "JSON of something else"),
        (200, "application/json", b"[1]", "JSON of something else"),
        (200, "application/json", b'{"format": 2}', "another version"),
        (200, "application/json", b'{"format": 1}', "another version"),
        (400, "text/plain", b"", "400 Bad Request"),
    ],
)
def test_what_is_no_status_page(page: Site, status: int, kind: str, body: bytes, found: str) -> None:
    """It says in one line what was found, where, and what the URL should be."""
    page.status, page.kind, page.body = status, kind, body
    said = complaint(page.url)
    assert found in said
    assert f"{page.url}stats.json" in said
    assert "where status_app is mounted" in said


def test_it_goes_nowhere_else(page: Site) -> None:
    """A redirection is told and not followed: name and password are for this server alone."""
    with site() as other:
        page.status, page.headers = 302, {"Location": f"{other.url}stats.json?token={SECRET}"}
        assert f"302 Found, on to {other.url}stats.json" in complaint(
            f"http://ops:{SECRET}@127.0.0.1:{page.port}/pool/"
        )
        assert other.asked == 0


def test_tls(tmp_path: Path) -> None:
    """A certificate is verified: an unknown authority's is refused, that of one that the system trusts is not."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    authority.issue_cert("127.0.0.1").configure_cert(context := ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    with site(tls=context) as page:
        assert f"{page.url} cannot be trusted: " in complaint(page.url)
        done = pgdbpool("top", page.url, "--json", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        assert (done.returncode, json.loads(done.stdout)) == (0, figures())


def test_a_server_that_is_away(page: Site) -> None:
    """A server that refuses, fails or does not exist is away, which is not the URL's fault."""
    page.status = 503
    for url, why in ((page.url, "503 Service Unavailable"), (f"http://127.0.0.1:{unused()}/", "refused")):
        with pytest.raises(Failed, match=why) as caught:
            Page(url).read()
        assert not isinstance(caught.value, Wrong)


@pytest.mark.parametrize(
    ("scheme", "greeting", "found"),
    [
        ("http", b"SSH-2.0-OpenSSH_9.2\r\n", "does not speak HTTP"),
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS"),
    ],
)
def test_a_server_of_another_kind(scheme: str, greeting: bytes, found: str) -> None:
    """What speaks another protocol is named as such."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def greet() -> None:
            client, _ = server.accept()
            with client:
                client.sendall(greeting)
                client.recv(1000)

        thread = threading.Thread(target=greet)
        thread.start()
        assert found in complaint(f"{scheme}://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()


def unused() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
