"""Sphinx: the Markdown files of this folder, every warning an error (``make docs``)."""

from configparser import ConfigParser
from pathlib import Path

_setup = ConfigParser(interpolation=None)
_setup.read(Path(__file__).resolve().parents[1] / "setup.cfg", encoding="utf-8")

project = "pgdbpool"
author = "pgdbpool founders"
copyright = f"2026, {author}"
release = version = _setup["metadata"]["version"]

extensions = ["myst_parser"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"{project} {release}"
html_show_sourcelink = False
