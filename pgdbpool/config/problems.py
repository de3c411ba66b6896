"""Where in the configuration a problem is, and how what was found there is shown."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_PLAIN_NAME = re.compile(r"[\w-]{1,60}\Z")

# A text that may be a DSN or hold one's password; a name as libpq's password, passfile, sslpassword, scram_client_key,
# oauth_client_secret, options, or as users call their settings.
SOUNDS_SECRET = re.compile(r"://|[=@]|pass|pwd|secret|token|_key|options", re.IGNORECASE)

_LARGEST = 10**18  # a much longer integer cannot even be put into words (sys.set_int_max_str_digits)


@dataclass(frozen=True, slots=True)
class Place:
    """One value's place, such as ``groups.web.timeout``; all places of one configuration share ``problems``."""

    problems: list[str]
    path: str = ""

    def under(self, key: object) -> Place:
        if isinstance(key, str) and _PLAIN_NAME.match(key):
            return Place(self.problems, f"{self.path}.{key}" if self.path else key)
        return Place(self.problems, f"{self.path}[{shown(key)}]")

    def item(self, index: int) -> Place:
        return Place(self.problems, f"{self.path}[{index}]")

    def report(self, text: str) -> None:
        self.problems.append(f"{self.path or 'configuration'}: {text}")


def shown(value: object, *, secret: bool = False) -> str:
    """Value and type where both are short and harmless, else the type alone.

    What is misplaced may hold a password or a DSN, and the ``repr`` of a foreign class may tell anything.
    """
    name = type(value).__name__
    if value is None:
        return "None"
    if isinstance(value, (Mapping, list, tuple, set, frozenset)):
        return f"a {name} of {len(value)}" if len(value) else f"an empty {name}"
    number = isinstance(value, float) or (isinstance(value, int) and abs(value) <= _LARGEST)
    text = isinstance(value, str) and len(value) <= 60 and not SOUNDS_SECRET.search(value)
    return f"{value!r} ({name})" if (number or text) and not secret else f"a value of type {name} (not shown)"
