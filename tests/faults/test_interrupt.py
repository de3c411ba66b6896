"""Ctrl-C while ``make faults`` runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import psutil
import pytest

from tests.servers import eventually

ROOT = Path(__file__).resolve().parents[2]


def living(processes: Iterable[psutil.Process]) -> list[str]:
    """The command lines of those that run; a zombie does not."""
    found = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


@pytest.mark.slow
def test_an_interrupted_run_leaves_nothing() -> None:
    """A SIGINT for all of its process group ends it with a summary, and neither server nor client remains."""
    command = [sys.executable, "-m", "tests.faults", "--short", "5"]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)

    def started() -> list[psutil.Process]:
        return list(psutil.Process(child.pid).children(recursive=True))

    try:
        assert eventually(lambda: " ".join(living(started())).count("tests.faults.client") == 2, 30.0)
        there = started()
        assert "postgres" in " ".join(living(there))
        os.killpg(child.pid, signal.SIGINT)
        said, _ = child.communicate(timeout=30)
    finally:
        child.kill()
    assert (child.returncode, "interrupted" in said) == (130, True)
    eventually(lambda: not living(there))
    assert living(there) == []
