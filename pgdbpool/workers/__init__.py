"""How the worker processes of one host exchange their figures: through files. Nothing here knows pools or psycopg2."""

from pgdbpool.workers.content import FORMAT
from pgdbpool.workers.exchange import Exchange

__all__ = ["FORMAT", "Exchange"]
