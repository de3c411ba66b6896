"""The client's token as a signed cookie."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

_SALT = "pgdbpool.causal"


def signer(secret: str | bytes | Sequence[str | bytes]) -> Any:
    """Signs with the first of the secrets, and takes what any of them has signed. ValueError for an empty one."""
    try:
        from itsdangerous import Signer
    except ImportError as error:
        raise ImportError("Middleware(secret=…) needs itsdangerous: pip install 'pgdbpool[wsgi]'") from error
    secrets = [secret] if isinstance(secret, (str, bytes)) else list(secret)
    if not secrets or not all(isinstance(each, (str, bytes)) and each for each in secrets):
        raise ValueError("secret: it must be a text that nobody can guess, or a list of such, the newest first")
    return Signer(secrets[::-1], salt=_SALT, digest_method=sha256)  # there the newest comes last


def found(header: str, name: str, signer: Any) -> str | None:
    """The token in a Cookie header, if we have signed it. Other applications' cookies may be as odd as they like."""
    from itsdangerous import BadSignature

    for part in header.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name:
            with suppress(BadSignature, UnicodeError):
                return str(signer.unsign(value).decode())
    return None


def header(name: str, token: str, signer: Any, life: int, *, secure: bool) -> tuple[str, str]:
    """The Set-Cookie header that has the client carry the token for ``life`` seconds."""
    options = f"Max-Age={life}; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")
    return "Set-Cookie", f"{name}={signer.sign(token).decode()}; {options}"
