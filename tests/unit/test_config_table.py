"""The tables of keys in the documentation are those of the dataclasses (contract §3)."""

from __future__ import annotations

import re
from inspect import getdoc

import pytest

from doc.generate_configuration import DOCUMENT, SECTIONS, filled, table
from pgdbpool.config import EndpointOptions, GroupOptions, PoolOptions
from pgdbpool.config.sections import keys_of


def test_the_documented_tables_are_up_to_date() -> None:
    """doc/configuration.md holds the generated tables (python doc/generate_configuration.py)."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == filled(text)
    for section in SECTIONS:
        assert table(section) in text


def test_filling_replaces_what_is_between_the_marks_only() -> None:
    """A table that is out of date is replaced, the text around it is not touched."""
    text = "before\n<!-- keys: group -->\nold\n<!-- end of keys -->\nafter\n"
    assert filled(text) == f"before\n<!-- keys: group -->\n\n{table('group')}\n<!-- end of keys -->\nafter\n"
    assert filled(filled(text)) == filled(text)


# The contract's own tables, in their order.
CONTRACT = {
    PoolOptions: "type db groups stats_dir",
    EndpointOptions: "host port name user pass dsn ssl sslrootcert sslcert sslkey connect_timeout query_timeout "
    "session_tmp_buffer role weight label pooler libpq",
    GroupOptions: "connection_count min_connections autocommit target timeout max_waiting query_timeout max_idle "
    "max_lifetime validate ping_after reset max_lag max_lag_bytes hold_warning idle_in_transaction_timeout "
    "application_name settings on_connect standby_functions sqlprepare",
}


@pytest.mark.parametrize("options", CONTRACT)
def test_the_keys_are_those_of_the_contract(options: type) -> None:
    """Each section has exactly the keys of §3."""
    assert list(keys_of(options)) == CONTRACT[options].split()


def test_defaults_are_put_into_words_with_their_unit() -> None:
    """The default column follows from the fields, or else from the docstring."""
    assert "| `connect_timeout` | 3 s | a number of seconds, 0.001 to 2147483 |" in table("endpoint")
    assert "| `query_timeout` | 5000 ms |" in table("endpoint")
    assert "| `connection_count` | required |" in table("group")
    assert "| `label` | `host:port` |" in table("endpoint")


@pytest.mark.parametrize("section", SECTIONS)
def test_each_key_has_a_meaning_and_each_meaning_a_key(section: str) -> None:
    """The docstring of a dataclass explains its keys in their order, and nothing else."""
    explained = re.findall(r"^(\w+)(?: \(default: .+?\))?: ", getdoc(SECTIONS[section]) or "", re.MULTILINE)
    assert explained == [field.name for field in keys_of(SECTIONS[section]).values()]
