"""The figures as one renderable that fills the screen it gets, however small."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.segment import Segment
from rich.text import Text

from pgdbpool.command.findings import findings
from pgdbpool.command.page import Page
from pgdbpool.command.tables import PARTS, STYLES
from pgdbpool.command.words import cleaned, many

_LEAST = 4  # lines of a block that is not complete, or it is not worth its place

Lines = list[list[Segment]]


class Dashboard:
    """``trouble``: why the figures are old, or why there are none; ``hint``: what the first line ends with."""

    def __init__(self, page: Page, hint: str = "") -> None:
        self.figures: Any = None
        self.trouble = ""
        self._page = page
        self._hint = hint
        self._at = ""
        self._times = 0

    @property
    def shown(self) -> tuple[int, str]:
        """Changes when it has to be drawn anew."""
        return self._times, self.trouble

    def show(self, figures: Any) -> None:
        """The figures as the page gave them: no text in them can reach the terminal as it is."""
        self.figures, self.trouble, self._times = cleaned(figures), "", self._times + 1
        self._at = datetime.now().strftime("%H:%M:%S")

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Whatever is missing in the figures, or is of another kind."""
        try:
            yield
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise self._page.strange() from error

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._understood():
            parts = self._parts(options.max_width)
        free = options.update(height=None)
        for line in _fitted([console.render_lines(each, free, pad=False) for each in parts], options.height):
            yield from line
            yield Segment.line()

    def _parts(self, width: int) -> list[RenderableType]:
        if self.figures is None:
            return [self._head()]
        return [self._head(), *(each for part in PARTS if (each := part(self.figures, width)))]

    def _head(self) -> Group:
        return Group(Text(self._title(), style="dim", no_wrap=True, overflow="ellipsis"), *self._findings())

    def _title(self) -> str:
        known = [many(len(self.figures["workers"]), "worker"), self._at] if self.figures is not None else []
        return " · ".join(each for each in ("pgdbpool", str(self._page), *known, self._hint) if each)

    def _findings(self) -> list[Text]:
        """The worst first; that all is well only if there is nothing else."""
        if self.trouble:
            old = f"; what follows is of {self._at}" if self.figures is not None else ""
            return [Text(f"{self.trouble}; asking again{old}", style=STYLES["bad"])]
        if self.figures is None:
            return [Text("asking …")]
        found = findings(self.figures)
        return [Text(each.text, style=STYLES[each.level]) for each in found if each.level != "good" or found == [each]]


def _fitted(blocks: Sequence[Lines], height: int | None) -> Lines:
    """All lines, a blank one between blocks; where there is no room for all, the last blocks go, and the others are cut."""
    kept = list(blocks)
    if height is not None:
        while len(kept) > 1 and sum(min(len(each), _LEAST) for each in kept) + len(kept) - 1 > height:
            kept.pop()
        given = _shared(height - len(kept) + 1, [len(each) for each in kept])
        kept = [_cut(block, room) for block, room in zip(kept, given, strict=True)]
    return [line for block in kept for line in ([], *block)][1:]


def _shared(space: int, wanted: Sequence[int]) -> list[int]:
    """Line by line in turn, so that what is short is complete and the rest is cut to the same length."""
    given = [0] * len(wanted)
    while space and given != list(wanted):
        for index, most in enumerate(wanted):
            if space and given[index] < most:
                given[index] += 1
                space -= 1
    return given


def _cut(block: Lines, room: int) -> Lines:
    if len(block) <= room or room < 2:
        return block[:room]
    return [*block[: room - 1], [Segment(f"… {len(block) - room + 1} more")]]
