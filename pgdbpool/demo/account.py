"""Under which account the server runs: PostgreSQL refuses to run as root (``initdb``, ``postgres``)."""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from pathlib import Path
from typing import Any, NamedTuple


class Account(NamedTuple):
    """An account of this machine, and what it can do with files and commands."""

    name: str
    uid: int
    gid: int

    def popen(self) -> dict[str, Any]:
        """The arguments by which ``subprocess`` runs a child under this account; none if this process does already."""
        if os.geteuid() == self.uid:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": [], "umask": 0o077}

    def own(self, folder: Path) -> None:
        """Give a folder and everything in it to this account."""
        if os.geteuid() != self.uid:
            os.chown(folder, self.uid, self.gid)
            for place, folders, files in os.walk(folder):
                for name in [*folders, *files]:
                    os.chown(os.path.join(place, name), self.uid, self.gid, follow_symlinks=False)

    def can_run(self, *command: str | Path) -> bool:
        """Whether a command runs to a good end under this account."""
        try:
            return subprocess.run(command, capture_output=True, cwd="/", **self.popen()).returncode == 0
        except OSError:
            return False


def unprivileged() -> Account:
    """The account of this process; for root, ``postgres`` or ``nobody`` or else the first ordinary one there is."""
    if os.geteuid() != 0:
        return Account(_name(os.geteuid()), os.geteuid(), os.getegid())
    others = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    names = [name for name in ("postgres", "nobody", *others) if name in others]
    if not names:
        return Account("nobody", 65534, 65534)  # a container without /etc/passwd: the id alone is enough
    return Account(names[0], others[names[0]].pw_uid, others[names[0]].pw_gid)


def folder_for(account: Account, parent: Path | None) -> Path:
    """A new folder of mode 0700 that belongs to the account and that it can reach."""
    places = [parent] if parent else [Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")]
    for place in places:
        folder = Path(tempfile.mkdtemp(prefix="pgdbpool-", dir=place)).resolve()
        reachable = False
        try:
            account.own(folder)
            reachable = account.can_run("test", "-w", folder)
        finally:
            if not reachable:
                folder.rmdir()
        if reachable:
            return folder
    raise PermissionError(f"account {account.name!r} can reach none of: {', '.join(map(str, places))}")


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
