"""Errors in few words, without what differs from one run to the next."""

from __future__ import annotations

import re

__all__ = ["in_short"]

_LONGEST = 110
_DROPPED = [
    (r"\n.*", ""),
    (r"\s+", " "),
    (r"connection to server (at|on) .*? failed: ", ""),
    (r" ?This probably means[^)]*", ""),
    (r" \(waited .*", ""),  # and what the pool says about servers and holders
    (r"[:,]? ?port \d+", ""),
    (r"\b(\d+\.\d+\.\d+\.\d+|localhost):\d+", r"\1"),
    (r"/(?:tmp|var|work|root|home)/[^\s'\",:)]*", "…"),
    (r"\bpid \d+", "pid …"),
    (r"0x[0-9a-f]+", "0x…"),
]


def in_short(text: str) -> str:
    """The first line without ports, paths and the like."""
    for pattern, instead in _DROPPED:
        text = re.sub(pattern, instead, text, flags=re.DOTALL if pattern == r"\n.*" else 0)
    text = text.strip()
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "…"
