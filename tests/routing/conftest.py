"""One primary with two standbys for this folder, with the corpus's schema in its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.routing.judge import session
from tests.routing.schema import FRAME, OWN
from tests.servers import Fleet
from tests.several import Replicas, replicas


@pytest.fixture(scope="package")
def home(fleet: Fleet, server_key: str) -> Iterator[Replicas]:
    """Nothing happens on it but what the tests do: no vacuum takes a transaction id."""
    with fleet.own(replicas, server_key) as made:
        made.primary.sql("ALTER SYSTEM SET autovacuum = off")
        made.primary.sql("SELECT pg_reload_conf()")
        made.primary.sql(FRAME)
        with closing(session(made.primary)) as connection, connection.cursor() as cursor:
            cursor.execute(OWN)
        made.caught_up()
        yield made
