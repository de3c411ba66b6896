"""A disk that is full or cannot be written, folders that vanish: a worker says that it is alone, and goes on when it can."""

from __future__ import annotations

import itertools
import logging
import os
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pgdbpool.workers import Exchange
from tests.life import in_child, python

from .crew import KEY, Member, dead, files, interrupted, killed, retired, seen_by

NAMESPACE = ["unshare", "--mount", "--map-root-user"]

FULL_AND_READ_ONLY = """
import os, subprocess, sys
from pathlib import Path
from tests.workers.crew import Member

folder = Path(sys.argv[1])

def run(*command):
    subprocess.run([*command, folder], check=True)

def make_read_only():
    run("mount", "--bind", folder)
    run("mount", "-o", "remount,bind,ro")

def show(when):
    print(when, a.tick(), a.exchange.alone, b.tick(), a.sees(), b.sees(), sep=" | ")
    a.count += 1
    assert not list(folder.rglob("*.new"))

run("mount", "-t", "tmpfs", "-o", "size=64k", "none")
a, b = Member(folder, "a"), Member(folder, "b")
show("new")
with open(folder / "ballast", "wb", buffering=0) as ballast:
    try:
        while True:
            ballast.write(b" " * 4096)
    except OSError:
        pass
a.name = "a" * 8000
show("full")
(folder / "ballast").unlink()
a.name = "a"
show("free")
make_read_only()
show("read-only")
run("umount")
show("writable")
make_read_only()
a.exchange.close()
"""


def test_full_and_read_only(tmp_path: Path) -> None:
    """On a full or read-only disk a worker shows only itself, says why, and asks again every 30 s, until it is mended."""
    if not shutil.which("unshare") or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here: run the tests as root, or allow user namespaces")
    script = f"import os, sys; os.execvp({NAMESPACE[0]!r}, {NAMESPACE} + [sys.executable, '-c', *sys.argv[1:]])"
    with python(script, FULL_AND_READ_ONLY, str(tmp_path)) as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    cannot = f"cannot use {tmp_path / KEY}"
    assert out.splitlines() == [
        "new | 1.0 | None | 1.0 | {'b': 1} | {'a': 1}",
        f"full | 30.0 | {cannot}: No space left on device | 1.0 | {{}} | {{'a': 1}}",
        "free | 1.0 | None | 1.0 | {'b': 1} | {'a': 3}",
        f"read-only | 30.0 | {cannot}: Read-only file system | 30.0 | {{}} | {{}}",
        "writable | 1.0 | None | 1.0 | {'b': 1} | {'a': 5}",
    ]


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("/proc/pgdbpool", "No such file or directory"),
        ("/dev/null", "is no folder, or a symbolic link"),
        ("/dev/null/stats", "Not a directory"),
        ("{}/missing/stats", "No such file or directory"),
        ("{}/" + "x" * 300, "File name too long"),
        ("/etc/\0", "embedded null"),
    ],
)
def test_nothing_can_be_made_there(place: str, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where no folder can be made, a worker is alone, says why, warns once, and does so again only after it was mended."""
    a = Member(place.format(tmp_path), "a")
    with caplog.at_level(logging.WARNING, "pgdbpool.workers"):
        assert [a.tick(), a.tick(), a.exchange.others()] == [30.0, 30.0, []]
        a.exchange.watched()
        a.exchange.close()
    assert a.exchange.alone is not None
    assert why in a.exchange.alone
    assert [record.getMessage() for record in caplog.records] == [
        f"the workers of this host cannot exchange their figures: {a.exchange.alone}"
    ]


def test_no_temporary_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any temporary folder, a worker is alone and says so."""

    def nowhere() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    a = Member("", "a")
    assert (a.tick(), a.exchange.others()) == (30.0, [])
    assert a.exchange.alone == "cannot use a temporary folder: No usable temporary directory found in ['/tmp']"
    a.exchange.watched()
    a.exchange.after_fork_in_child()
    a.exchange.close()


def test_the_folder_is_removed_under_them(tmp_path: Path) -> None:
    """Workers whose folder somebody removed make it anew with their next tick."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    a.tick()
    b.tick()
    shutil.rmtree(tmp_path / KEY)
    assert a.exchange.others() == []
    assert (a.tick(0.0), b.tick(0.0)) == (1.0, 1.0)
    assert (a.sees(), b.sees(), a.exchange.alone) == ({"b": 1}, {"a": 1}, None)


def test_the_folder_is_removed_at_any_step(tmp_path: Path) -> None:
    """Whenever in a tick the folder is removed, the same tick makes it anew: the worker is not alone for that."""
    for step in itertools.count():
        a = Member(tmp_path, "a")
        removed = interrupted(step, a.fold, lambda: shutil.rmtree(tmp_path / KEY, ignore_errors=True))
        assert a.exchange.alone is None, step
        if not removed:
            break
    assert step > 20


def test_a_write_that_breaks_off(tmp_path: Path) -> None:
    """Of a file that could not be written to its end nothing is left, and the one before it stays."""
    a = Member(tmp_path, "a")
    a.tick()

    def limited() -> tuple[Any, ...]:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        b.name = "b" * 1000
        return b.tick(), b.exchange.alone, b.exchange.others()

    b = Member(tmp_path, "b")
    b.tick()
    before = files(tmp_path)
    assert in_child(limited) == (30.0, f"cannot use {tmp_path / KEY}: File too large", [])
    assert files(tmp_path) == before
    assert a.sees() == {"b": 1}


def test_no_descriptors(tmp_path: Path) -> None:
    """Where the process can open no more files, what cannot be read is not taken for missing: no counter is lost."""
    a = Member(tmp_path, "a")
    a.tick()
    killed(Member(tmp_path, "dead", 7).tick)
    a.fold()

    def tick(spare: int) -> str | None:
        used = len(os.listdir("/proc/self/fd")) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + spare, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        member = Member(tmp_path, f"w{spare}")
        member.fold()
        return member.exchange.alone

    said = []
    for spare in range(12):
        dead(tmp_path, f"late {spare}", 1)
        said.append(in_child(lambda: tick(spare)))  # noqa: B023 (called at once)
        assert a.sees()["dead"] == 7
        assert a.sees()[f"late {spare}"] == 1
        assert (said[-1] is None) == (b'"late %d"' % spare in (tmp_path / KEY / "past").read_bytes())
    assert said[0] == f"cannot use {tmp_path / KEY}: Too many open files"
    assert said[-1] is None


def raises(*_: object) -> dict[str, Any]:
    raise KeyError("groups")


def test_no_figures(tmp_path: Path) -> None:
    """An exception where the figures are made is kept as text, and raised nowhere."""
    a = Member(tmp_path, "a")
    a.tick()
    exchange = Exchange(str(tmp_path), KEY, raises, retired)
    assert (exchange.tick(a.now), exchange.others()) == (30.0, [])
    assert exchange.alone == "KeyError: 'groups'"
    exchange.close()
    assert len(files(tmp_path)) == 2


def test_figures_of_another_shape(tmp_path: Path) -> None:
    """A dead one's figures that cannot be counted are left alone, as what cannot be read; the living are seen."""
    a = Member(tmp_path, "a")
    a.tick()
    killed(Member(tmp_path, "dead").tick)
    exchange = Exchange(str(tmp_path), KEY, Member(tmp_path, "b").figures, raises)
    assert (exchange.tick(a.now + 1000.0), seen_by(exchange), exchange.alone) == (1.0, {"a": 1}, None)
    exchange.close()
    a.fold()
    assert a.sees() == {"b": 1, "dead": 1}
