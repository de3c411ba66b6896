"""The two versions: where each of them is imported from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["OLD", "ROOT", "Missing", "folder_of_old"]

ROOT = Path(__file__).resolve().parents[2]
OLD = "1.0.2"
_FOLDER = ROOT / "build" / "dialect" / f"pgdbpool-{OLD}"


class Missing(RuntimeError):
    """1.0.2 is not here, and pip could not bring it."""


def folder_of_old() -> Path:
    """Where 1.0.2 is installed, alone; pip brings it the first time. ``Missing`` if it cannot."""
    if not (_FOLDER / "pgdbpool" / "pool.py").exists():
        options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--target", str(_FOLDER)]
        command = [sys.executable, "-m", "pip", "install", *options, f"pgdbpool=={OLD}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Missing(
                f"pgdbpool {OLD} is missing and pip could not download it. With a network or an index at hand, "
                f"this brings it:\n  {' '.join(command)}\npip said:\n{done.stderr.strip()}"
            )
    return _FOLDER
