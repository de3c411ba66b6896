"""A folder of ours and the files in it: no link is followed, nobody is waited for, nothing of others is believed.

A file is written whole under another name and then renamed, so that what is read under its name never changes. Who wrote
it keeps it open and locked (``flock``): when the process ends, however it ends, the lock is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar
from uuid import uuid4

from pgdbpool.workers.content import LIMIT

MOST = 512  # files that are read in one folder
ALL = 8 * MOST  # names that are
TEMPORARY = ".new"

T = TypeVar("T")

_STRANGE = {errno.ENOENT, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENXIO}  # gone, a link, closed to us, a socket
_CAREFUL = os.O_NOFOLLOW | os.O_NONBLOCK
_PAUSE = 0.01  # seconds between two looks at a lock


class Unusable(OSError):
    """The folder is there, and is not to be trusted."""


@dataclass(frozen=True, slots=True)
class File:
    """``held``: who wrote it lives."""

    data: bytes
    held: bool
    changed: float


class Folder:
    """An open folder. Whatever becomes of its path, all is done in this one; where that was removed, nothing can be written.

    ``private``: it must be a real folder, ours, and nobody else may write into it.
    """

    def __init__(self, path: str, within: Folder | None = None, private: bool = True) -> None:
        self.path: str = os.path.join(within.path, path) if within else path
        flags = os.O_RDONLY | os.O_DIRECTORY | (_CAREFUL if private else 0)
        try:
            self._descriptor: int = os.open(path, flags, dir_fd=within._descriptor if within else None)
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                raise Unusable(f"{self.path} is no folder, or a symbolic link") from None
            raise
        try:
            if private:
                self._examine()
        except OSError:
            os.close(self._descriptor)
            raise

    def _examine(self) -> None:
        status = os.fstat(self._descriptor)
        if status.st_uid != os.geteuid():
            raise Unusable(f"{self.path} belongs to another user")
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise Unusable(f"others may write into {self.path} (mode {stat.S_IMODE(status.st_mode):o})")

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)

    @property
    def changed(self) -> float:
        return os.fstat(self._descriptor).st_mtime

    def make(self, name: str) -> bool:
        """Make a private folder in this one; false where there is something of that name."""
        try:
            os.mkdir(name, 0o700, dir_fd=self._descriptor)
        except FileExistsError:
            return False
        return True

    def names(self) -> list[str]:
        with os.scandir(self._descriptor) as entries:
            return [entry.name for entry in islice(entries, ALL)]

    def inode(self, name: str) -> int | None:
        status = self._status(name)
        return status and status.st_ino

    def age(self, name: str, now: float) -> float:
        """Seconds since the file was changed, also where clocks were set back; infinite where there is none."""
        status = self._status(name)
        return abs(now - status.st_mtime) if status else float("inf")

    def read(self, name: str) -> File | None:
        """None of what is not there, or is no plain file of ours."""

        def read(status: os.stat_result, descriptor: int) -> File:
            held = self._held(name, status, descriptor)
            with open(descriptor, "rb", closefd=False) as file:
                return File(file.read(min(status.st_size, LIMIT)), held, status.st_mtime)

        return self._opened(name, read)

    def _opened(self, name: str, work: Callable[[os.stat_result, int], T]) -> T | None:
        try:
            descriptor = os.open(name, os.O_RDONLY | _CAREFUL, dir_fd=self._descriptor)
        except OSError as error:
            if error.errno in _STRANGE:
                return None
            raise  # a lack of descriptors, say, must not look like a lack of files
        try:
            status = os.fstat(descriptor)
            is_ours = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
            return work(status, descriptor) if is_ours else None
        finally:
            os.close(descriptor)

    def _held(self, name: str, status: os.stat_result, descriptor: int) -> bool:
        """The lock is free also on what was replaced between two calls; then its writer lived just now."""
        return _is_held(descriptor) or self.inode(name) != status.st_ino

    def write(self, name: str, data: bytes) -> int:
        """Put a file into the place of ``name``; its descriptor, which holds the lock on it."""
        temporary = uuid4().hex + TEMPORARY
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAREFUL
        descriptor = os.open(temporary, flags, 0o600, dir_fd=self._descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            while data:
                data = data[os.write(descriptor, data) :]
            os.rename(temporary, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
        except BaseException:
            os.close(descriptor)
            self.remove(temporary)
            raise
        return descriptor

    def touch(self, name: str, now: float) -> None:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | _CAREFUL, 0o600, dir_fd=self._descriptor)
        try:
            os.utime(descriptor, (now, now))
        finally:
            os.close(descriptor)

    def remove(self, name: str) -> None:
        with suppress(OSError):
            os.unlink(name, dir_fd=self._descriptor)

    def is_held(self, name: str) -> bool:
        """Whether it is a file of ours, and who wrote it lives."""
        return self._opened(name, lambda status, descriptor: self._held(name, status, descriptor)) or False

    def disown(self, names: Iterable[str]) -> None:
        """Close these files, wherever this process has them open: in a fork's child, what a thread of its parent had."""
        ours = {(status.st_dev, status.st_ino) for name in names if (status := self._status(name)) is not None}
        for descriptor in os.listdir("/dev/fd"):
            with suppress(OSError):  # that of the list itself
                status = os.fstat(int(descriptor))
                if (status.st_dev, status.st_ino) in ours:
                    os.close(int(descriptor))

    @contextmanager
    def locked(self, name: str, patience: float = 0.0) -> Iterator[bool]:
        """Hold the lock of that name during the block; false where somebody else has it after so many seconds, too."""
        limit = time.monotonic() + patience
        while (descriptor := self._lock(name)) is None and time.monotonic() < limit:
            time.sleep(_PAUSE)
        try:
            yield descriptor is not None
        finally:
            if descriptor is not None:
                os.close(descriptor)

    def _lock(self, name: str) -> int | None:
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | _CAREFUL, 0o600, dir_fd=self._descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = self.inode(name) == os.fstat(descriptor).st_ino  # and not that of a file removed meanwhile
        except BlockingIOError:
            ours = False
        except BaseException:
            os.close(descriptor)
            raise
        if ours:
            return descriptor
        os.close(descriptor)
        return None

    def _status(self, name: str) -> os.stat_result | None:
        with suppress(FileNotFoundError):
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        return None


def _is_held(descriptor: int) -> bool:
    """Whether somebody has it locked; if nobody has, it is locked (shared) until it is closed."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
