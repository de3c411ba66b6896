"""The signed cookie by itself: who may have made it, and whether it is found among others."""

from __future__ import annotations

import sys
from http.cookies import SimpleCookie

import pytest

from pgdbpool.web import cookies
from pgdbpool.wsgi import Middleware

TOKEN = "1-7710704873310321024-1-4001818-1795288685"
SECRET = "what nobody can guess"


def signed(token: str = TOKEN, secret: str | bytes | list[str] = SECRET) -> str:
    return str(cookies.signer(secret).sign(token).decode())


def read(header: str, secret: str | bytes | list[str] = SECRET, name: str = "pgdbpool") -> str | None:
    return cookies.found(header, name, cookies.signer(secret))


@pytest.mark.contract("6.middleware.1")
def test_what_was_signed_is_found() -> None:
    """The token comes back as it was; no character of it needs quoting in a cookie."""
    assert read(f"pgdbpool={signed()}") == TOKEN
    assert SimpleCookie(f"pgdbpool={signed()}")["pgdbpool"].value == signed()


@pytest.mark.parametrize(
    "header",
    [
        "other=1; pgdbpool={}",
        "pgdbpool={}; other=1",
        "other=1;pgdbpool={};more=2",
        '  pgdbpool={}  ;prefs={{"a": 1}}',
        'prefs={{"a": 1}}; pgdbpool={}',
        "a[b]=c; pgdbpool={}",
        "flag; pgdbpool={}",
        "; ;; pgdbpool={}; ;",
        "x=\u00fc\u20ac\udc80; pgdbpool={}",
        'q="a; pgdbpool={}',
        "a b=c; pgdbpool={}",
        "secure=1; expires=x; pgdbpool={}",
        "pgdbpool=forged; pgdbpool={}",
        "pgdbpool={}; pgdbpool=forged",
        "pgdbpool; pgdbpool={}",
        "PGDBPOOL=no; pgdbpool={}",
        "xpgdbpool=1; pgdbpoolx=2; pgdbpool={}",
        "x=" + "y" * 100_000 + "; pgdbpool={}",
    ],
)
def test_whatever_other_cookies_are_like(header: str) -> None:
    """Other applications' cookies, and odd ones of our name, do not hide ours."""
    assert read(header.format(signed())) == TOKEN


@pytest.mark.parametrize("cut", [1, 2, 10, 27, 28, 40, 60])
def test_truncated(cut: int) -> None:
    """A cookie that lost its end or its beginning is none."""
    value = signed()
    assert read(f"pgdbpool={value[:-cut]}") is None
    assert read(f"pgdbpool={value[cut:]}") is None


@pytest.mark.contract("6.middleware.1")
def test_forged() -> None:
    """One other character anywhere, no signature, one of another token or another salt: none of them is taken."""
    from itsdangerous import Signer

    value = signed()
    for place, character in enumerate(value):
        forged = value[:place] + ("x" if character != "x" else "y") + value[place + 1 :]
        if place < len(value) - 1:  # the last one carries two bits only
            assert read(f"pgdbpool={forged}") is None, forged
    other = signed(TOKEN.replace("4001818", "4001819"))
    for forged in (
        TOKEN,
        TOKEN + ".",
        "." + value,
        value + "." + value,
        f"{TOKEN}.{other.rpartition('.')[2]}",
        Signer(SECRET).sign(TOKEN).decode(),
        Signer(SECRET, salt="pgdbpool").sign(TOKEN).decode(),
        "",
        ".",
        "\u00e4.\u00e4",
        "1" * 200_000,
    ):
        assert read(f"pgdbpool={forged}") is None, forged[:80]


def test_the_secret_changes() -> None:
    """Workers with a new secret take nothing that the old one signed, and the other way round."""
    assert read(f"pgdbpool={signed()}", "another") is None
    assert read(f"pgdbpool={signed(secret='another')}") is None


@pytest.mark.contract("6.middleware.1")
def test_a_list_of_secrets_is_rotated() -> None:
    """Newest first: it signs, all of them are taken; a worker that knows the old one alone takes what that one signed."""
    old, both = ["old"], ["new", "old"]
    assert signed(secret=both) == signed(secret="new") != signed(secret="old")
    assert read(f"pgdbpool={signed(secret=old)}", both) == TOKEN
    assert read(f"pgdbpool={signed(secret=both)}", both) == TOKEN
    assert read(f"pgdbpool={signed(secret=both)}", old) is None
    assert read(f"pgdbpool={signed(secret=old)}", ["new"]) is None
    assert read(f"pgdbpool={signed(secret=old)}", ["newest", *both]) == TOKEN


def test_bytes_are_a_secret_too() -> None:
    """As text and as bytes it is the same one."""
    assert signed(secret=SECRET.encode()) == signed()


@pytest.mark.parametrize("secret", ["", b"", [], [""], ["good", ""], [None], 7, ["good", 7]])
def test_what_is_no_secret(secret: object) -> None:
    """Nothing that anybody could guess is taken for one."""
    with pytest.raises((ValueError, TypeError)):
        Middleware(lambda environ, start: [], secret=secret)  # type: ignore[arg-type]


@pytest.mark.contract("6.middleware.1")
@pytest.mark.parametrize("secure", [False, True])
def test_its_attributes(secure: bool) -> None:
    """HttpOnly, SameSite=Lax, for the whole site and for the token's life; Secure where the request came by https."""
    name, value = cookies.header("mine", TOKEN, cookies.signer(SECRET), 300, secure=secure)
    morsel = SimpleCookie(value)["mine"]
    assert name == "Set-Cookie"
    assert read(f"mine={morsel.value}", name="mine") == TOKEN
    assert {key: found for key, found in morsel.items() if found} == {
        "path": "/",
        "max-age": "300",
        "httponly": True,
        "samesite": "Lax",
        **({"secure": True} if secure else {}),
    }


def test_without_itsdangerous(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install; without a secret nothing is needed."""
    monkeypatch.setitem(sys.modules, "itsdangerous", None)
    with pytest.raises(ImportError, match=r"itsdangerous: pip install 'pgdbpool\[wsgi\]'"):
        Middleware(lambda environ, start: [], secret=SECRET)
    Middleware(lambda environ, start: [])
