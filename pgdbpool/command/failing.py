"""What ends a command: its text goes to standard error in one line, its ``status`` to the shell."""

from __future__ import annotations


class Failed(Exception):
    """A server or a page does not answer."""

    status = 1


class Wrong(Failed):
    """The command is wrong, or what it names."""

    status = 2
