"""The status application's routes, on real pools, through wsgiref's validator (contract §6)."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.resources import files
from typing import Any, NamedTuple
from urllib.parse import urljoin
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import pgdbpool
from pgdbpool.engine import current
from pgdbpool.wsgi import status_app
from tests.life import frozen, thread_of
from tests.servers import PASSWORD, Server, eventually
from tests.usage import Wire

MOUNT = "/ops/pool"
FIGURES = ["/stats.json", "/metrics", "/healthz", "/readyz"]
PAGE = sorted(each.name for each in (files("pgdbpool.web") / "page").iterdir())
POLICY = {
    "default-src 'none'",
    *(f"{kind}-src 'self'" for kind in ("script", "style", "connect", "img")),
    *(f"{what} 'none'" for what in ("base-uri", "form-action")),
    "frame-ancestors 'self'",
}


class Got(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def get(app: Any, path: str = "/", *, mount: str = MOUNT, method: str = "GET", **headers: str) -> Got:
    """One request to the application below ``mount``; both sides keep to PEP 3333, and the body is whole."""
    environ: dict[str, Any] = {"REQUEST_METHOD": method, "SCRIPT_NAME": mount, "PATH_INFO": path, "QUERY_STRING": ""}
    setup_testing_defaults(environ)
    environ.update({f"HTTP_{name.upper()}": value for name, value in headers.items()})
    said: list[Any] = []
    checked = validator(app)(environ, lambda *args: said.extend(args) or (lambda _: None))  # type: ignore[func-returns-value]
    body = b"".join(checked)
    checked.close()
    got = Got(int(said[0].split()[0]), dict(said[1]), body)
    assert len(got.headers) == len(said[1]), "a header twice"
    assert method == "HEAD" or got.status == 304 or got.headers["Content-Length"] == str(len(body))
    return got


def stats(app: Any) -> Any:
    return json.loads(get(app, "/stats.json").body)


NOBODY = status_app()  # of no pool, or one that a test has closed


@pytest.fixture
def app(make_pool: Callable[..., Any]) -> Any:
    return status_app(make_pool(connection_count=2))


# -- routes -----------------------------------------------------------------------------------------------------------


@pytest.mark.contract("6.status_app.1")
@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html"),
        ("/index.html", "text/html"),
        ("/page.css", "text/css"),
        ("/icon.svg", "image/svg+xml"),
        ("/stats.json", "application/json"),
        ("/metrics", "text/plain; version="),
        ("/healthz", "text/plain"),
        ("/readyz", "text/plain"),
    ],
)
def test_each_route(app: Any, path: str, kind: str) -> None:
    """The page and the figures, each by its content type."""
    assert eventually(lambda: get(app, "/readyz").status == 200)
    got = get(app, path)
    assert got.status == 200
    assert got.headers["Content-Type"].startswith(kind)
    assert got.body


@pytest.mark.parametrize("path", ["/", *(f"/{name}" for name in PAGE), *FIGURES, "", "/nothing"])
def test_every_answer_is_safe(path: str) -> None:
    """The policy lets nothing in from elsewhere; types are not guessed, addresses not passed on, figures not kept."""
    headers = get(NOBODY, path).headers
    assert {each.strip() for each in headers["Content-Security-Policy"].split(";")} == POLICY
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")
    assert headers["Cache-Control"] == (
        "no-cache" if path.strip("/") in ["index.html", *PAGE] or path == "/" else "no-store"
    )


@pytest.mark.parametrize("name", PAGE)
def test_the_files_of_the_page(name: str) -> None:
    """Each is served as it is, by a type that a browser takes, and not again to who has it."""
    got = get(NOBODY, f"/{name}")
    assert got.body == (files("pgdbpool.web") / "page" / name).read_bytes()
    kinds = {"js": "javascript; charset=utf-8", "css": "text/css; charset=utf-8", "html": "text/html; charset=utf-8"}
    assert kinds.get(name.rpartition(".")[2], "") in got.headers["Content-Type"]
    assert got.headers["Content-Type"] != "application/octet-stream"
    tag = got.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = get(NOBODY, f"/{name}", if_none_match=known)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag)
    assert get(NOBODY, f"/{name}", if_none_match='"other"').status == 200


@pytest.mark.parametrize("path", ["/", "/page.css", *FIGURES])
def test_it_can_only_be_read(app: Any, path: str) -> None:
    """HEAD has the headers of GET and no body; any other method is refused by saying which are allowed."""
    assert eventually(lambda: get(app, "/readyz").status == 200)
    head, whole = get(app, path, method="HEAD"), get(app, path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers.keys() == whole.headers.keys()
    assert int(head.headers["Content-Length"]) > 0
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        refused = get(app, path, method=method)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "path", ["/nothing", "/stats", "/metrics/", "//", "/../status.py", "/page/index.html", "/é", "/%2e%2e/status.py"]
)
def test_nothing_else_is_there(path: str) -> None:
    """Whatever is no route and no file of the page is 404, by whatever method."""
    latin = path.encode().decode("latin-1")
    assert (get(NOBODY, latin).status, get(NOBODY, latin, method="POST").status) == (404, 404)


@pytest.mark.parametrize("mount", ["/pool", "/ops/pool", "/größe:1", "/a b"])
def test_the_mount_without_its_slash(mount: str) -> None:
    """It leads to the page, by an address of its own path only: whatever host and prefix the client knows it by."""
    got = get(NOBODY, "", mount=mount.encode().decode("latin-1"))
    assert got.status == 302
    seen = "https://elsewhere.example/prefix" + mount.replace("ö", "%C3%B6").replace("ß", "%C3%9F").replace(" ", "%20")
    leads_to = urljoin(seen, got.headers["Location"])
    assert leads_to.replace("%3A", ":") == f"{seen}/"


@pytest.mark.parametrize("mount", ["", "/pool"])
def test_wherever_it_is_mounted(mount: str) -> None:
    """The same below a path and at the root."""
    assert get(NOBODY, "/", mount=mount).body == get(NOBODY, "/").body
    assert get(NOBODY, "/healthz", mount=mount).status == 200


# -- what it shows ----------------------------------------------------------------------------------------------------


@pytest.mark.contract("6.status_app.1")
def test_the_figures_are_the_pools(make_pool: Callable[..., Any]) -> None:
    """In use, idle, waiting and checkouts are what is so at this moment."""
    pool = make_pool(connection_count=2, timeout=10)
    app = status_app(pool)
    with ExitStack() as held:
        held.enter_context(pool.handler())
        held.enter_context(pool.handler())
        waiting = thread_of(pool.query, "SELECT 1")
        before = stats(app)["groups"]["web"]["wait"]["count"]  # they waited for the first connections to open
        assert eventually(lambda: stats(app)["groups"]["web"]["waiting"] == 1)
        web = stats(app)["groups"]["web"]
        assert (web["connection_count"], web["in_use"], web["idle"], web["checkouts"]) == (2, 2, 0, 2)
    assert waiting.result().error is None
    web = stats(app)["groups"]["web"]
    assert (web["in_use"], web["idle"], web["waiting"], web["checkouts"]) == (0, 2, 0, 3)
    assert web["wait"]["count"] == before + 1


def test_the_default_pool_of_the_moment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one of its own it shows the default pool: none yet, each that takes over, and that it is closed."""
    monkeypatch.setattr(current, "_pool", None)  # as if no test had made one before
    app = status_app()
    assert stats(app)["pool"] == "none"
    assert (get(app, "/readyz").status, get(app, "/healthz").status, get(app, "/metrics").status) == (503, 200, 200)
    assert "no pool" in get(app, "/readyz").text
    pool: Any = None
    try:
        for name in ("first", "second"):
            pool = pgdbpool.init({**server.config(), "groups": {name: {"connection_count": 1}}}, wait=10)
            assert list(stats(app)["groups"]) == [name]
            assert (stats(app)["pool"], get(app, "/readyz").status) == ("ready", 200)
    finally:
        if pool is not None:
            pool.close()
    assert stats(app)["pool"] == "closed"
    assert (get(app, "/readyz").status, get(app, "/healthz").status, get(app, "/metrics").status) == (503, 200, 200)
    assert "second: the pool is closed" in get(app, "/readyz").text


def test_a_pool_of_its_own(make_pool: Callable[..., Any], server: Server) -> None:
    """An application made for a pool shows that one, whatever the default is."""
    app = status_app(make_pool({**server.config(), "groups": {"own": {"connection_count": 1}}}))
    with pgdbpool.init(server.config()):
        assert list(stats(app)["groups"]) == ["own"]


@pytest.mark.contract("6.status_app.1")
def test_ready_and_not(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """503 while no group can be served, with a line for each that says why; 200 again by itself."""
    groups = {"web": {"connection_count": 2}, "reports": {"connection_count": 2, "min_connections": 1}}
    config = {**own_server.config(), "groups": groups}
    app = status_app(make_pool(config))
    assert eventually(lambda: get(app, "/readyz").status == 200)
    assert get(app, "/readyz").text == "web: can be served\nreports: can be served\n"
    own_server.stop("immediate")
    assert eventually(lambda: get(app, "/readyz").status == 503, 15.0)
    why = get(app, "/readyz").text
    for line, group in zip(why.splitlines(), ("web", "reports"), strict=True):
        assert line.startswith(f"{group}: 127.0.0.1:{own_server.port} down"), why
    assert stats(app)["pool"] == "not ready"
    assert get(app, "/healthz").status == 200
    own_server.start()
    assert eventually(lambda: get(app, "/readyz").status == 200, 15.0)


@pytest.mark.contract("6.status_app.1")
def test_the_database_is_not_asked(wire: Wire, make_pool: Callable[..., Any]) -> None:
    """``/healthz`` and ``/readyz`` send it nothing, whatever state it is in."""
    app = status_app(make_pool(wire.config()))
    assert eventually(lambda: get(app, "/readyz").status == 200)
    wire.queries()
    for _ in range(50):
        assert (get(app, "/healthz").status, get(app, "/readyz").status) == (200, 200)
    assert wire.queries() == []


def test_a_frozen_server_holds_up_nobody(own_server: Server, make_pool: Callable[..., Any]) -> None:
    """Every route answers at once while the server does not, also after the page has asked it who blocks whom."""
    pool = make_pool(own_server.config())
    app = status_app(pool)
    assert eventually(lambda: get(app, "/readyz").status == 200)
    stats(app)
    with frozen(own_server):
        stuck = thread_of(pool.query, "SELECT 1")
        for _ in range(20):
            for path in ("/", *FIGURES):
                assert thread_of(get, app, path).result(2.0).error is None
    stuck.result(20.0)


@pytest.mark.contract("6.status_app.2")
def test_nothing_secret(server: Server, make_pool: Callable[..., Any]) -> None:
    """No password and no text of a statement is on any of it, also while that runs, and after failures."""
    pool = make_pool(server.config({"hold_warning": 0.1}))
    app = status_app(pool)
    running = thread_of(pool.query, "SELECT 'planted in a statement' FROM pg_sleep(1)")
    broken = make_pool(server.config(**{"pass": "planted password"}))
    with pytest.raises(pgdbpool.DBQueryError):
        pool.query("SELECT planted_column")
    assert eventually(lambda: get(status_app(broken), "/readyz").status == 503, 10.0)
    assert eventually(lambda: stats(app)["holders"])
    for shown in (app, status_app(broken)):
        for path in ("/", *FIGURES):
            text = get(shown, path).text
            assert "planted" not in text
            assert PASSWORD not in text
            assert "SELECT" not in text
    assert running.result().error is None


@pytest.fixture
def without_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if prometheus-client were not installed."""
    for name in [name for name in sys.modules if name.startswith("prometheus_client")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "pgdbpool.web.metrics", raising=False)
    yield
    sys.modules.pop("pgdbpool.web.metrics", None)


def test_without_the_library(without_library: None, app: Any) -> None:
    """``/metrics`` says what to install; everything else works."""
    got = get(app, "/metrics")
    assert got.status == 501
    assert "pip install 'pgdbpool[status]'" in got.text
    assert get(app, "/stats.json").status == 200
