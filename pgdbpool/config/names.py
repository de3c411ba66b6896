"""Names that the user writes as keys: what is wrong with one, or None."""

from __future__ import annotations

import re

from pgdbpool.config.address import read_dsn
from pgdbpool.config.kinds import is_name, text
from pgdbpool.config.sections import did_you_mean, has_own_key

_KEYWORD = re.compile(r"[a-z_]+\Z")

# libpq tells whether it knows a keyword, not which ones it knows; only for proposals (libpq 17, "Parameter Key Words").
_COMMON_KEYWORDS = """
    channel_binding client_encoding fallback_application_name gssencmode gsslib hostaddr keepalives keepalives_count
    keepalives_idle keepalives_interval krbsrvname load_balance_hosts options passfile require_auth requirepeer service
    sslcertmode sslcompression sslcrl sslcrldir sslnegotiation sslpassword sslsni ssl_max_protocol_version
    ssl_min_protocol_version tcp_user_timeout
""".split()


def wrong_keyword(word: object) -> str | None:
    """Of the dict ``libpq``; the libpq at hand is asked."""
    if not isinstance(word, str) or not _KEYWORD.match(word) or read_dsn(f"{word}=1")[1]:
        near = did_you_mean(word, _COMMON_KEYWORDS) if isinstance(word, str) else ""
        return f"unknown to this libpq; {near}allowed: libpq's parameter key words, such as 'tcp_user_timeout'"
    return has_own_key(word, "the endpoint", "the group")


def wrong_setting(name: object) -> str | None:
    """Of the dict ``settings``."""
    if not isinstance(name, str) or not is_name(name):
        return "not a name that PostgreSQL gives to a setting; allowed: such as 'TimeZone' or 'app.user'"
    if name.lower() == "client_encoding":
        return "has a key of its own; allowed: `libpq` of the endpoint instead"
    return has_own_key(name.lower(), "the group")


def wrong_group(name: object) -> str | None:
    """Of the dict ``groups``."""
    return None if text().good(name) else "not a group's name; allowed: a non-empty str"
