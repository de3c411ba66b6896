"""What a failed connect means, told from its text.

psycopg2 gives every connect error the same class and no SQLSTATE, so the words of libpq and of the server are all there
is. An unknown text counts as passing: the pool then goes on trying and shows the text when a wait ends.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Sources: src/backend/libpq/auth.c, utils/init/postinit.c and interfaces/libpq/fe-connect.c, fe-secure-openssl.c of
# PostgreSQL 14 to 18.
_PERMANENT = {
    "password": r"authentication failed|no password supplied|password retrieved|SCRAM|empty password|"
    r"authentication method requirement|requirepeer|GSSAPI (encryption required|authentication)",
    "role": r"role \".*\" does not exist|is not permitted to log in|permission denied for database|must be superuser",
    "database": r"database \".*\" does not exist|not currently accepting connections",
    "pg_hba.conf": r"pg_hba\.conf",
    "TLS": r"does not support SSL|SSL was required|certificate|sslmode|SSL error: (?!unexpected eof)|private key|"
    r"verified SSL connection|channel binding|SSL protocol version range",
    "host name": r"could not translate host name|could not parse|invalid port|invalid integer value|invalid connection option|"
    r"invalid [\w\"]+ value:|definition of service",
    "setting": r"invalid value for parameter|unrecognized configuration parameter|permission denied to set parameter|"
    r"cannot be changed|invalid command-line argument|unsupported startup parameter",
}
_PASSING = {
    "deaf": r"Connection refused|No such file or directory|No route to host|unreachable|time(out|d out)",
    "starting": r"starting up|not (yet )?accepting connections|shutting down|in recovery mode",
    "full": r"too many clients|too many connections|remaining connection slots",
}
_OWN = {
    "descriptors": r"Too many open files"
}  # looked for first: without any nothing can be read, not even a certificate
# In seconds, before it is tried again: where nobody listens a knock tells sooner, and a server that says that it is starting
# will be there in a moment.
_LONGEST_PAUSE = {"deaf": 2.0, "starting": 0.3, "full": 0.4, "descriptors": 0.4}
_OTHER_PAUSE = 1.4  # a proxy without a server hangs up on us: twenty attempts in twenty seconds
_PASSING_NAME = re.compile(r"Temporary failure in name resolution|Try again|System error", re.I)
_KINDS = [(kind, re.compile(words, re.I)) for kind, words in {**_OWN, **_PERMANENT, **_PASSING}.items()]


@dataclass(frozen=True)
class ConnectFailure:
    """``text``: the server's words. ``kind``: what they mean, ``""`` where that is not known.

    ``deaf``: nobody answered. ``full``: it is there, and takes no further session just now (SQLSTATE 53300).
    ``descriptors``: this process has none left, which says nothing of the server.
    """

    kind: str
    text: str

    @property
    def permanent(self) -> str:
        """What must be put right before another attempt can succeed, or ``""``."""
        return self.kind if self.kind in _PERMANENT else ""

    @property
    def longest_pause(self) -> float:
        """Seconds between attempts, at most."""
        return _LONGEST_PAUSE.get(self.kind, 1.0 if self.permanent else _OTHER_PAUSE)


def understand(error: BaseException) -> ConnectFailure:
    words = " ".join(str(error).split()) or type(error).__name__
    text = "".join(each if each.isprintable() else repr(each)[1:-1] for each in words)  # it goes to logs and terminals
    kinds = [] if _PASSING_NAME.search(text) else [kind for kind, words in _KINDS if words.search(text)]
    return ConnectFailure(kinds[0] if kinds else "", text)
