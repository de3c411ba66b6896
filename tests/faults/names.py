"""Host names of one's own: a file in place of /etc/hosts, which only those see who run under ``command`` (Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["Names", "why_not"]


@cache
def _unshare() -> list[str]:
    """The command that gives a program mounts of its own; empty where this machine does not allow it."""
    if not sys.platform.startswith("linux"):
        return []
    command = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    try:
        done = subprocess.run([*command, "true"], capture_output=True, timeout=10)
    except OSError:
        return []
    return command if done.returncode == 0 else []


def why_not() -> str:
    """What is missing here, and how to get it; empty if nothing is."""
    return (
        "" if _unshare() else "an /etc/hosts of its own: Linux only, as root or with user namespaces (unshare --mount)"
    )


class Names:
    """One name, which leads to ``address`` until it is pointed elsewhere."""

    def __init__(self, name: str, address: str) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._name, self._hosts = name, Path(self._folder.name, "hosts")
        Path(self._folder.name, "nsswitch.conf").write_text("hosts: files\n")
        self.point(address)

    @property
    def command(self) -> list[str]:
        """What stands before a program's own arguments."""
        files = "".join(
            f"mount --bind {self._folder.name}/{each} /etc/{each} && " for each in ("hosts", "nsswitch.conf")
        )
        return [*_unshare(), "sh", "-c", f'{files} exec "$0" "$@"']

    def point(self, *addresses: str) -> None:
        """From now on the name leads there."""
        self._hosts.write_text("".join(f"{address} {self._name}\n" for address in addresses))

    def __enter__(self) -> Names:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._folder.cleanup()
