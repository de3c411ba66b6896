"""A disk that is soon full, for a server's tablespace: a small tmpfs, where root may mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pgdbpool.demo.account import folder_for, unprivileged

__all__ = ["cannot_mount", "small_disk"]


def cannot_mount() -> str:
    """What is missing on this machine, or nothing."""
    if os.geteuid() != 0:
        return "only root may mount a small file system; run it as root"
    try:
        with small_disk():
            return ""
    except subprocess.CalledProcessError as error:
        return f"root may not mount here, a container needs --cap-add SYS_ADMIN: {error.stderr.strip()}"


@contextmanager
def small_disk(megabytes: int = 4) -> Iterator[Path]:
    """An empty folder of the server's account with so much room. Enter it before the server starts that uses it."""
    account = unprivileged()
    folder = folder_for(account, None)
    options = f"size={megabytes}m,mode=0700,uid={account.uid},gid={account.gid}"
    try:
        _run("mount", "-t", "tmpfs", "-o", options, "pgdbpool-small", str(folder))
        try:
            yield folder
        finally:
            _run("umount", str(folder))
    finally:
        folder.rmdir()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
