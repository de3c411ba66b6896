"""The dialect of pgdbpool 1.0: ``from pgdbpool import pool as dbpool``, then ``Connection.init`` and ``Handler``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pgdbpool
from pgdbpool.access.handler import Handler
from pgdbpool.errors import DBConnectionError, DBOfflineError, DBQueryError, PoolTimeout, UnconfiguredGroupError

__all__ = [
    "Connection",
    "DBConnectionError",
    "DBOfflineError",
    "DBQueryError",
    "Handler",
    "UnconfiguredGroupError",
]

_ENDPOINT = {"ssl": "disable", "session_tmp_buffer": 128}
_GROUP = {"autocommit": False, "target": "any"}
_PATIENCE = 5.0


class Connection:
    """Where 1.0's programs begin; its defaults differ from those of ``pgdbpool.init``."""

    @classmethod
    def init(cls, config: Any) -> None:
        """Make the default pool with 1.0's defaults, and connect at once; ``DBConnectionError`` where that fails.

        The defaults: ``autocommit`` False, ``ssl`` ``disable``, ``session_tmp_buffer`` 128, ``target`` ``any``.
        """
        try:
            pgdbpool.init(_with_defaults(config), wait=_PATIENCE)
        except PoolTimeout as error:
            raise DBConnectionError(str(error)) from error.__cause__


def _with_defaults(config: Any) -> Any:
    if not isinstance(config, Mapping):
        return config  # what is wrong with it is for the parser to say
    db, groups = config.get("db"), config.get("groups")
    whole = dict(config)
    if isinstance(db, Mapping):
        whole["db"] = {**_ENDPOINT, **db}
    elif isinstance(db, (list, tuple)):
        whole["db"] = [{**_ENDPOINT, **each} if isinstance(each, Mapping) else each for each in db]
    if isinstance(groups, Mapping):
        whole["groups"] = {
            name: {**_GROUP, **each} if isinstance(each, Mapping) else each for name, each in groups.items()
        }
    return whole
