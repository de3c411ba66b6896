"""The tables of keys in doc/configuration.md, made from the dataclasses: ``python -m pgdbpool.config.table [FILE]``.

Prints them, or brings those in FILE up to date; they stand there between two comments, ``<!-- keys: group -->`` and
``<!-- end of keys -->``.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from pgdbpool.config.keys import keys_of
from pgdbpool.config.options import EndpointOptions, GroupOptions, PoolOptions

__all__ = ["filled", "table"]

SECTIONS = {"root": PoolOptions, "endpoint": EndpointOptions, "group": GroupOptions}

_TABLE = re.compile(r"(<!-- keys: (\w+) -->\n).*?(<!-- end of keys -->)", re.DOTALL)


def table(section: str) -> str:
    """The Markdown table of one section: ``root``, ``endpoint`` or ``group``."""
    options = SECTIONS[section]
    rows = ["| key | default | allowed | meaning |", "|---|---|---|---|"]
    for key in keys_of(options).values():
        cells = (f"`{key.name}`", key.default, key.kind.allowed, key.says)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def filled(text: str) -> str:
    """``text`` with each table between its two comments made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{table(found[2])}\n{found[3]}", text)


def _main(arguments: list[str]) -> None:
    for name in arguments:
        file = Path(name)
        file.write_text(filled(file.read_text(encoding="utf-8")), encoding="utf-8")
    if not arguments:
        sys.stdout.write("\n".join(f"{section}\n\n{table(section)}" for section in SECTIONS))


if __name__ == "__main__":
    _main(sys.argv[1:])
