"""Slots, the line of waiters, and the decisions about them. Plain data and pure functions: nothing here knows psycopg2.

The lock that guards all of it belongs to ``engine.group``; time is always an argument.
"""

from pgdbpool.waiting.line import Waiter
from pgdbpool.waiting.pacing import Backoff, lifetime, retirable, wanted
from pgdbpool.waiting.slots import BORROWED, CLEANING, GONE, IDLE, Shelf, Slot

__all__ = [
    "BORROWED",
    "CLEANING",
    "GONE",
    "IDLE",
    "Backoff",
    "Shelf",
    "Slot",
    "Waiter",
    "lifetime",
    "retirable",
    "wanted",
]
