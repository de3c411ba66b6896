"""What workers of one host see of each other, as long as nothing is wrong."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from functools import partial
from pathlib import Path

import pytest

from pgdbpool.workers import Exchange
from tests.life import in_child, python, thread_of
from tests.servers import eventually

from .crew import KEY, Member, begun, dead, exit_codes, files, forked, killed, retired

SCRIPT = """
import sys
from tests.workers.crew import Member
member = Member(sys.argv[1] or "", sys.argv[2], 5)
member.tick()
print(member.exchange.alone, flush=True)
sys.stdin.readline()
print(sorted(member.sees()), flush=True)
sys.stdin.read()
"""


def test_each_sees_the_others(tmp_path: Path) -> None:
    """A worker sees the figures of the other living ones, and not its own."""
    a, b, c = (Member(tmp_path, name, count) for count, name in enumerate("abc", 1))
    for member in (a, b, c):
        assert member.tick() == 1.0
    assert [member.sees() for member in (a, b, c)] == [{"b": 2, "c": 3}, {"a": 1, "c": 3}, {"a": 1, "b": 2}]
    assert [member.exchange.alone for member in (a, b, c)] == [None] * 3


def test_before_the_first_tick(tmp_path: Path) -> None:
    """Where nobody has written yet, nobody is seen, and nothing is made."""
    a = Member(tmp_path, "a")
    a.exchange.watched()
    assert (a.exchange.others(), a.exchange.alone, list(tmp_path.iterdir())) == ([], None, [])


def test_programs_meet(tmp_path: Path) -> None:
    """Programs started one by one see each other where they have the same ``stats_dir``."""
    a = Member(tmp_path, "a")
    a.tick()
    with python(SCRIPT, str(tmp_path), "b") as other:
        assert other.stdin
        assert other.stdout
        assert other.stdout.readline() == "None\n"
        assert (a.sees(), a.living()) == ({"b": 5}, {"b"})
        other.stdin.write("\n")
        other.stdin.flush()
        assert other.stdout.readline() == "['a']\n"
        other.kill()
        other.wait()
        assert (a.sees(), a.living()) == ({"b": 5}, set())


@pytest.mark.parametrize("session", ["the same", "another"])
def test_the_default_folder(session: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a ``stats_dir``, programs of one session meet in the temporary folder, and those of two do not."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    a = Member("", "a")
    a.tick()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with python(SCRIPT, "", "b", start_new_session=session == "another") as other:
        assert other.stdout
        assert other.stdout.readline() == "None\n"
        assert a.sees() == ({"b": 5} if session == "the same" else {})
        other.communicate()  # it ends, and leaves its file: it does not close
    folders = sorted(path.name for path in (tmp_path / f"pgdbpool-{os.geteuid()}").iterdir())
    assert f"{KEY}-{os.getsid(0)}" in folders
    assert len(folders) == (1 if session == "the same" else 2)
    a.exchange.close()


def test_nobody_else_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folders have mode 0700 and the files 0600, whatever the umask."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = os.umask(0)
    try:
        for stats_dir in ("", str(tmp_path / "stats")):
            member = Member(stats_dir, "a")
            member.tick()
            member.exchange.watched()
    finally:
        os.umask(before)
    made = {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in tmp_path.rglob("*")}
    assert made == {(True, 0o700), (False, 0o600)}


def test_it_writes_rarely(tmp_path: Path) -> None:
    """Every five seconds, if anything changed but the time; more often only what was removed, or a clock set back."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    a.tick()
    b.tick()

    def written(count: int, later: float) -> bool:
        before = os.stat(file).st_ino
        a.count = count
        a.tick(later)
        return os.stat(file).st_ino != before

    file = next(path for path in (tmp_path / KEY).glob("*.json") if b'"a"' in path.read_bytes())
    assert not written(2, 4.9)
    assert written(2, 0.2)
    assert not written(2, 5.1)
    assert not written(2, 5.1)
    assert written(3, -3600.0)
    assert b.sees() == {"a": 3}
    file.unlink()
    assert b.sees() == {}
    a.tick(0.1)
    assert b.sees() == {"a": 3}


def test_it_writes_often_while_somebody_looks(tmp_path: Path) -> None:
    """For five seconds after somebody has looked at the page of one worker, all write twice a second."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    a.tick(0.0)
    b.tick(0.0)
    b.exchange.watched()
    a.count = 2
    assert (a.exchange.is_watched, b.exchange.is_watched) == (False, True)
    assert a.tick(0.6) == 0.5
    assert a.exchange.is_watched
    assert b.sees() == {"a": 2}
    a.count = 3
    assert a.tick(6.0) == 1.0
    assert not a.exchange.is_watched
    a.count = 4
    assert a.tick(0.6) == 1.0
    assert b.sees() == {"a": 3}


def test_what_is_due_is_written_at_once(tmp_path: Path) -> None:
    """Where it is due, all see what has just been counted, however short a time ago this worker wrote; itself, too."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    a.tick(0.0)
    a.count = 2
    a.exchange.tick(a.now + 0.01)
    assert b.sees() == {"a": 1}
    a.exchange.tick(a.now + 0.02, True)
    assert b.sees() == {"a": 2}
    assert [each["counters"] for each in a.exchange.everyone()] == [{"a": 2}]
    assert a.exchange.others() == []


def test_counters_outlive_their_worker(tmp_path: Path) -> None:
    """What a killed worker counted stays, what it did then does not; its file goes when another one looks after it."""
    a = Member(tmp_path, "a")
    a.tick()
    killed(lambda: Member(tmp_path, "b", 7).tick())
    assert (a.sees(), a.living(), len(files(tmp_path))) == ({"b": 7}, set(), 3)
    a.fold()
    assert (a.sees(), len(files(tmp_path))) == ({"b": 7}, 3)  # the file of the past in place of the dead one's
    killed(lambda: Member(tmp_path, "c", 8).tick())
    a.fold()
    assert (a.sees(), len(files(tmp_path))) == ({"b": 7, "c": 8}, 3)
    assert Member(tmp_path, "d").sees() == {"a": 1, "b": 7, "c": 8}


def test_a_stopped_process_lives(tmp_path: Path) -> None:
    """Who does not write any more, but is there, is not taken for dead, whatever its process id."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    with forked(lambda: b.tick()):
        for _ in range(3):
            a.fold()
        assert a.living() == {"b"}


def test_the_child_of_a_fork_is_another_worker(tmp_path: Path) -> None:
    """A fork's child has a file of its own, keeps its parent's neither locked nor from living, and is counted beside it."""
    observer, parent = Member(tmp_path, "observer"), Member(tmp_path, "parent")

    def child() -> None:
        parent.exchange.after_fork_in_child()
        assert not open_in(tmp_path)
        parent.name = "child"
        parent.tick()
        time.sleep(60.0)

    def forking() -> None:
        parent.tick()
        pids.write_text(str(begun(child)))
        assert eventually(lambda: parent.living() == {"child"}, 20.0)

    pids = tmp_path / "pid"
    try:
        with forked(forking):
            assert observer.living() == {"parent", "child"}
        assert (observer.living(), observer.sees()) == ({"child"}, {"parent": 1, "child": 1})
    finally:
        os.kill(int(pids.read_text()), 9)


def open_in(folder: Path) -> list[str]:
    paths = [f"/proc/self/fd/{each}" for each in os.listdir("/proc/self/fd")]
    return [target for path in paths if os.path.lexists(path) and (target := os.readlink(path)).startswith(str(folder))]


def test_one_file_is_open(tmp_path: Path) -> None:
    """However often it writes, a worker has the last of its files open and nothing else, and none when it has closed."""
    a = Member(tmp_path, "a")
    for count in range(10):
        a.count = count
        a.tick()
        a.sees()
        assert open_in(tmp_path) == [str(path) for path in (tmp_path / KEY).glob("*.json")]
    a.exchange.close()
    assert open_in(tmp_path) == []


FORKING = """
import os, sys, threading
from pathlib import Path
from tests.workers.crew import Member
from tests.workers.test_exchange import open_in

folder = Path(sys.argv[1])
member = Member(folder, "a")
other = Member(folder, "b")

def tick():
    while True:
        member.count += 1
        member.tick()
        other.count += 1
        other.tick()

threading.Thread(target=tick, daemon=True).start()
bad = 0
for _ in range(150):
    child = os.fork()
    if child == 0:
        member.exchange.after_fork_in_child()
        other.exchange.after_fork_in_child()
        left = [each for each in open_in(folder) if each.endswith((".new", ".json", "lock"))]
        os._exit(bool(left))
    bad += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
print(bad)
"""


def test_a_fork_in_the_middle_of_writing(tmp_path: Path) -> None:
    """The child closes also what a thread of its parent was just opening: its parent's lock ends with its parent."""
    assert in_program(FORKING, str(tmp_path)) == "0\n"


def in_program(script: str, *args: str) -> str:
    with python(script, *args) as process:
        out, err = process.communicate(timeout=50)
        assert process.returncode == 0, err
        return out


def test_close(tmp_path: Path) -> None:
    """Who closes leaves its counters, those since the last write too, and no file; a closed one sees and does nothing."""
    a, b = Member(tmp_path, "a"), Member(tmp_path, "b")
    a.tick()
    b.tick()
    b.count = 9
    b.exchange.close()
    b.exchange.close()
    assert (a.sees(), a.living()) == ({"b": 9}, set())
    assert len([name for name in files(tmp_path) if name.endswith(".json")]) == 1
    assert (b.exchange.others(), b.tick()) == ([], 30.0)


def test_the_last_one_removes_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the last worker has closed, the folder is gone, and the default one's parent with it; the user's stays."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = tmp_path / "own"
    for stats_dir in ("", own):
        members = [Member(stats_dir, name) for name in "ab"]
        for member in members:
            member.tick()
            member.exchange.watched()
        for member in members:
            member.exchange.close()
    assert list(tmp_path.rglob("*")) == [own]


def test_closed_by_many_at_once(tmp_path: Path) -> None:
    """Eight processes that close at the same moment leave every counter to the one that stays, and then nothing."""
    observer = Member(tmp_path, "observer")
    observer.tick()
    go, ready = os.pipe()

    def close(number: int) -> None:
        os.close(ready)
        observer.exchange.after_fork_in_child()
        member = Member(tmp_path, str(number), number + 1)
        member.tick()
        os.read(go, 1)
        member.exchange.close()

    children = [begun(partial(close, number)) for number in range(8)]
    os.close(go)
    try:
        assert eventually(lambda: len(observer.living()) == 8, 20.0)
    finally:
        os.close(ready)
    assert exit_codes(children) == [0] * 8
    assert (observer.sees(), observer.living()) == ({str(number): number + 1 for number in range(8)}, set())
    observer.exchange.close()
    assert list(tmp_path.iterdir()) == []


def test_the_last_one_waits_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who closes waits for whoever is just looking after the dead, so that the last one removes the folder."""
    monkeypatch.setattr("pgdbpool.workers.exchange._PATIENCE", 30.0)
    a, other = Member(tmp_path, "a"), Member(tmp_path, "other")
    a.tick()
    with open(tmp_path / KEY / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        closing = thread_of(a.exchange.close)
        assert eventually(lambda: not other.living(), 20.0)
        fcntl.flock(lock, fcntl.LOCK_UN)
        closing.result()
    assert list(tmp_path.iterdir()) == []


def test_the_last_one_waits_not_for_long(tmp_path: Path) -> None:
    """Where somebody looks after the dead and comes to no end, who closes leaves its file to whoever comes next."""
    a, other = Member(tmp_path, "a"), Member(tmp_path, "other")
    a.tick()
    with open(tmp_path / KEY / "lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        thread_of(a.exchange.close).result()
    assert (other.sees(), other.living()) == ({"a": 1}, set())


def test_closed_in_the_middle_of_a_tick(tmp_path: Path) -> None:
    """A pool that is closed while its thread writes leaves no living file behind, and is counted once."""
    observer, member = Member(tmp_path, "observer"), Member(tmp_path, "a", 3)
    observer.tick()

    def closing() -> dict[str, object]:
        if member.count == 3:
            member.count = 4
            exchange.close()
            for name in ("x", "y"):  # until the past does not name it any more
                dead(tmp_path, name, 1)
                observer.fold()
        return member.figures()

    exchange = Exchange(str(tmp_path), KEY, closing, retired)
    exchange.tick(time.time())
    assert (observer.sees(), observer.living()) == ({"a": 4, "x": 1, "y": 1}, set())
    assert len(files(tmp_path)) == 3


def test_nowhere() -> None:
    """With ``stats_dir`` None a worker shows only itself, and says so."""
    a = Member(None, "a")
    a.exchange.watched()
    assert (a.tick(), a.exchange.others()) == (30.0, [])
    assert a.exchange.alone == "stats_dir is None: the workers keep their figures to themselves"
    in_child(a.exchange.after_fork_in_child)
    a.exchange.close()
