"""Where the figures were made."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from psycopg2 import extensions

__all__ = ["described", "load_average"]

_PACKAGES = ("pgdbpool", "psycopg-binary", "psycopg-pool", "SQLAlchemy", "gunicorn")


def described(server: str) -> dict[str, Any]:
    """The machine, the versions, and ``server``, in the order in which they are printed."""
    return {
        "CPU": f"{_processor()}, {_cores()} cores",
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "psycopg2": _version("psycopg2-binary"),
        "libpq": _dotted(extensions.libpq_version()),
        "PostgreSQL": server,
        "packages": ", ".join(f"{name} {_version(name)}" for name in _PACKAGES),
    }


def load_average() -> float:
    """Of the last minute: how many processes wanted a core."""
    return os.getloadavg()[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # what this process may use
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _dotted(number: int) -> str:
    """180004 → 18.4 (libpq's manual, ``PQlibVersion``)."""
    return f"{number // 10000}.{number % 10000}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
