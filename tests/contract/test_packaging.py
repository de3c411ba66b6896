"""The wheel holds the whole package and the example shop, and brings psycopg2 and nothing else."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from .sources import ROOT

INGREDIENTS = ("setup.cfg", "pyproject.toml", "README.md", "LICENSE", "pgdbpool", "examples")
SETUP = configparser.ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
SHOP = "pgdbpool/demo/shop"
NOT_PACKAGED = {"__pycache__", "Dockerfile"}  # the image is built from the checkout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy, so that the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in INGREDIENTS:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "wheel", *options, "--wheel-dir", str(folder / "dist"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return next((folder / "dist").glob("*.whl"))


def files_below(folder: str) -> set[str]:
    root = ROOT / folder
    return {
        str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not NOT_PACKAGED & set(path.parts)
    }


def names_in(wheel: Path) -> set[str]:
    return {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}


def metadata_of(wheel: Path) -> list[tuple[str, str]]:
    archive = ZipFile(wheel)
    name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return Parser().parsestr(archive.read(name).decode()).items()


def test_setup_cfg_names_every_package() -> None:
    """The list of packages in setup.cfg is that of the folders, and the example shop."""
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "pgdbpool").rglob("__init__.py")}
    assert set(SETUP["options"]["packages"].split()) == packages | {"pgdbpool.demo.shop"}


def test_the_wheel_holds_the_package_and_the_shop(wheel: Path) -> None:
    """Every file of pgdbpool/ and of the shop is in the wheel, ``py.typed`` too, and nothing else."""
    expected = {f"pgdbpool/{name}" for name in files_below("pgdbpool")}
    expected |= {f"{SHOP}/{name}" for name in files_below("examples/shop")}
    assert names_in(wheel) == expected
    assert "pgdbpool/py.typed" in names_in(wheel)


def test_the_wheel_requires_psycopg2_and_nothing_else(wheel: Path) -> None:
    """Without extras only psycopg2-binary is installed along."""
    required = [value for key, value in metadata_of(wheel) if key == "Requires-Dist" and "extra ==" not in value]
    assert [requirement.partition("<")[0].partition(">")[0].strip() for requirement in required] == ["psycopg2-binary"]


def test_the_version_has_one_source(wheel: Path) -> None:
    """The version that the wheel, the package and the newest section of the changelog show is the one in setup.cfg."""
    version = SETUP["metadata"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert dict(metadata_of(wheel))["Version"] == version
    assert f"## [{version}]" in changelog
    assert not any(version in path.read_text(encoding="utf-8") for path in (ROOT / "pgdbpool").rglob("*.py")), (
        "the version stands in a source file, too"
    )
