"""No password, and no part of a DSN, in what is said of a configuration that is wrong, by code and on the command line."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from psycopg2 import extensions

import pgdbpool
from pgdbpool.command.main import main
from pgdbpool.config import parse
from tests.security.planted import KEY_WORD, MARK, OTHER, PASSWORD, Ears, config_of, place, uri_of
from tests.servers import Server

pytestmark = pytest.mark.contract("3.p1.5")


class Chatty:
    def __repr__(self) -> str:
        return MARK


WRONG: list[Any] = [MARK.encode(), [MARK], (MARK,), {MARK}, Chatty(), [[MARK]], lambda: MARK]
SECRET_KEYS: list[tuple[str, ...]] = [
    ("db", "pass"),
    ("db", "dsn"),
    ("db", "libpq", "sslpassword"),
    ("db", "libpq", "options"),
    ("db", "libpq", "password"),
    ("groups", "web", "settings", "app.jwt_secret"),
]


def broken(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A configuration full of secrets, with one value replaced."""
    endpoint = {"host": "db1", "pass": PASSWORD, "libpq": {"sslpassword": KEY_WORD}}
    config: dict[str, Any] = config_of(endpoint)
    *parents, key = path
    inner = config
    for name in parents:
        inner = inner[name]
    inner[key] = value
    return config


def test_no_config_error_shows_a_secret(ears: Ears) -> None:
    """Whatever is wrong in a configuration, and wherever: its secrets are not in the message."""
    keys = [
        *(("db", key) for key in "host port name user pass dsn ssl sslkey label libpq pooler role weight".split()),
        *(("groups", "web", key) for key in "connection_count target settings application_name on_connect".split()),
        ("type",),
        ("db",),
        ("groups",),
        *SECRET_KEYS,
    ]
    told = 0
    for path, value in product(keys, WRONG):
        try:
            ears.tell(parse(broken(path, value)))
        except pgdbpool.ConfigError as error:
            told += 1
            ears.tell(error)
    assert told > len(keys) * len(WRONG) * 0.8
    for path in SECRET_KEYS:
        ears.raised(lambda path=path: parse(broken(path, f"{MARK}\0")), pgdbpool.ConfigError)


FORMS = [
    "postgresql://u:{}@h/db",
    "postgres://u:{}@h:1/db?sslmode=require",
    "postgresql:///db?host=h&password={}&port=1",
    "postgresql://u@h/db?sslpassword={}",
    "host=h password={} dbname=d",
    "host=h dbname=d password='{}'",
    "host=h password='{} dbname=d",
    "postgresql:/u:{}@h/db",
    " postgresql://u:{}@h/db",
    "host=h,h2 password={}",
]
SPECIAL = ["", *"@/?#:%&= '\\,"]


def test_no_misread_dsn_shows_a_secret(ears: Ears) -> None:
    """Special characters that are not escaped: the DSN is refused without a part of it, or read as it was meant."""
    read = refused = 0
    for form, one, other in product(FORMS, SPECIAL, SPECIAL):
        dsn = form.format(f"{MARK}{one}{MARK}{other}{MARK}")
        try:
            options = parse({"db": {"dsn": dsn}, "groups": {"web": {"connection_count": 1}}})
        except pgdbpool.ConfigError as error:
            refused += 1
            ears.said.append(f"{error} {error!r}")
            continue
        read += 1
        words = extensions.parse_dsn(dsn)
        ears.said += [repr(options), options.endpoints[0].label]
        ears.said += [f"{dsn}: {word}" for word in words.keys() - {"password", "sslpassword"} if MARK in words[word]]
    assert min(read, refused) > 100


# --- the command line ---


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs the command ``pgdbpool`` in a folder of its own; gives all that it prints, a traceback included."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def run(*arguments: str) -> str:
        try:
            main(arguments)
        except Exception:
            traceback.print_exc()
        return "".join(capfd.readouterr())

    return run


BROKEN_FILES = {
    "open.json": f'{{"db": {{"pass": "{MARK}"',
    "wrong.json": json.dumps({"db": {"pass": [MARK], "dsn": f"host=h {MARK}"}, "groups": {}}),
    "open.toml": f'[db]\npass = "{MARK}\n',
    "syntax.py": f'DB = {{"pass": "{MARK}", }}}}\n',
    "missing.py": f'import os\nDB = {{"db": {{"host": os.environ["NO_SUCH_HOST"], "pass": "{MARK}"}}}}\n',
    "raises.py": f'raise RuntimeError("the vault refuses {MARK}")\n',
    "property.py": f'class Settings:\n    def __getattr__(self, name): return {{}}["{MARK}"]\nDB = Settings()\n',
    "text.py": f'DB = "postgresql://web:{MARK}@db1/shop"\n',
}


@pytest.mark.parametrize("file", BROKEN_FILES)
def test_the_command_line_shows_nothing_of_a_broken_file(
    ears: Ears, command: Callable[..., str], tmp_path: Path, file: str
) -> None:
    """A CONFIG that cannot be read is told by name and place, and without a line of it."""
    (tmp_path / file).write_text(BROKEN_FILES[file])
    attribute = "DB.main" if file == "property.py" else "DB"
    source = f"{file.removesuffix('.py')}:{attribute}" if file.endswith(".py") else file
    said = command("explain", source)
    assert "pgdbpool: " in said
    ears.said.append(said)


@pytest.mark.parametrize("source", [f"postgresql://web:{MARK}@db1/shop", f"host=db1 password={MARK}"])
def test_the_command_line_does_not_repeat_a_dsn(ears: Ears, command: Callable[..., str], source: str) -> None:
    """A DSN in place of CONFIG is refused and not printed."""
    ears.said.append(command("check", source))


def test_the_command_line_shows_nothing_of_a_good_file(
    vault: Server, ears: Ears, command: Callable[..., str], tmp_path: Path
) -> None:
    """``check`` and ``explain`` of a configuration full of secrets, of a server that answers and of one that refuses."""
    for name, password, words in (("good", PASSWORD, "ok  primary"), ("bad", OTHER, "FAILED")):
        config = config_of(place(vault, **{"pass": password}))
        config["db"] = [config["db"], {"dsn": uri_of(vault, password), "label": "dsn"}]
        (tmp_path / f"{name}.json").write_text(json.dumps(config))
        said = command("check", f"{name}.json")
        assert said.count(words) == 2
        ears.said += [said, command("check", f"{name}.json", "--json"), command("explain", f"{name}.json")]
