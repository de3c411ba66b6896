"""The command ``pgdbpool``."""

from __future__ import annotations

import io
import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from pgdbpool import ConfigError
from pgdbpool.command.arguments import port, seconds, workers
from pgdbpool.command.check import check
from pgdbpool.command.explain import explain
from pgdbpool.command.failing import Failed
from pgdbpool.command.words import printable

__all__ = ["main"]

_CONFIG = "module:attribute, or a .json or .toml file"
_INTERRUPTED, _NO_READER = 130, 141  # as the shell has it of SIGINT and SIGPIPE


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 0 for yes, 1 for no (a server that does not answer), 2 for a command or configuration that is wrong."""
    _write_what_can_be_written()
    try:
        return _run(arguments)
    except Failed as error:
        return _told(error, error.status)
    except ConfigError as error:
        return _told(error, 2)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what the interpreter has yet to write
        return _NO_READER


def _run(arguments: Sequence[str] | None) -> int:
    try:
        chosen = _parser().parse_args(arguments)
        return int(chosen.run(chosen))
    finally:
        print(end="", flush=True)  # here, where it is known what to do if nobody reads it


def _write_what_can_be_written() -> None:
    """Where the terminal's encoding has no … or ×, it gets a ? in place of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _told(error: Exception, status: int) -> int:
    for line in str(error).split("\n"):
        print(f"pgdbpool: {printable(line)}", file=sys.stderr)
    return status


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="pgdbpool", description="An in-process PostgreSQL connection pool for psycopg2.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[Namespace], int], text: str) -> ArgumentParser:
        made: ArgumentParser = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        return made

    demo = command("demo", _demo, "start a PostgreSQL and an example shop (extra: demo)")
    demo.add_argument("--port", type=port, default=None, help="of the shop; 0 for any free one (8080)")
    demo.add_argument("--duration", type=seconds(0), default=None, metavar="S", help="stop after S seconds")
    asked = command("check", check, "ask every server of a configuration, now")
    asked.add_argument("config", metavar="CONFIG", help=_CONFIG)
    asked.add_argument("--json", action="store_true", help="for programs")
    plan = command("explain", explain, "say what a configuration amounts to")
    plan.add_argument("config", metavar="CONFIG", help=_CONFIG)
    plan.add_argument("--workers", type=workers, default=None, metavar="N", help="processes (WEB_CONCURRENCY)")
    plan.add_argument("--json", action="store_true", help="for programs")
    live = command("top", _top, "watch a status page in the terminal (extra: top)")
    live.add_argument("url", metavar="URL", help="where status_app is mounted, such as http://127.0.0.1:8080/pool/")
    live.add_argument("--interval", type=seconds(0.1), default=None, metavar="S", help="seconds between two looks (1)")
    live.add_argument("--once", action="store_true", help="print it and end; so it is in a pipe, too")
    live.add_argument("--json", action="store_true", help="for programs; with --interval one line each time")
    return parser


def _demo(chosen: Namespace) -> int:
    from pgdbpool.demo.launch import run

    return run(chosen.port, chosen.duration)


def _top(chosen: Namespace) -> int:
    from pgdbpool.command.top import top

    return top(chosen)
