"""Slots, the lines of waiters, and the decisions about them. Plain data and pure functions: nothing here knows psycopg2.

The lock that guards all of it belongs to ``engine.books``; time is always an argument.
"""

from pgdbpool.waiting.clusters import Ours, Standing, is_fenced, is_foreign, ours
from pgdbpool.waiting.histogram import EDGES, Histogram
from pgdbpool.waiting.lag import NO_LAG, UNKNOWN, History, Lag
from pgdbpool.waiting.line import Waiter
from pgdbpool.waiting.marks import Mark, later
from pgdbpool.waiting.pacing import Backoff, Size, lifetime, outdated, superfluous, wanted
from pgdbpool.waiting.routes import Route
from pgdbpool.waiting.routing import Need, Role, View, lags, needs
from pgdbpool.waiting.slots import BORROWED, CLEANING, GONE, IDLE, Shelf, Slot

__all__ = [
    "BORROWED",
    "CLEANING",
    "EDGES",
    "GONE",
    "IDLE",
    "NO_LAG",
    "UNKNOWN",
    "Backoff",
    "Histogram",
    "History",
    "Lag",
    "Mark",
    "Need",
    "Ours",
    "Role",
    "Route",
    "Shelf",
    "Size",
    "Slot",
    "Standing",
    "View",
    "Waiter",
    "is_fenced",
    "is_foreign",
    "lags",
    "later",
    "lifetime",
    "needs",
    "ours",
    "outdated",
    "superfluous",
    "wanted",
]
