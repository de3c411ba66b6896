"""The shop's pages, without a server."""

from __future__ import annotations

from decimal import Decimal

import pytest
from pgdbpool.demo.shop import pages

EVIL = "<script>\"'&"
SAFE = "&lt;script&gt;&quot;&#x27;&amp;"


def test_every_value_is_escaped() -> None:
    """Names, descriptions, customers and titles that hold markup are shown as text."""
    product = {"id": 1, "name": EVIL, "about": EVIL, "price": Decimal(3), "n": 2}
    order = {"id": 1, "placed": "", "customer": EVIL, "n": 1, "name": EVIL, "total": Decimal(3)}
    group = {"in_use": 0, "connection_count": 4, "checkouts": 0}
    stats = {"pid": 1, "groups": {"web": group}, "endpoints": {EVIL: {"role": "primary", "state": "up"}}}
    made = [
        pages.products([product]),
        pages.product(product),
        pages.orders([order]),
        pages.note(EVIL, EVIL, EVIL),
        pages.frame(EVIL, "", ""),
        pages.foot(stats),
        pages.foot({**stats, "endpoints": {}}, EVIL),
    ]

    assert [page.count("<script") for page in made] == [0] * 7
    assert all(SAFE in page for page in made)


@pytest.mark.parametrize(
    ("role", "state", "lag", "shown"),
    [
        ("primary", "up", None, "primary up"),
        ("standby", "up", 0.0, "standby up, 0.0 s behind"),
        ("standby", "up", 7.26, "standby up, 7.3 s behind"),
        ("standby", "up", None, "standby up, lag unknown"),
        ("standby", "down", 0.0, "standby down"),
    ],
)
def test_the_foot_tells_how_far_a_standby_is_behind(role: str, state: str, lag: float | None, shown: str) -> None:
    """Each server is there by its label, role and state; of a standby that answers also its lag."""
    group = {"in_use": 0, "connection_count": 4, "checkouts": 0}
    servers = {
        "db1": {"role": role, "state": state, "lag_seconds": lag},
        "db2": {"role": "unknown", "state": "unknown"},
    }

    foot = pages.foot({"pid": 1, "groups": {"web": group}, "endpoints": servers})
    assert f"Servers: db1 {shown}; db2 unknown unknown." in foot


def test_thanks_are_for_a_number_only() -> None:
    """Of what the address claims to be the order's number only a number is shown."""
    assert "number 12." in pages.orders([], "12")
    assert "Thank you" not in pages.orders([], "12 and a free lamp")


def test_every_form_has_a_number_of_its_own() -> None:
    """Two pages of one product hold two different forms, so that two wishes are two orders."""
    product = {"id": 1, "name": "Lamp", "about": "", "price": Decimal(3), "n": 2}

    assert pages.product(product) != pages.product(product)
