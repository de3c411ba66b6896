"""Under which account the server runs, and where its folder is made."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgdbpool.demo.account import Account, folder_for, unprivileged

NOBODY = 65534

root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another account")


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    before = os.geteuid()
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


@root
@pytest.mark.parametrize("uid", [NOBODY, 47110], ids=["known", "nameless"])
def test_an_ordinary_account_runs_it_itself(uid: int) -> None:
    """Who is not root runs the server under his own account, which needs nothing to run a child or to own a folder."""
    with acting_as(uid):
        account = unprivileged()
        assert (account.uid, account.popen()) == (uid, {})
        assert account.can_run("true")
        account.own(Path("/"))  # nothing to do, or it would be refused
    assert account.name in ("nobody", str(uid))


@root
def test_root_runs_it_as_another(tmp_path: Path) -> None:
    """For root it is an account that has no rights, and a folder with what is in it is given to that account."""
    account = unprivileged()
    assert account.uid != 0
    assert account.popen()["user"] == account.uid
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").touch()
    account.own(tmp_path)
    places = (tmp_path, tmp_path / "below", tmp_path / "below" / "file")
    assert {place.stat().st_uid for place in places} == {account.uid}


def test_a_command_that_is_not_there() -> None:
    """It counts as one that cannot be run."""
    assert not Account("me", os.geteuid(), os.getegid()).can_run("/no/such/command")


@root
def test_a_folder_that_the_account_cannot_reach(tmp_path: Path) -> None:
    """Where the account has no way into the place that was asked for it says so, and leaves no folder there."""
    tmp_path.chmod(0o700)
    with pytest.raises(PermissionError, match="can reach none of"):
        folder_for(Account("nobody", NOBODY, NOBODY), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_container_without_accounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """For root without an /etc/passwd the usual id of ``nobody`` will do."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwall", list)
    assert unprivileged() == Account("nobody", NOBODY, NOBODY)
