"""Eight real gunicorn workers: what any of them shows is what PostgreSQL says of all of them at that moment."""

from __future__ import annotations

import os
import signal
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers import eventually
from tests.several import Replicas
from tests.usage import fresh_table
from tests.web.compared import Numbers, Observer, by_metrics, by_stats
from tests.web.crowd import APP, GROUPS, Scene, Service, reads

SEEN = 10.0  # seconds; two are enough on a quiet machine
BOOTED = 30.0
# What each worker holds. Those that want the row stand behind the first. The fourth and the last have all that a group may
# hold there, and requests that wait for more.
HELD = [
    ["row", "asleep"],
    ["transaction", "row"],
    ["transaction", "handler", "row"],
    ["transaction", "handler", "asleep", "row"],
    ["transaction", "report"],
    ["handler", "handler", "report asleep"],
    ["transaction", "asleep"],
    ["handler", "report", "report"],
]
WAITING = [[], [], [], ["handler", "row"], [], [], [], ["report", "report", "report"]]
TAKEN = next(
    f"shop.py:{number} (held)" for number, text in enumerate(APP.splitlines(), 1) if "block(group) as db" in text
)
Serve = Callable[..., Service]


@pytest.fixture(scope="module")
def cluster(module_replicas: Replicas) -> Replicas:
    fresh_table(module_replicas.primary, "numbers", "n int")
    module_replicas.primary.sql("INSERT INTO web.numbers VALUES (0)")
    module_replicas.caught_up()
    return module_replicas


@pytest.fixture(scope="module")
def observer(cluster: Replicas) -> Iterator[Observer]:
    with Observer(cluster) as made:
        yield made


def configured(cluster: Replicas, **root: Any) -> dict[str, Any]:
    return {**cluster.config(), "groups": GROUPS, **root}


@pytest.fixture(scope="module", params=["", "--preload"], ids=["each its own", "preload"])
def service(cluster: Replicas, tmp_path_factory: Any, request: pytest.FixtureRequest) -> Iterator[Service]:
    """Eight workers, as users start them: their figures are in the default folder."""
    options = [request.param] if request.param else []
    before = {*default_folder().glob("*")}  # of processes that other tests have killed
    service = Service(tmp_path_factory.mktemp("eight"), configured(cluster), 8, *options)
    yield service
    service.close()
    assert "Traceback" not in service.log()
    assert {*default_folder().glob("*")} <= before
    assert eventually(lambda: not cluster.primary.sessions("pgdbpool:%"), 4.0)


@pytest.fixture
def serve(cluster: Replicas, tmp_path: Path) -> Iterator[Serve]:
    """Starts one more service, of few workers."""
    started: list[Service] = []

    def start(count: int, **root: Any) -> Service:
        (folder := tmp_path / str(len(started))).mkdir()
        started.append(Service(folder, configured(cluster, **root), count))
        return started[-1]

    yield start
    for service in started:
        service.close()


def default_folder() -> Path:
    return Path(tempfile.gettempdir()) / f"pgdbpool-{os.geteuid()}"


@pytest.fixture
def scene(service: Service, cluster: Replicas) -> Iterator[Scene]:
    """Each worker holds what is said of it above, and has served some queries; all go on at the end."""
    made = Scene(service, cluster)
    with service.lines(8) as lines:
        for worker in lines.values():
            reads(service, worker[:3], "web")
            reads(service, worker[:1], "reports")
        for worker, kinds in zip(lines.values(), HELD, strict=True):
            for line, kind in zip(worker, kinds, strict=False):
                one = made.hold(line, kind)
                if len(made.held) == 1:
                    one.is_answered()  # it has the row
        for worker, kinds in zip(lines.values(), WAITING, strict=True):
            for line, kind in zip(worker[4:7], kinds, strict=False):
                made.wait(line, kind)
        made.spare = {number: worker[-1] for number, worker in lines.items()}
        yield made
        made.end()


def shows(expected: Callable[[], Numbers], shown: Callable[[], Numbers]) -> Numbers:
    """Soon the one is shown just as the other is expected at that moment: it."""
    last: list[Numbers] = []

    def the_same() -> bool:
        last[:] = shown(), expected()
        return last[0] == last[1]

    eventually(the_same, SEEN)
    assert last[0] == last[1]
    return last[0]


@pytest.mark.contract("6.status_app.2")
def test_every_number_is_what_postgresql_says(service: Service, observer: Observer, scene: Scene) -> None:
    """Connections, holders, who blocks whom, who waits, checkouts: each worker shows what the servers and clients know."""
    expected = lambda: observer.numbers(service, scene)  # noqa: E731
    numbers = shows(expected, lambda: by_stats(service.stats()))
    assert len(numbers["holders"]) == len(scene.held) == sum(map(len, HELD))
    assert numbers["waiting"] == {"web": 2, "reports": 3}
    assert {Path(each["taken"]).name for each in service.stats()["holders"]} == {TAKEN}
    for line in scene.spare.values():
        numbers = shows(expected, lambda line=line: by_stats(line.get("/pool/stats.json")))
        numbers["workers"] = len(numbers["workers"])
        del numbers["holders"]
        assert by_metrics(line.text("/pool/metrics")) == numbers


@pytest.mark.contract("6.status_app.2")
def test_a_worker_that_is_killed(service: Service, observer: Observer, scene: Scene) -> None:
    """Within 2 s nothing of what it held is shown; what it counted stays; who it blocked goes on; the next one is there."""
    expected = lambda: observer.numbers(service, scene)  # noqa: E731
    shows(expected, lambda: by_stats(service.stats()))
    before, counted = service.workers(), service.given.copy()
    killed = scene.held[0].worker
    os.kill(killed, signal.SIGKILL)
    since = time.monotonic()
    scene.without(killed)
    assert eventually(lambda: not is_shown(service.stats(), killed), SEEN)
    assert time.monotonic() - since < 2.0
    assert eventually(lambda: len(service.workers() - before) == 1 and killed not in service.workers(), BOOTED)
    with service.lines(1) as lines:
        [new] = lines.keys() - before
        reads(service, lines[new], "web")
        numbers = shows(expected, lambda: by_stats(service.stats()))
    assert sum(bool(blockers) for *_, blockers in numbers["holders"]) == 2  # of the three that want the row
    assert sum(numbers["checkouts"].values()) == sum(counted.values()) + 1


def is_shown(stats: Any, worker: int) -> bool:
    """Whether something of that worker is."""
    for_of = [each["pid"] for each in stats["workers"]] + [each["worker"] for each in stats["holders"]]
    return worker in for_of


@pytest.mark.contract("6.status_app.2")
def test_a_graceful_reload(service: Service, cluster: Replicas, observer: Observer) -> None:
    """After SIGHUP all is shown of eight other workers. With ``--preload`` no counter went down; else all may begin anew."""
    before, told, counted = service.workers(), [service.stats()], service.given.copy()
    service.process.send_signal(signal.SIGHUP)

    def reloaded() -> bool:
        told.append(service.stats())
        return len(now := service.workers()) == 8 and not now & before

    assert eventually(reloaded, BOOTED), service.log()
    service.given.clear()
    with service.lines(1) as lines:
        for [line] in lines.values():
            reads(service, [line], "web")
    told.append(service.stats())
    if service.preloads or by_stats(told[-1])["checkouts"] > service.given:
        service.given += counted
    shows(lambda: observer.numbers(service, Scene(service, cluster)), lambda: by_stats(service.stats()))
    for counter in ("checkouts", "reads", "timeouts", "errors") if service.preloads else ():
        for group in GROUPS:
            counts = [each["groups"][group][counter] for each in told]
            assert counts == sorted(counts), (counter, group)


def test_two_services_of_one_host(serve: Serve) -> None:
    """Those with the same servers and other groups do not meet: each shows itself, and has a private folder of its own."""
    before = {*default_folder().glob("*")}
    services = {name: serve(1, groups={name: {"connection_count": 1}}) for name in ("orders", "jobs")}
    folders = lambda: {*default_folder().glob("*")} - before  # noqa: E731
    assert eventually(lambda: len(folders()) == 2, BOOTED)
    assert {mode_of(path) for path in (default_folder(), *folders())} == {0o700}
    for name, service in services.items():
        stats = service.stats()
        assert ({each["pid"] for each in stats["workers"]}, [*stats["groups"]]) == (service.workers(), [name])
    services["jobs"].close()
    assert len(folders()) == 1


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_folder_of_the_users(serve: Serve, tmp_path: Path) -> None:
    """In ``stats_dir`` is one private folder, with private files, as long as there are workers; after SIGTERM it is empty."""
    (tmp_path / "figures").mkdir()
    service = serve(2, stats_dir=str(tmp_path / "figures"))
    assert eventually(lambda: {each["pid"] for each in service.stats()["workers"]} == service.workers(), BOOTED)
    [folder] = (tmp_path / "figures").iterdir()
    assert mode_of(folder) == 0o700
    assert {mode_of(path) for path in folder.glob("*.json")} == {0o600}
    assert len([*folder.glob("*.json")]) == 2
    service.close()
    assert [*(tmp_path / "figures").iterdir()] == []


def test_without_a_folder(serve: Serve) -> None:
    """``stats_dir: None``: each worker shows itself alone, and says why."""
    service = serve(2, stats_dir=None)
    with service.lines(1) as lines:
        for worker, [line] in lines.items():
            stats = line.get("/pool/stats.json")
            assert [each["pid"] for each in stats["workers"]] == [worker]
            assert stats["alone"] == "stats_dir is None: the workers keep their figures to themselves"
            assert "pgdbpool_workers_summed 0.0" in line.text("/pool/metrics").splitlines()
