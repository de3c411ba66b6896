"""The dialect of pgdbpool 1.0: ``from pgdbpool import pool as dbpool``, then ``Connection.init`` and ``Handler``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgdbpool.access.handler import Handler
from pgdbpool.engine.current import default_pool, make_default
from pgdbpool.errors import DBConnectionError, DBOfflineError, DBQueryError, PoolTimeout, UnconfiguredGroupError
from pgdbpool.facade import Pool

__all__ = ["Connection", "DBConnectionError", "DBOfflineError", "DBQueryError", "Handler", "UnconfiguredGroupError"]

_ENDPOINT = {"ssl": "disable", "session_tmp_buffer": 128}
_GROUP = {"autocommit": False, "target": "any"}
_PATIENCE = 5.0


class Connection:
    """Where 1.0's programs begin; its defaults differ from those of ``pgdbpool.init``."""

    @classmethod
    def init(cls, config: Any) -> None:
        """Make the default pool with 1.0's defaults, and connect at once; ``DBConnectionError`` where that fails.

        The defaults: ``autocommit`` False, ``ssl`` ``disable``, ``session_tmp_buffer`` 128, ``target`` ``any``.
        ``connection_count`` is the group's total, spread over the endpoints; all of them are opened.
        """
        try:
            pool = Pool(_with_defaults(config), wait=_PATIENCE, _dealt=True)
        except PoolTimeout as error:
            raise DBConnectionError(str(error)) from error.__cause__
        for label, endpoint in pool.stats()["endpoints"].items():
            if endpoint["state"] in ("down", "failed"):
                pool.close(0)
                raise DBConnectionError(f"{label} {endpoint['state']}: {endpoint['last_error']}")
        make_default(pool)

    @classmethod
    def get_threading_model(cls) -> str:
        """``threaded`` or ``non-threaded``."""
        return str(default_pool()._options.type)

    @classmethod
    def get_max_pool_size(cls, group: str) -> int:
        """The most connections that the group holds, to all servers together."""
        pool = default_pool()
        pool.desk(group)  # or the error that says which there are
        return int(pool.stats()["groups"][group]["connection_count"])


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
        whole["groups"] = {name: _group(each) if isinstance(each, Mapping) else each for name, each in groups.items()}
    return whole


def _group(said: Mapping[Any, Any]) -> dict[Any, Any]:
    """All of a group's connections are opened at once, unless ``min_connections`` says otherwise."""
    count = said.get("connection_count")
    every = {"min_connections": count} if type(count) is int and count > 0 else {}  # else that is the problem to tell
    return {**_GROUP, **every, **said}
