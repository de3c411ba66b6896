"""The cases: every documented example of 1.0.2 in our own words, and a demonstration of every deliberate difference.

A case is a program of 1.0 in ``cases``, run unchanged under both versions. What it names in ``differs`` must come out exactly
so, and everything else must come out the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["ALL", "ASPECTS", "CASES", "DIFFERENCES", "EXAMPLES", "SHORT", "Case"]

ASPECTS = ("printed", "raised", "committed", "sessions")

CASES = Path(__file__).parent / "cases"
_WAITS = "nothing: it still waits"
_UNTOUCHED = ["(1,100)", "(2,100)", *(f"({number},100)" for number in (3, 4, 5, 6) for _ in "12")]  # of both servers


@dataclass(frozen=True)
class Case:
    """``shows``: where 1.0.2 documents it, or which difference it demonstrates.

    ``differs``: for an aspect, what 1.0.2 and what our version gives; ``contract``: the sentences that name that.
    ``patience``: after so many seconds it is taken to wait for ever.
    """

    name: str
    shows: str
    contract: tuple[str, ...] = ()
    differs: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    patience: float = 30.0

    @property
    def path(self) -> Path:
        return CASES / f"{self.name}.py"


EXAMPLES = (
    Case("endpoints", "README 5.1; manual, configuration 2: several servers"),
    Case("threaded", "README 5.2; manual, configuration 3: type threaded"),
    Case("non_threaded", "README 5.2; manual, examples 5: type non-threaded"),
    Case("manual_commit", "README 5.3: manual commit"),
    Case("quick_start", "manual, first page: quick start"),
    Case(
        "printed_rows",
        "docstring of Handler: rows are printed",
        ("1.p3.2",),
        {"printed": ("[1, 'apple']\n[2, 'melon']\n[3, 'saffron']\n", "(1, 'apple')\n(2, 'melon')\n(3, 'saffron')\n")},
    ),
    Case("rows", "docstring of Handler, manual, examples 2: rows are read"),
    Case("all_keys", "manual, configuration 2 and 5: every key"),
    Case("defaults", "manual, configuration 4 and 6: the defaults"),
    Case(
        "ssl_by_a_bool",
        "manual, configuration 2 and 7: ssl False (1.0.2 cannot connect so)",
        ("3.p1.3",),
        {"raised": ("DBConnectionError", "ConfigError")},
    ),
    Case("two_groups", "manual, configuration 8: two groups"),
    Case("two_groups_two_servers", "manual, configuration 9: two groups, two servers"),
    Case("wsgi", "manual, examples 1 and 2: a WSGI application"),
    Case("transfer", "manual, examples 3 and 4: a transaction, two servers"),
    Case("many_inserts", "example 01: four groups on writable servers, inserts"),
    Case("many_updates", "example 01: threads that update"),
    Case("many_readers", "example 01: threads that read"),
    Case("prepared", "manual, API: sqlprepare and query_prepared"),
    Case("nothing_to_prepare", "manual, API: sqlprepare without its schema"),
    Case("errors", "manual, API: the four exceptions"),
    Case("asking_the_pool", "manual, API: Connection.get_…"),
    Case("waiting_threads", "README 2.2: more threads than connections"),
)

DIFFERENCES = (
    Case(
        "import_of_the_package",
        "README 5.3: import pgdbpool as dbpool (1.0.2 has nothing there)",
        ("1.p2.1",),
        {
            "printed": ("", "committed\n"),
            "raised": ("AttributeError", None),
            "committed": ({}, {"note": ["(value1)", "(value2)"]}),
            "sessions": ([0, 0], [2, 0]),
        },
    ),
    Case(
        "rollback_after_an_exception",
        "manual, examples 4: rollback instead of commit after an exception",
        ("1.p3.2", "2.call.handler.2"),
        {
            "committed": (
                {"account": sorted([*_UNTOUCHED, "(1,40)", "(2,110)"])},
                {"account": sorted([*_UNTOUCHED, "(1,90)", "(2,110)"])},
            )
        },
    ),
    Case(
        "bounded_wait",
        "a bounded wait",
        ("1.p3.2", "4.waiting.2"),
        {"raised": (_WAITS, "PoolTimeout")},
        patience=9.0,  # ours waits for 5
    ),
    Case(
        "nested",
        "a bounded wait: for oneself",
        ("1.p3.2", "4.a-thread.1"),
        {"raised": (_WAITS, "NestedCheckout")},
        patience=5.0,
    ),
    Case(
        "rows_are_tuples",
        "rows are tuples",
        ("1.p3.2", "2.p3.2"),
        {
            "printed": ("True False\nTrue False\nsecond\n", "False True\nFalse True\nfirst\n"),
            "raised": (None, "TypeError"),
        },
    ),
    Case(
        "commit_of_what_failed",
        "the commit of a transaction that has failed is no success",
        ("4.commit-of-a.1",),
        {"printed": ("it failed\ncommitted, says 1.0.2\n", "it failed\n"), "raised": (None, "DBQueryError")},
    ),
    Case(
        "statement_after_a_failure",
        "after a failed statement, nothing but rollback (1.0.2 goes on elsewhere)",
        ("2.call.handler.1", "4.commit-of-a.1"),
        {
            "printed": ("it failed\ngoes on\n", "it failed\n"),
            "raised": (None, "DBQueryError"),
            "sessions": ([2, 0], [1, 0]),
        },
    ),
    Case(
        "lost_between_blocks",
        "README 2.2: a lost connection is replaced (1.0.2 replaces it, and fails)",
        ("4.lost.1", "4.alive.1"),
        {
            "printed": ("True\nFalse\n", "True\nFalse\nFalse\nFalse\n"),
            "raised": ("InterfaceError", None),
            "committed": ({"note": ['("after it was lost")']}, {"note": ['("after it was lost")'] * 3}),
        },
    ),
    Case(
        "lost_inside_a_transaction",
        "lost inside a transaction: nothing of it is accepted any more",
        ("4.a-write-that.5",),
        {"printed": ("the second half was accepted\n", ""), "raised": ("InterfaceError", "DBConnectionError")},
    ),
    Case(
        "clean_connections",
        "a connection is given back clean",
        ("4.given-back.1",),
        {"printed": ("[True, True]\n", "(False, False)\n")},
    ),
    Case(
        "use_after_the_block",
        "use after the block raises",
        ("4.protected.2",),
        {"raised": (None, "PoolError"), "committed": ({"note": ['("after the block")']}, {})},
    ),
    Case(
        "handler_without_a_block",
        "a handler outside its block raises",
        ("2.call.handler.1",),
        {"printed": ("3\n", ""), "raised": (None, "PoolError")},
    ),
    Case(
        "limits_of_each_server",
        "query_timeout and session_tmp_buffer are each server's own",
        ("3.endpoint.query_timeout.1", "3.endpoint.session_tmp_buffer.1"),
        {"printed": ("4s 16MB\n4s 16MB\n", "4s 16MB\n2s 32MB\n")},
    ),
    Case(
        "server_full",
        "a bounded wait: for a server that takes no connection",
        ("1.p3.2", "4.waiting.2"),
        {"raised": ("InterfaceError", "PoolTimeout")},
    ),
    Case(
        "one_server_away",
        "manual, API: DBConnectionError, and no session is left of the attempt",
        ("1.p3.1",),
        {"sessions": ([1, 0], [0, 0])},
    ),
    Case(
        "prepared_that_fails",
        "a prepared statement that fails raises DBQueryError",
        ("7.p1.4",),
        {"raised": ("AttributeError", "DBQueryError")},
    ),
    Case(
        "misspelt_key",
        "a key that nobody knows is an error",
        ("3.p1.3",),
        {"printed": ("accepted\n", ""), "raised": (None, "ConfigError"), "sessions": ([1, 0], [0, 0])},
    ),
    Case(
        "configuration_is_left_alone",
        "the program's dict is read, and not changed",
        ("3.p1.2",),
        {"printed": ("False\n", "True\n")},
    ),
)

ALL = (*EXAMPLES, *DIFFERENCES)

_SHORT = """endpoints non_threaded manual_commit quick_start rows two_groups_two_servers wsgi transfer prepared errors
    rollback_after_an_exception rows_are_tuples clean_connections""".split()
SHORT = tuple(case for case in ALL if case.name in _SHORT)
