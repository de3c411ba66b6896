"""Arguments, pipes and interruptions of every command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pgdbpool import Pool
from pgdbpool.command.main import main

from .shell import COMMAND, environment, pgdbpool

CONFIG: dict[str, Any] = {
    "db": [{"host": "db1"}, {"host": "db2", "weight": 2, "query_timeout": 100}],
    "groups": {"web": {"connection_count": 8}, "reports": {"connection_count": 2, "target": "standby"}},
}


@pytest.fixture
def shop(tmp_path: Path) -> str:
    """The path of a configuration."""
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(CONFIG))
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("demo --port 65536", "argument --port: '65536' is no port: a whole number from 0 to 65535"),
        ("demo --port -1", "argument --port: '-1' is no port"),
        ("demo --port http", "argument --port: 'http' is no port"),
        ("demo --duration -1", "argument --duration: '-1' is no number of seconds from 0 to 1,000,000"),
        ("demo --duration nan", "argument --duration: 'nan' is no number of seconds"),
        ("demo --duration 1e300", "argument --duration: '1e300' is no number of seconds"),
        ("explain shop.json --workers 0", "argument --workers: '0' is no number of workers: a whole number from 1"),
        ("explain shop.json --workers 2.5", "argument --workers: '2.5' is no number of workers"),
        ("top http://127.0.0.1/ --interval 0", "argument --interval: '0' is no number of seconds from 0.1 to"),
        ("top", "the following arguments are required: URL"),
        ("", "the following arguments are required: COMMAND"),
    ],
)
def test_arguments_that_are_wrong(arguments: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What an argument may be is said in one line, and the exit status is 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments.split())
    assert caught.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.contract("2.call.explain.1", "8.p1.2")
def test_the_plan_as_data(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``explain --json`` has each server with its connections, and every sentence of the text where it belongs."""
    assert main(["explain", shop, "--workers", "4", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert main(["explain", shop, "--workers", "4"]) == 0
    text = capsys.readouterr().out

    assert (plan["type"], plan["workers"], list(plan["servers"])) == ("threaded", 4, ["db1:5432", "db2:5432"])
    connections = {"groups": {"web": 8, "reports": 2}, "monitor": 1, "per_worker": 11, "total": 44}
    assert [each["connections"] for each in plan["servers"].values()] == [connections] * 2
    assert plan["groups"]["web"]["servers"]["db2:5432"][0] == "an answer may take 0.1 s, and 1.1 s if the server hangs"
    assert plan["groups"]["reports"]["target"] == "standby"
    parts = [*plan["servers"].values(), *plan["groups"].values()]
    said = [sentence for part in parts for sentence in part["sentences"]]
    said += [sentence for group in plan["groups"].values() for each in group["servers"].values() for sentence in each]
    assert len(said) > 15
    assert [sentence for sentence in said if sentence not in text] == []
    # and the text holds nothing else: heading, connections, and each sentence once for those that it is true of
    assert len(text.splitlines()) == 3 + sum(
        any(line.endswith(f": {each}") for each in said) for line in text.splitlines()
    )


def test_the_plan_without_a_number_of_workers(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Where nobody says how many workers there are, there is no total."""
    assert main(["explain", shop, "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["workers"] is plan["servers"]["db1:5432"]["connections"]["total"] is None


def test_the_command_and_the_method_say_the_same(shop: str, capsys: pytest.CaptureFixture[str]) -> None:
    """``pgdbpool explain`` prints what ``Pool.explain`` returns."""
    with Pool({**CONFIG, "type": "non-threaded"}) as pool:
        expected = pool.explain(3)
    Path(shop).write_text(json.dumps({**CONFIG, "type": "non-threaded"}))
    assert main(["explain", shop, "--workers", "3"]) == 0
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize("arguments", ["explain SHOP", "top --help"])
def test_a_reader_that_has_seen_enough(shop: str, arguments: str) -> None:
    """A pipe whose other end is closed (``| head``) ends it without a word, with the status that a shell gives SIGPIPE."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, *arguments.replace("SHOP", shop).split()]
    try:
        done = subprocess.run(command, env=environment(), stdout=writer, stderr=subprocess.PIPE, timeout=30)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_an_encoding_that_lacks_a_sign(shop: str) -> None:
    """On a terminal that cannot show × it prints something else in its place."""
    done = pgdbpool("explain", shop, "--workers", "2", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 workers ? (8 'web'" in done.stdout


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise KeyboardInterrupt", 130, ""),
        ("raise SystemExit('password')", 2, "pgdbpool: odd:DB: SystemExit, line 1 of "),
        ("DB = 3", 2, "pgdbpool: "),
        ("DB = {'db': {'host': 'a'}, 'groups': {'\\x1b[2J': 1}}", 2, r"\x1b[2J"),
    ],
)
def test_a_module_that_does_something_else(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    code: str,
    status: int,
    said: str,
) -> None:
    """Whatever the module of CONFIG does, there is no traceback, and nothing in it commands the terminal."""
    (tmp_path / "odd.py").write_text(f"{code}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "odd", raising=False)
    assert main(["explain", "odd:DB"]) == status
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.out == ""
    for text in ("Traceback", "password", "\x1b"):
        assert text not in printed.err


def test_json_that_is_too_deep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file of brackets is no configuration, and no traceback."""
    (path := tmp_path / "deep.json").write_text("[" * 100_000)
    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == f"pgdbpool: {path}: not valid JSON: RecursionError\n"


def test_help_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """The help names every command."""
    with pytest.raises(SystemExit) as caught:
        main(["--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert all(f"\n    {each} " in printed for each in ("demo", "check", "explain", "top"))
