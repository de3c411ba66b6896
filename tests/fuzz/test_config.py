"""Any configuration: what the contract allows is accepted as it is, everything else is told in full and betrays nothing."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
import traceback
from contextlib import suppress
from typing import Any

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg2 import extensions

from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions, parse
from pgdbpool.config.address import read_dsn
from pgdbpool.config.readonly import ReadOnly
from pgdbpool.config.sections import keys_of
from pgdbpool.driver.opening import keywords
from pgdbpool.errors import ConfigError
from pgdbpool.report.plan import explain
from tests.fuzz import configs, fuzz
from tests.fuzz.configs import SECRET, anything, configurations, secrets
from tests.fuzz.contradictions import contradictory
from tests.fuzz.dsns import FRAGMENT, Dsn, dsns
from tests.fuzz.mutations import Broken, changed
from tests.fuzz.nonsense import wild
from tests.servers import PASSWORD, Server


@pytest.mark.parametrize(
    ("options", "known"),
    [(EndpointOptions, configs.ENDPOINT), (GroupOptions, configs.GROUP), (PoolOptions, configs.ROOT)],
)
def test_every_key_is_fuzzed(options: type, known: dict[str, Any]) -> None:
    """Each key that a configuration may have is among those that are made up here."""
    assert list(keys_of(options)) == list(known)


@pytest.mark.contract("3.p1.1", "3.p1.2", "3.p1.5")
@fuzz(100, 5_000)
@given(configurations())
def test_what_is_allowed_is_accepted(config: dict[str, Any]) -> None:
    """Accepted twice with one result, which cannot be changed and shows no password; the dict is as it was."""
    before = copy.deepcopy(config)
    options = parse(config)
    assert config == before
    assert parse(before) == options
    assert hash(parse(before)) == hash(options)
    assert _mutable(options) == []
    for endpoint, said in zip(options.endpoints, _listed(config["db"]), strict=True):
        _arrived(endpoint, said)
    for name, said in config["groups"].items():
        _arrived(options.groups[name], said)
    assert SECRET not in repr(options) + explain(options) + explain(options, 3)


def _listed(db: Any) -> Any:
    return [db] if isinstance(db, dict) else db


def _mutable(value: Any) -> list[Any]:
    """What somebody could change."""
    if dataclasses.is_dataclass(value):
        assert type(value).__dataclass_params__.frozen  # type: ignore[attr-defined]
        return [each for field in dataclasses.fields(value) for each in _mutable(getattr(value, field.name))]
    if isinstance(value, ReadOnly):
        return [each for item in value.values() for each in _mutable(item)]
    if isinstance(value, tuple):
        return [each for item in value for each in _mutable(item)]
    return [] if value is None or callable(value) or isinstance(value, (str, int, float)) else [value]


def _arrived(options: Any, said: dict[str, Any]) -> None:
    """What was said for each key is what the options hold."""
    for key, value in said.items():
        field = keys_of(type(options)).get(key)
        if field is None or (value is None and key in ("label", "application_name")):
            continue
        found = getattr(options, field.name)
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        if key == "standby_functions":
            found, value = sorted(found), sorted(value)
        assert (dict(found) if isinstance(found, ReadOnly) else found) == value, key


@pytest.mark.contract("3.endpoint.dsn.1")
@fuzz(100, 5_000)
@given(dsns(secrets))
def test_a_dsn_means_what_libpq_takes_it_for(dsn: Dsn) -> None:
    """However it is quoted, each word has the value that was meant, and that is what psycopg2 is given."""
    assert read_dsn(str(dsn)) == (dsn.words, "")
    options = parse({"db": {"dsn": str(dsn)}, "groups": {"web": {"connection_count": 1}}})
    words = keywords(options.endpoints[0], options.groups["web"])
    assert dsn.words.items() - {("application_name", dsn.words.get("application_name"))} <= words.items()
    given = {word: str(value) for word, value in words.items()}
    assert extensions.parse_dsn(extensions.make_dsn(**words)) == given


def _told(config: Any) -> ConfigError:
    """The error of a configuration that was refused, which betrays nothing and has changed nothing."""
    before = _outline(config)
    with pytest.raises(ConfigError) as caught:
        parse(config)
    assert _outline(config) == before
    said = "".join([str(caught.value), repr(caught.value), *traceback.format_exception(caught.value)])
    assert SECRET not in said
    assert FRAGMENT not in said
    return caught.value


def _outline(value: Any) -> Any:
    """What it is made of, without asking any of it whether it is equal."""
    if isinstance(value, dict):
        return [(id(key), _outline(item)) for key, item in value.items()]
    return [_outline(item) for item in value] if isinstance(value, (list, tuple)) else id(value)


@pytest.mark.contract("3.p1.3", "3.p1.4", "3.p1.5")
@fuzz(150, 10_000)
@given(changed() | contradictory())
def test_every_problem_is_told(broken: Broken) -> None:
    """Each breach is told at its path, a typo with the key that was meant, and nothing else is complained of."""
    problems = _told(broken.config).problems
    for path, says in broken.expected:
        told = [problem for problem in problems if re.match(f"{path}: ", problem)]
        assert any(says in problem for problem in told), (path, says, problems)
    # Where a role is refused, the others' may be all that there are.
    patterns = [*(path for path, _ in broken.expected), r"groups.*\.target"]
    assert [each for each in problems if not any(re.match(f"{pattern}: ", each) for pattern in patterns)] == []
    assert [each for each in problems if "allowed: " not in each] == []


@pytest.mark.contract("3.p1.3", "3.p1.4")
@fuzz(100, 5_000)
@given(wild)
def test_whatever_comes_is_accepted_or_refused(config: Any) -> None:
    """Nonsense under good names in any depth: options, or a ConfigError, and no other error."""
    before = _outline(config)
    with suppress(ConfigError):
        assert parse(config).groups
    assert _outline(config) == before


@pytest.mark.contract("3.group.settings.1")
@fuzz(15, 2_000)
@given(value=anything() | st.integers() | st.booleans() | st.floats(-1e300, 1e300))
def test_a_setting_arrives_as_it_was_said(server: Server, value: Any) -> None:
    """The server has the very text, whatever has to be quoted in it, and so it is again after a reset."""
    options = parse(server.config({"settings": {"app.said": value, "app.next": "b c"}}))
    connection = psycopg2.connect(**keywords(options.endpoints[0], options.groups["web"]), password=PASSWORD)
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SET app.said = 'other'; RESET ALL; SELECT current_setting('app.said'), current_setting('app.next')"
        )
        text = ("on" if value else "off") if isinstance(value, bool) else str(value)
        assert cursor.fetchone() == (text, "b c")
    finally:
        connection.close()
