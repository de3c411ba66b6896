"""What doc/migration.md shows, pasted and run: under 1.0.2 what is 1.0.2's, under this version the rest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdbpool.demo.cluster import Cluster
from tests.dialect.versions import OLD, ROOT, Missing, folder_of_old

GUIDE = ROOT / "doc" / "migration.md"
SETTINGS, *PROGRAMS = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = re.findall(r"(?m)^(?:pip|pgdbpool) .*$", GUIDE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server as the guide takes it for granted."""
    with Cluster() as cluster:
        cluster.sql("ALTER ROLE postgres PASSWORD 'secret'")
        cluster.sql("CREATE TABLE account (id int PRIMARY KEY, balance int)")
        yield cluster


@pytest.fixture
def environment(server: Cluster, tmp_path: Path) -> dict[str, str]:
    """Two accounts, settings.py, and no pgdbpool yet."""
    server.sql("TRUNCATE account; INSERT INTO account VALUES (1, 100), (2, 0)")
    (tmp_path / "settings.py").write_text(SETTINGS, encoding="utf-8")
    return {**os.environ, "PGPORT": str(server.port)}


def run(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    """What it prints; nothing may go wrong."""
    options = {"capture_output": True, "text": True, "timeout": 30, "check": False}
    done = subprocess.run(command, cwd=folder, env=environment, **options)  # type: ignore[call-overload]
    assert (done.returncode, done.stderr) == (0, "")
    return str(done.stdout)


def under(program: str) -> list[str]:
    """The versions that its first line names."""
    return re.findall(r"1\.0\.2|now", program.splitlines()[0])


@pytest.mark.parametrize(("version", "program"), [(version, each) for each in PROGRAMS for version in under(each)])
def test_a_program_of_the_guide(version: str, program: str, environment: dict[str, str], tmp_path: Path) -> None:
    """It runs under each version that it is for, and prints what its comments say, up to a dash."""
    try:
        package = folder_of_old() if version == OLD else ROOT
    except Missing as missing:
        pytest.fail(str(missing))
    environment["PYTHONPATH"] = f"{package}{os.pathsep}{tmp_path}"
    printed = run([sys.executable, "-c", program], tmp_path, environment).splitlines()
    assert printed == re.findall(r"(?m)^ *(?:print\(.*\)  )?# (.*?)(?: – .*)?$", program)[1:]


def test_every_program_says_what_it_is_for() -> None:
    """Each program names its versions; both are there."""
    assert all(under(program) for program in PROGRAMS)
    assert {version for program in PROGRAMS for version in under(program)} == {OLD, "now"}


def test_the_commands_of_the_guide(environment: dict[str, str], tmp_path: Path) -> None:
    """``check`` finds the server, ``explain`` counts its sessions; the one other command is pip's."""
    assert COMMANDS[0] == "pip install -U pgdbpool"
    answers = [
        run([sys.executable, "-m", *command.split()], tmp_path, {**environment, "PYTHONPATH": str(ROOT)})
        for command in COMMANDS[1:]
    ]
    assert len(answers) == 2
    assert "localhost" in answers[0]
    assert "4 workers" in answers[1]
