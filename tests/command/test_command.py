"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from ..servers import Server
from .shell import pgdbpool


def as_toml(config: dict[str, Any]) -> str:
    """The little TOML that these configurations need."""
    (endpoint,) = config["db"] if isinstance(config["db"], list) else [config["db"]]
    lines = ["[[db]]", *(f"{key} = {json.dumps(value)}" for key, value in endpoint.items())]
    for name, group in config["groups"].items():
        lines += [f"[groups.{name}]", *(f"{key} = {json.dumps(value)}" for key, value in group.items())]
    return "\n".join(lines)


@pytest.mark.contract("8.p1.2", "8.p1.3")
@pytest.mark.parametrize("kind", ["module", "json", "toml"])
def test_check_says_that_a_server_answers(server: Server, tmp_path: Path, kind: str) -> None:
    """``pgdbpool check`` prints role, version and round trip, and exits with 0, from each kind of CONFIG."""
    config = server.config()
    (tmp_path / "shop.py").write_text(f"class settings:\n    DB = {config!r}\n")
    (tmp_path / "shop.json").write_text(json.dumps(config))
    (tmp_path / "shop.toml").write_text(as_toml(config))
    if kind == "toml":
        pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli", reason="pip install tomli")
    source = {"module": "shop:settings.DB", "json": "shop.json", "toml": "shop.toml"}[kind]

    done = pgdbpool("check", source, folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert f":{server.port}  ok  primary  PostgreSQL" in done.stdout


def test_check_says_why_a_server_does_not(server: Server, tmp_path: Path) -> None:
    """A refused password is told in the server's words, without the password, and the exit code is 1."""
    config = server.config(**{"pass": "not-the-password"})
    (tmp_path / "shop.json").write_text(json.dumps(config))

    done = pgdbpool("check", "shop.json", "--json", folder=tmp_path)

    (answer,) = json.loads(done.stdout).values()
    assert done.returncode == 1
    assert not answer["ok"]
    assert "password authentication failed" in answer["error"]
    assert "not-the-password" not in done.stdout + done.stderr


def test_explain_counts_connections(tmp_path: Path) -> None:
    """``pgdbpool explain --workers`` multiplies, without a server."""
    config = {"db": {"host": "db1", "name": "shop"}, "groups": {"web": {"connection_count": 8}}}
    (tmp_path / "shop.json").write_text(json.dumps(config))

    done = pgdbpool("explain", "shop.json", "--workers", "4", folder=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "4 workers × (8 'web' + 1 monitor = 9) = 36 connections" in done.stdout


@pytest.mark.parametrize(
    ("source", "text", "said"),
    [
        ("shop.json", '{"db": {}, "groups": {"web": {"conection_count": 8}}}', "connection_count"),
        ("shop.json", '{"db": ', "line 1"),
        ("missing.json", "", "No such file"),
        ("nowhere:DB", "", "nowhere"),
        ("json:nothing", "", "nothing"),
        ("shop", "", "module:attribute"),
    ],
)
def test_a_wrong_configuration_is_told(tmp_path: Path, source: str, text: str, said: str) -> None:
    """What is wrong with CONFIG stands on standard error, without a traceback, and the exit code is 2."""
    (tmp_path / "shop.json").write_text(text)

    done = pgdbpool("explain", source, folder=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
