"""The command ``pgdbpool``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import Any

from pgdbpool import ConfigError, Pool
from pgdbpool.command.loading import load
from pgdbpool.config import parse
from pgdbpool.report.plan import explain

__all__ = ["main"]

_CONFIG = "module:attribute, or a .json or .toml file"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 for yes, 1 for no (a server that does not answer), 2 for a command or configuration that is wrong."""
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.run(chosen))
    except ConfigError as error:
        print(f"pgdbpool: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pgdbpool", description="An in-process PostgreSQL connection pool for psycopg2."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="start a PostgreSQL and an example shop (extra: demo)")
    demo.add_argument("--port", type=_port, default=None, help="of the shop; 0 for any free one (8080)")
    demo.add_argument("--duration", type=float, default=None, metavar="S", help="stop after S seconds")
    demo.set_defaults(run=_demo)
    check = commands.add_parser("check", help="ask every server of a configuration, now")
    check.add_argument("config", metavar="CONFIG", help=_CONFIG)
    check.add_argument("--json", action="store_true", help="for programs")
    check.set_defaults(run=_check)
    plan = commands.add_parser("explain", help="say what a configuration amounts to")
    plan.add_argument("config", metavar="CONFIG", help=_CONFIG)
    plan.add_argument("--workers", type=int, default=None, metavar="N", help="processes (WEB_CONCURRENCY)")
    plan.set_defaults(run=_explain)
    return parser


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{port} is no port: 0 to 65535")
    return port


def _demo(chosen: argparse.Namespace) -> int:
    from pgdbpool.demo.launch import run

    return run(chosen.port, chosen.duration)


def _check(chosen: argparse.Namespace) -> int:
    config = load(chosen.config)
    with Pool({**config, "type": "non-threaded"} if isinstance(config, dict) else config) as pool:
        answers = pool.check()
    print(json.dumps(answers, indent=2) if chosen.json else "\n".join(_line(*each) for each in answers.items()))
    return 0 if all(answer["ok"] for answer in answers.values()) else 1


def _line(label: str, answer: dict[str, Any]) -> str:
    if not answer["ok"]:
        return f"{label}  FAILED  {answer['error']}"
    return f"{label}  ok  {answer['role']}  PostgreSQL {answer['server_version']}  {answer['round_trip'] * 1000:.2f} ms"


def _explain(chosen: argparse.Namespace) -> int:
    print(explain(parse(load(chosen.config)), chosen.workers))
    return 0
