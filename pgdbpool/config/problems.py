"""Where in the configuration a problem is, and how what was found there is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Place", "shown"]

_PLAIN_NAME = re.compile(r"[\w-]+\Z")
_MAY_BE_SECRET = re.compile(r"://|[=@]|pass|pwd|secret|token", re.IGNORECASE)
_LONGEST = 60
_LARGEST = 10**18


@dataclass(frozen=True, slots=True)
class Place:
    """One value's place, such as ``groups.web.timeout``; all places of one configuration share ``problems``."""

    problems: list[str]
    path: str = ""

    def under(self, key: object) -> Place:
        if isinstance(key, str) and _PLAIN_NAME.match(key) and len(key) <= _LONGEST:
            return Place(self.problems, f"{self.path}.{key}" if self.path else key)
        return Place(self.problems, f"{self.path}[{shown(key)}]")

    def item(self, index: int) -> Place:
        return Place(self.problems, f"{self.path}[{index}]")

    def report(self, text: str) -> None:
        self.problems.append(f"{self.path or 'configuration'}: {text}")

    def refuse(self, value: object, allowed: str, *, secret: bool = False) -> None:
        """Report that ``value`` is not what is allowed; of a secret only its type is shown."""
        found = f"a value of type {type(value).__name__} (not shown)" if secret else shown(value)
        self.report(f"found {found}; allowed: {allowed}")


def shown(value: object) -> str:
    """Value and type where both are harmless and short, else the type alone.

    What is misplaced may hold a password or a DSN, and the ``repr`` of a foreign class may tell anything.
    """
    name = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, (bool, int, float)):
        # A huge integer cannot even be put into words (sys.set_int_max_str_digits).
        huge = isinstance(value, int) and abs(value) > _LARGEST
        return f"a huge number ({name})" if huge else f"{value!r} ({name})"
    if isinstance(value, str):
        return _shown_text(value)
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return f"a {name} of {len(value)}" if len(value) else f"an empty {name}"
    return f"a value of type {name}"


def _shown_text(text: str) -> str:
    if _MAY_BE_SECRET.search(text):
        return f"a str of {len(text)} characters (not shown)"
    return f"{text!r} (str)" if len(text) <= _LONGEST else f"a str of {len(text)} characters"
