"""The user's dict, read key by key; the rules that tie several keys together are in ``rules``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from pgdbpool.config import rules
from pgdbpool.config.keys import keys_of
from pgdbpool.config.kinds import Refused
from pgdbpool.config.options import EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.config.problems import Place, shown
from pgdbpool.config.readonly import ReadOnly
from pgdbpool.config.rules import Section
from pgdbpool.errors import ConfigError

__all__ = ["parse"]

# pgdbpool 1.0's, without effect here: reconnecting is paced by the pool.
_RETIRED = {EndpointOptions: {"connection_retry_sleep"}, GroupOptions: {"connection_retry_sleep"}}

_SECTIONS = {PoolOptions: "the root", EndpointOptions: "an endpoint", GroupOptions: "a group"}

# What other libraries call it, where that is too far from our name to be found by likeness.
_OTHER_NAMES = {
    "database": "name",
    "dbname": "name",
    "hostname": "host",
    "password": "pass",
    "passwd": "pass",
    "sslmode": "ssl",
    "statement_timeout": "query_timeout",
    "temp_buffers": "session_tmp_buffer",
    "username": "user",
    "max_size": "connection_count",
    "maxconn": "connection_count",
    "pool_size": "connection_count",
    "min_size": "min_connections",
    "minconn": "min_connections",
}


def parse(config: object) -> PoolOptions:
    """Read the configuration; neither it nor anything mutable in it is kept or changed.

    Raises ConfigError with every problem.
    """
    place = Place([])
    root = _section(config, place, PoolOptions)
    endpoints = list(_endpoints(root))
    groups = list(_groups(root))
    rules.check(endpoints, groups)
    if place.problems:
        raise ConfigError(*place.problems)
    return PoolOptions(
        **{
            **root.values,
            "endpoints": tuple(EndpointOptions(**section.values) for section in endpoints),
            "groups": ReadOnly({s.values["name"]: GroupOptions(**s.values) for s in groups}),
        }
    )


def _endpoints(root: Section) -> Iterator[Section]:
    found = root.values.get("endpoints")
    place = root.place.under("db")
    if isinstance(found, (list, tuple)):
        if not found:
            place.refuse(found, keys_of(PoolOptions)["db"].kind.allowed)
        for index, item in enumerate(found):
            yield _section(item, place.item(index), EndpointOptions)
    elif "endpoints" in root.values:
        yield _section(found, place, EndpointOptions, keys_of(PoolOptions)["db"].kind.allowed)


def _groups(root: Section) -> Iterator[Section]:
    found = root.values.get("groups")
    place = root.place.under("groups")
    if isinstance(found, Mapping) and found:
        for name, item in found.items():
            if isinstance(name, str) and name and name.isprintable():
                section = _section(item, place.under(name), GroupOptions)
                section.values["name"] = str.__str__(name)
                yield section
            else:
                place.report(f"found the group name {shown(name)}; allowed: a non-empty str")
    elif "groups" in root.values:
        place.refuse(found, keys_of(PoolOptions)["groups"].kind.allowed, secret=isinstance(found, str))


def _section(found: object, place: Place, options: type, allowed: str = "") -> Section:
    """What of one dict can be used; what cannot is reported."""
    section = Section(place)
    if not isinstance(found, Mapping):
        place.refuse(found, allowed or f"a dict with the keys of {_SECTIONS[options]}", secret=isinstance(found, str))
        return section
    keys = keys_of(options)
    section.said.update(name for name in found if isinstance(name, str) and name in keys)
    for name, value in found.items():
        if name in section.said:
            _read(section, options, name, value)
        elif name not in _RETIRED.get(options, ()):
            place.under(name).report(_unknown(name, options))
    for key in keys.values():
        if key.required and key.name not in section.said:
            place.under(key.name).report(f"missing; allowed: {key.kind.allowed}")
    return section


def _read(section: Section, options: type, name: str, value: object) -> None:
    key = keys_of(options)[name]
    place = section.place.under(name)
    before = len(place.problems)
    try:
        section.values[key.field] = key.kind.read(value, place)
    except Refused:
        place.refuse(value, key.kind.allowed, secret=key.kind.secret)
    if len(place.problems) > before:
        section.broken.add(name)


def _unknown(name: object, options: type) -> str:
    keys = keys_of(options)
    return f"unknown key{_nearest(name, options) if isinstance(name, str) else ';'} allowed: {', '.join(keys)}"


def _nearest(name: str, options: type) -> str:
    keys = keys_of(options)
    other_name = _OTHER_NAMES.get(name.lower())
    if other_name in keys:
        return f"; did you mean {other_name!r}?"
    if elsewhere := [_SECTIONS[other] for other in _SECTIONS if name in keys_of(other)]:
        return f" here, it belongs to {' or '.join(elsewhere)};"
    near = get_close_matches(name.lower(), keys, n=1)
    return f"; did you mean {near[0]!r}?" if near else ";"
