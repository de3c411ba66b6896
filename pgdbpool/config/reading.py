"""The user's dict becomes options, or an error that tells every problem."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pgdbpool.config import rules
from pgdbpool.config.options import CONFIGURATION, EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.config.problems import Place, Refused
from pgdbpool.config.readonly import ReadOnly
from pgdbpool.config.sections import keys_of
from pgdbpool.errors import ConfigError

__all__ = ["checked", "parse"]


def parse(config: object, *, dealt: bool = False) -> PoolOptions:
    """Read the configuration; neither it nor anything mutable in it is kept or changed.

    ``dealt``: ``connection_count`` is meant as by pgdbpool 1.0. Raises ConfigError with every problem.
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
    return PoolOptions(**root.fields() | parts, dealt=dealt)


def checked(key: str, value: object) -> Any:
    """The value of one key of a group, given outside of a configuration. Raises ConfigError."""
    problems: list[str] = []
    with suppress(Refused):
        return keys_of(GroupOptions)[key].metadata["kind"].read(value, Place(problems, key))
    raise ConfigError(*problems)
