# ruff: noqa: T201
"""``make dialect``: every case under 1.0.2 and under this version; ``ARGS='wsgi nested'`` chooses some."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from tests.contract.sentences import CONTRACT, sentences
from tests.dialect.catalogue import ALL, ASPECTS, EXAMPLES, Case
from tests.dialect.compare import Comparison, Stage, compare, stage
from tests.dialect.versions import OLD, Missing, folder_of_old

_AT_ONCE = 3


def run(cases: Iterable[Case], on: Stage) -> list[Comparison]:
    """In the order of the cases; a few at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        return list(threads.map(lambda case: compare(case, on), cases))


def table(comparisons: Iterable[Comparison]) -> list[str]:
    """One line for each case; ``named``: it differs just as the contract says."""
    widths = (28, 72, 10, 10, 11, 10)
    lines = [("case", "what it shows", *ASPECTS)]
    for each in comparisons:
        lines.append((each.case.name, each.case.shows, *(each.verdict(aspect) for aspect in ASPECTS)))
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def named(comparisons: Iterable[Comparison]) -> list[str]:
    """The deliberate differences that were seen, with the contract's own words."""
    words = {sentence.id: sentence.text for sentence in sentences(CONTRACT.read_text(encoding="utf-8"))}
    found = []
    for each in comparisons:
        for aspect, (before, after) in each.case.differs.items():
            found.append(f"{each.case.name}, {aspect}: {before!r} -> {after!r}")
        found += [f"    §{id_}: {words[id_]}" for id_ in each.case.contract]
    return found


def main(chosen: list[str]) -> int:
    unknown = set(chosen) - {case.name for case in ALL}
    if unknown:
        print(f"no such case: {', '.join(sorted(unknown))}; there are: {', '.join(case.name for case in ALL)}")
        return 2
    try:
        folder_of_old()
    except Missing as missing:
        print(missing)
        return 2
    with stage() as on:
        comparisons = run([case for case in ALL if case.name in chosen or not chosen], on)
    print(*table(comparisons), "", "What differs, and the contract's sentence for it:", sep="\n")
    print(*named(comparisons), sep="\n")
    wrong = [each for each in comparisons if each.unexpected()]
    for each in wrong:
        print(f"\n{each.case.name}: UNEXPECTED", *each.unexpected(), each.errors, sep="\n")
    same = sum(each.case in EXAMPLES for each in comparisons if each not in wrong)
    print(
        f"\n{len(comparisons)} programs of {OLD}, run unchanged: {len(comparisons) - len(wrong)} as the contract says"
    )
    print(f"upgrade of {OLD}'s examples: {same} run, 0 lines changed" if not wrong else "FAILED")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
