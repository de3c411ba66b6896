"""Slots, the lines of waiters, and the decisions about them. Plain data and pure functions: nothing here knows psycopg2.

The lock that guards all of it belongs to ``engine.books``; time is always an argument.
"""

from pgdbpool.waiting.line import Waiter
from pgdbpool.waiting.pacing import Backoff, Size, lifetime, outdated, superfluous, wanted
from pgdbpool.waiting.routes import Route
from pgdbpool.waiting.routing import Need, Role, View, needs
from pgdbpool.waiting.slots import BORROWED, CLEANING, GONE, IDLE, Shelf, Slot

__all__ = [
    "BORROWED",
    "CLEANING",
    "GONE",
    "IDLE",
    "Backoff",
    "Need",
    "Role",
    "Route",
    "Shelf",
    "Size",
    "Slot",
    "View",
    "Waiter",
    "lifetime",
    "needs",
    "outdated",
    "superfluous",
    "wanted",
]
