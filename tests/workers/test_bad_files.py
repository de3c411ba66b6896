"""Files and folders that are not what they should be: ignored, never followed, and the rest goes on."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pgdbpool.workers.content import FORMAT, LIMIT, pack
from tests.servers import eventually

from .crew import KEY, Member, files, killed

OTHER = {"counters": {"bad": 1000}, "busy": 1}
NAME = "0" * 32 + ".json"


def in_another_format(path: Path) -> None:
    path.write_bytes(pack(OTHER).replace(b"pgdbpool %d" % FORMAT, b"pgdbpool %d" % (FORMAT + 1)))


def of_somebody_else(path: Path) -> None:
    path.write_bytes(pack(OTHER))
    path.chmod(0o644)
    os.chown(path, 65534, 65534)


def a_link(path: Path) -> None:
    target = path.parent.parent / "target"
    target.write_bytes(pack(OTHER))
    path.symlink_to(target)


def a_socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def huge(path: Path) -> None:
    """4 GiB, of which nothing is on the disk."""
    path.write_bytes(pack(OTHER))
    os.truncate(path, 1 << 32)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away: run the tests as root")

BAD = [
    pytest.param(lambda path: path.write_bytes(b""), id="empty"),
    pytest.param(lambda path: path.write_bytes(pack(OTHER)[:-1]), id="truncated"),
    pytest.param(lambda path: path.write_bytes(pack(OTHER)[:-2] + b"9}"), id="changed"),
    pytest.param(lambda path: path.write_bytes(b"\0" * 5000), id="zeros, as after a power cut"),
    pytest.param(lambda path: path.write_bytes(b'{"counters": {"bad": 1000}, "busy": 1}'), id="no head"),
    pytest.param(lambda path: path.write_bytes(pack([OTHER])), id="no dict"),  # type: ignore[arg-type]
    pytest.param(lambda path: path.write_bytes(deep()), id="nested too deeply"),
    pytest.param(in_another_format, id="in another format"),
    pytest.param(of_somebody_else, id="of somebody else", marks=as_root),
    pytest.param(a_link, id="a link"),
    pytest.param(lambda path: path.symlink_to(path), id="a link to itself"),
    pytest.param(os.mkfifo, id="a FIFO"),
    pytest.param(a_socket, id="a socket"),
    pytest.param(Path.mkdir, id="a folder"),
    pytest.param(huge, id="huge"),
]


def deep() -> bytes:
    from pgdbpool.workers.content import _head

    body = b"[" * 1_000_000 + b"]" * 1_000_000
    return _head(body) + body


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Member, Member]:
    """Two workers that see each other, and a dead one."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    killed(Member(tmp_path, "dead", 7).tick)
    a.tick()
    b.tick()
    a.fold()
    return a, b


@pytest.mark.parametrize("make", BAD)
@pytest.mark.parametrize("name", [NAME, "past", "watched", "0.new"])
def test_bad_files(make: Callable[[Path], object], name: str, pair: tuple[Member, Member], tmp_path: Path) -> None:
    """Nothing is read from a bad file, nor is it waited for; the others see each other as before, and count the dead."""
    a, b = pair
    bad = tmp_path / KEY / name
    bad.unlink(missing_ok=True)
    make(bad)
    lost = {"dead"} if name == "past" else set()
    since = time.monotonic()
    a.exchange.watched()
    killed(Member(tmp_path, "late", 8).tick)
    a.fold()
    b.fold()
    expected = {"b": 1, "dead": 7, "late": 8}
    if name == "past" and bad.is_dir():  # nothing can take its place
        assert a.exchange.alone == f"cannot use {tmp_path / KEY}: Is a directory"
        assert a.exchange.others() == []
    else:
        assert a.exchange.alone is None
        assert a.sees() == {key: count for key, count in expected.items() if key not in lost}
    assert time.monotonic() < since + 20.0
    if (tmp_path / "target").exists():
        assert (tmp_path / "target").read_bytes() == pack(OTHER)


def test_an_unreadable_file_goes_after_a_while(pair: tuple[Member, Member], tmp_path: Path) -> None:
    """What nobody can read and nobody writes is removed ten minutes later, as is what a killed worker had begun, at once."""
    a, b = pair
    for name in (NAME, "1.new"):
        (tmp_path / KEY / name).write_bytes(b"?")
    a.fold()
    assert NAME in files(tmp_path)
    assert "1.new" not in files(tmp_path)
    os.utime(tmp_path / KEY / NAME, (time.time() - 601.0,) * 2)
    a.fold()
    assert NAME not in files(tmp_path)
    assert (a.sees(), b.sees()) == ({"b": 1, "dead": 7}, {"a": 1, "dead": 7})


def test_too_many_files(pair: tuple[Member, Member], tmp_path: Path) -> None:
    """Of thousands of files, a bounded number is read, and nobody takes himself for the last one."""
    a, b = pair
    for number in range(5000):
        (tmp_path / KEY / f"{number:032x}.json").touch()
    since = time.monotonic()
    a.exchange.others()
    a.fold()
    b.exchange.close()
    assert time.monotonic() < since + 20.0
    assert a.exchange.alone is None
    assert a.sees()["dead"] == 7


def test_figures_that_are_too_large(pair: tuple[Member, Member], tmp_path: Path) -> None:
    """A worker whose file nobody would read says so instead of writing it."""
    a, b = pair
    a.name = "a" * LIMIT
    a.tick()
    assert a.exchange.alone is not None
    assert "more than the other workers read" in a.exchange.alone
    assert b.sees() == {"a": 1, "dead": 7}


def give_away(path: Path) -> None:
    path.mkdir()
    os.chown(path, 65534, 65534)


def open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o770)


def linked(path: Path) -> None:
    (path.parent / "elsewhere").mkdir(mode=0o700)
    path.symlink_to("elsewhere")


UNSAFE = [
    pytest.param(give_away, "{} belongs to another user", marks=as_root),
    (open_to_all, "others may write into {} (mode 770)"),
    (linked, "{} is no folder, or a symbolic link"),
    (Path.touch, "{} is no folder, or a symbolic link"),
]


@pytest.mark.parametrize(("make", "why"), UNSAFE)
@pytest.mark.parametrize("level", ["the first", "the second", "in stats_dir"])
def test_an_unsafe_folder(
    make: Callable[[Path], None], why: str, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is a link, of somebody else, or open to others is not used; why, is said, and logged once."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = tmp_path / f"pgdbpool-{os.geteuid()}"
    if level == "the second":
        path.mkdir(mode=0o700)
        path /= f"{KEY}-{os.getsid(0)}"
    elif level == "in stats_dir":
        path = tmp_path / KEY
    make(path)
    a = Member(tmp_path if level == "in stats_dir" else "", "a")
    before = sorted(tmp_path.rglob("*"))
    assert [a.tick(), a.tick()] == [30.0, 30.0]
    a.exchange.watched()
    assert (a.exchange.alone, a.exchange.others()) == (why.format(path), [])
    a.exchange.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_what_the_user_named_may_be_a_link(tmp_path: Path) -> None:
    """``stats_dir`` itself may be a link and open to others (/var/run, /tmp): only what is made in it must be private."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real").chmod(0o1777)
    (tmp_path / "link").symlink_to("real")
    a, b = Member(tmp_path / "real", "a"), Member(tmp_path / "link", "b")
    a.tick()
    b.tick()
    assert (a.sees(), b.sees()) == ({"b": 1}, {"a": 1})


def test_what_killed_services_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new default folder has those of an hour ago removed, unless somebody lives in them; links are not followed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    base = tmp_path / f"pgdbpool-{os.geteuid()}"
    base.mkdir(mode=0o700)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (base / "link").symlink_to(tmp_path / "elsewhere")
    old = time.time() - 3700.0
    (tmp_path / "elsewhere" / "past").touch()
    os.utime(tmp_path / "elsewhere", (old, old))
    living = Member(base / "living", "a")
    living.tick()
    for name in ("stale", "fresh", "strange"):
        killed(Member(base / name, "dead").tick)
        (base / name / KEY).rename(base / name / "moved")
        for path in (base / name / "moved").iterdir():
            path.rename(base / name / path.name)
        (base / name / "moved").rmdir()
    (base / "living" / KEY).rename(base / "inner")
    (base / "living").rmdir()
    (base / "inner").rename(base / "living")
    (base / "strange" / "README").touch()
    for name in ("stale", "strange", "living"):
        os.utime(base / name, (old, old))
    a = Member("", "a")
    a.tick()
    assert a.exchange.alone is None
    mine = f"{KEY}-{os.getsid(0)}"
    assert sorted(path.name for path in base.iterdir()) == sorted(["fresh", "link", "living", "strange", mine])
    assert len(list((base / "living").iterdir())) >= 2
    assert [path.name for path in (base / "strange").iterdir()] == ["README"]
    assert (tmp_path / "elsewhere" / "past").exists()
    a.exchange.close()
    assert eventually(lambda: not (base / mine).exists())
