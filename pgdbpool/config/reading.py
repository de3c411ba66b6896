"""The user's dict becomes options, or an error that tells every problem."""

from __future__ import annotations

from contextlib import suppress

from pgdbpool.config import rules
from pgdbpool.config.options import CONFIGURATION, EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.config.problems import Place, Refused
from pgdbpool.config.readonly import ReadOnly
from pgdbpool.errors import ConfigError

__all__ = ["parse"]


def parse(config: object) -> PoolOptions:
    """Read the configuration; neither it nor anything mutable in it is kept or changed.

    Raises ConfigError with every problem.
    """
    problems: list[str] = []
    with suppress(Refused):
        root = CONFIGURATION.read(config, Place(problems))
        endpoints, groups = root.get("db") or (), root.get("groups") or {}
        rules.check(endpoints, list(groups.values()))
    if problems:
        raise ConfigError(*problems)
    parts = {
        "endpoints": tuple(EndpointOptions(**each.fields()) for each in endpoints),
        "groups": ReadOnly({name: GroupOptions(name=name, **each.fields()) for name, each in groups.items()}),
    }
    return PoolOptions(**root.fields() | parts)
