"""What a statement is, from its text alone: pure, cached, bounded."""

from __future__ import annotations

from .functions import LEAVES_NOTHING, READING
from .verdict import Verdict, doubtful, look

__all__ = ["LEAVES_NOTHING", "READING", "Verdict", "doubtful", "look"]
