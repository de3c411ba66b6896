"""The sentences of doc/contract.md, and which test names which (``make contract``).

Each has an id, ``<section>.<block>.<n>``: the block is a bullet or a table row, called after its first words or name,
or ``p1``, ``p2``, … for a section's paragraphs; n counts the sentences in it. Of a table, the first word of its head
stands before the row: ``2.call.query.1``, ``3.group.timeout.1``. Code examples are not sentences.

    python tests/contract/sentences.py            the sentences without a test
    python tests/contract/sentences.py --all      every sentence and its tests
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
CONTRACT = ROOT / "doc" / "contract.md"

# Sentences whose time has not come, by the beginning of their id, with what they wait for.
LATER = {
    "3.endpoint.pooler": "poolers",
    "7.p2": "poolers",
}


class Sentence(NamedTuple):
    id: str
    text: str

    @property
    def later(self) -> str | None:
        """What it waits for, if it is not in scope yet."""
        return next((why for start, why in LATER.items() if f"{self.id}.".startswith(start.rstrip(".") + ".")), None)


def sentences(text: str) -> list[Sentence]:
    """Every sentence of the contract's numbered sections."""
    return [
        Sentence(f"{block}.{number}", sentence)
        for block, content in _blocks(text)
        for number, sentence in enumerate(_split(content), 1)
    ]


def named_by_tests() -> dict[str, list[str]]:
    """``file::test`` of every test that names a sentence by ``@pytest.mark.contract("4.alive.1", …)``."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            for name, function in _functions(node):
                for id_ in _ids(function):
                    found[id_].append(f"{path.relative_to(ROOT)}::{name}")
    return found


def _functions(node: ast.stmt) -> Iterator[tuple[str, ast.FunctionDef]]:
    if isinstance(node, ast.FunctionDef):
        yield node.name, node
    elif isinstance(node, ast.ClassDef):
        for inner in node.body:
            if isinstance(inner, ast.FunctionDef):
                yield f"{node.name}::{inner.name}", inner


def _ids(function: ast.FunctionDef) -> Iterator[str]:
    for decorator in function.decorator_list:
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.mark.contract":
            for argument in decorator.args:
                yield str(ast.literal_eval(argument))


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Id and content of each paragraph, bullet and table row."""
    section, paragraphs, head = "", 0, ""
    for lines in _pieces(text):
        first = lines[0]
        if first.startswith("#"):
            number = re.match(r"## (\d+)\.", first)
            section, paragraphs, head = number.group(1) if number else "", 0, ""
        elif not section:
            continue
        elif first.startswith("|"):
            head = _cells(first)[0].split()[0]
            for row in lines[2:]:
                cells = _cells(row)
                yield f"{section}.{head}.{_slug(cells[0])}", " ".join(cell for cell in cells if cell)
        elif first.startswith("- "):
            content = " ".join(line.strip() for line in lines)[2:]
            yield f"{section}.{_slug(content)}", content
        else:
            paragraphs += 1
            yield f"{section}.p{paragraphs}", " ".join(lines)


def _pieces(text: str) -> Iterator[list[str]]:
    """The lines of each heading, paragraph, bullet and table; code examples left out."""
    piece: list[str] = []
    for line in re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M).splitlines():
        if piece and (not line.strip() or line.startswith(("- ", "#"))):
            yield piece
            piece = []
        if line.strip():
            piece.append(line)
    if piece:
        yield piece


def _cells(row: str) -> list[str]:
    """A table row's cells; a bar inside code does not end one."""
    masked = re.sub(r"`[^`]*`", lambda code: code.group().replace("|", "\0"), row.strip().strip("|"))
    return [cell.strip().replace("\0", "|") for cell in masked.split("|")]


def _slug(text: str) -> str:
    """The bold words or the code name that a block begins with, else its first three words."""
    if match := re.match(r'`(?:[a-z]+\.)*(\w+)(?:: "(\w+)")?', text):  # of code: without its package and arguments
        return "-".join(part.lower() for part in match.groups() if part)
    match = re.match(r"\*\*(.+?)\*\*", text)
    words = match.group(1) if match else text
    return "-".join(re.findall(r"[a-z0-9]+", words.lower())[:3])


def _split(text: str) -> list[str]:
    """Sentences: ended by a full stop, a space and a beginning; a stop inside code ends none."""
    masked = re.sub(r"`[^`]*`", lambda code: "x" * len(code.group()), text)
    ends = [match.end() for match in re.finditer(r"[.!?]\)?(?:\*\*)?\s+(?=[A-Z(*x`])", masked)]
    parts = [text[start:end].strip() for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
    return [part for part in parts if part]


def main() -> None:
    tests, everything = named_by_tests(), "--all" in sys.argv
    known = sentences(CONTRACT.read_text(encoding="utf-8"))
    scope = [sentence for sentence in known if not sentence.later]
    for sentence in known if everything else scope:
        held = tests.get(sentence.id, [])
        if everything or not held:
            print(f"{sentence.id:<40} {sentence.text}")
            for line in held or ([f"later: {sentence.later}"] if sentence.later else []):
                print(f"{'':<40}   {line}")
    held_count = sum(sentence.id in tests for sentence in scope)
    print(f"\n{len(scope)} sentences in scope, {held_count} with a test, {len(known) - len(scope)} for later")


if __name__ == "__main__":
    main()
