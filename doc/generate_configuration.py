"""The tables of keys in doc/configuration.md, made from the dataclasses: ``python doc/generate_configuration.py``.

It brings them up to date where they stand: between two comments, ``<!-- keys: group -->`` and ``<!-- end of keys -->``.
"""

from __future__ import annotations

import re
import sys
from dataclasses import Field
from inspect import getdoc
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this checkout, whatever is installed

from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions  # noqa: E402
from pgdbpool.config.sections import REQUIRED, keys_of  # noqa: E402

DOCUMENT = ROOT / "doc" / "configuration.md"
SECTIONS = {"root": PoolOptions, "endpoint": EndpointOptions, "group": GroupOptions}

_TABLE = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)
_MEANING = re.compile(r"^(\w+)(?: \(default: ([^)]+)\))?: (.+(?:\n    .+)*)", re.MULTILINE)
_UNITS = {" of seconds": " s", " of milliseconds": " ms"}


def table(section: str) -> str:
    """The Markdown table of one section: ``root``, ``endpoint`` or ``group``. KeyError if a key has no meaning."""
    options = SECTIONS[section]
    meanings = {
        name: (default, " ".join(says.split())) for name, default, says in _MEANING.findall(getdoc(options) or "")
    }
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key, field in keys_of(options).items():
        default, says = meanings[field.name]
        cells = (f"`{key}`", default or _default(field), field.metadata["kind"].allowed, says)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def filled(text: str) -> str:
    """``text`` with each table between its two comments made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{table(found[2])}\n{found[3]}", text)


def _default(field: Field[Any]) -> str:
    value = field.default
    if value is REQUIRED:
        return "required"
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"`{value}`"
    units = [unit for words, unit in _UNITS.items() if words in field.metadata["kind"].allowed]
    return f"{value:g}" + "".join(units)


if __name__ == "__main__":
    DOCUMENT.write_text(filled(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
