"""What a file of ours holds: one line that says so, with a checksum, then JSON."""

from __future__ import annotations

import json
from typing import Any
from zlib import crc32

Figures = dict[str, Any]

FORMAT = 1  # of the figures; workers with another one are strangers
LIMIT = 4 * 1024 * 1024  # bytes


def pack(content: Figures) -> bytes:
    body = json.dumps(content, separators=(",", ":")).encode()
    packed = _head(body) + body
    if len(packed) > LIMIT:
        raise ValueError(f"figures of {len(packed)} bytes are more than the other workers read")
    return packed


def unpack(data: bytes) -> Figures | None:
    """None of what we did not write, or not to its end, or in another format."""
    end = data.find(b"\n") + 1
    if data[:end] != _head(data[end:]):
        return None
    try:
        content = json.loads(data[end:])
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None


def _head(body: bytes) -> bytes:
    return b"pgdbpool %d %08x\n" % (FORMAT, crc32(body))
