"""The user's dict becomes options, or an error that tells every problem."""

from __future__ import annotations

from typing import Any

from pgdbpool.config import rules
from pgdbpool.config.options import CONFIGURATION, GroupOptions, PoolOptions
from pgdbpool.config.problems import Place
from pgdbpool.config.readonly import ReadOnly
from pgdbpool.config.sections import keys_of
from pgdbpool.errors import ConfigError


def parse(config: object, *, dealt: bool = False) -> PoolOptions:
    """Read the configuration; neither it nor anything mutable in it is kept or changed.

    ``dealt``: ``connection_count`` is meant as by pgdbpool 1.0. Raises ConfigError with every problem.
    """
    problems: list[str] = []
    root = CONFIGURATION.read(config, Place(problems))
    endpoints, groups = (root.get("db") or (), root.get("groups") or {}) if root else ((), {})
    rules.check(endpoints, list(groups.values()))
    if problems:
        raise ConfigError(*problems)
    servers = tuple(each.made() for each in endpoints)
    named = ReadOnly({name: each.made(name=name) for name, each in groups.items()})
    return root.made(endpoints=servers, groups=named, dealt=dealt)  # type: ignore[no-any-return]


def checked(key: str, value: object) -> Any:
    """The value of one key of a group, given outside of a configuration. Raises ConfigError."""
    problems: list[str] = []
    kept = keys_of(GroupOptions)[key].metadata["kind"].read(value, Place(problems, key))
    if problems:
        raise ConfigError(*problems)
    return kept
