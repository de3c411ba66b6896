"""CONFIG on the command line: ``module:attribute``, or a ``.json`` or ``.toml`` file."""

from __future__ import annotations

import importlib
import json
import os
import re
import sys
import traceback
from pathlib import Path
from typing import Any

from pgdbpool.errors import ConfigError

__all__ = ["load"]

_ALLOWED = "module:attribute, or a .json or .toml file"
_LIKE_DSN = re.compile(r"://|[=@]")


def load(source: str) -> Any:
    """The configuration that ``source`` names; ``ConfigError`` says what is wrong with the name or the file."""
    path = Path(source)
    if _LIKE_DSN.search(source) and not os.path.exists(source):
        raise ConfigError(f"CONFIG looks like a DSN (not shown); it must be {_ALLOWED}")
    try:
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        if path.suffix == ".toml":
            return _toml(path)
        return _attribute(source)
    except OSError as error:
        raise ConfigError(f"{source}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # both parsers' errors; their messages hold a place, not the text
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{source}: not valid {path.suffix[1:].upper()}: {_place(error)}") from None


def _toml(path: Path) -> Any:
    try:
        reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:
        raise ConfigError(f"{path}: a TOML file needs `pip install tomli` on Python 3.10") from None
    return reader.loads(path.read_text(encoding="utf-8"))


def _place(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg}, line {error.lineno}, column {error.colno}"
    return type(error).__name__


def _attribute(source: str) -> Any:
    module, colon, attribute = source.partition(":")
    if not colon or not module or not attribute:
        raise ConfigError(f"CONFIG is {source!r}; it must be {_ALLOWED}")
    if "" not in sys.path:
        sys.path.insert(0, "")  # as gunicorn does: the module is beside the caller
    try:
        found: Any = importlib.import_module(module)
        for name in attribute.split("."):
            found = getattr(found, name)
    except SyntaxError as error:  # without the line itself, which may hold a password
        raise ConfigError(f"{source}: {error.msg}, line {error.lineno} of {error.filename}") from None
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{source}: {error}") from error
    except (Exception, SystemExit) as error:  # of the module; neither its text nor its lines: there may be a password
        frames = traceback.extract_tb(error.__traceback__)
        at = ([frame for frame in frames if frame.name == "<module>"] or frames)[-1]
        raise ConfigError(f"{source}: {type(error).__name__}, line {at.lineno} of {at.filename}") from None
    return found
