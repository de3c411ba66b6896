"""The shop's pages: functions from values to HTML. Every value passes through ``escape``."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from html import escape
from string import Template
from typing import Any

_FRAME = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<link rel="icon" href="data:,">
<style>
:root { color-scheme: light dark; --ink: light-dark(#222, #e8e8e8); --soft: light-dark(#666, #a5a5a5);
  --paper: light-dark(#faf8f5, #1a1b1e); --card: light-dark(#fff, #26282c); --line: light-dark(#ddd8d0, #3a3d42);
  --strong: light-dark(#1f5f4a, #7fcfb0); --on-strong: light-dark(#fff, #10241c) }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 0 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif }
header, footer { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: baseline; padding: 1rem 0 }
header { border-bottom: 1px solid var(--line) }
header strong { font-size: 1.25rem; margin-right: auto }
footer { margin-top: 2rem; border-top: 1px solid var(--line); color: var(--soft); font-size: .85rem }
a { color: var(--strong) }
h1 { font-size: 1.5rem; line-height: 1.2; margin: 1.5rem 0 1rem }
h2 { font-size: 1.1rem; margin: 0 }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(16rem, 1fr)); gap: 1rem }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: 1rem }
.card > :first-child { margin-top: 0 }
.card > :last-child { margin-bottom: 0 }
.price { font-weight: 600 }
.soft { color: var(--soft) }
label { display: block; margin: .75rem 0 }
input { display: block; width: 100%; max-width: 20rem; padding: .5rem; font: inherit; color: inherit;
  background: var(--paper); border: 1px solid var(--line); border-radius: .3rem }
button { padding: .55rem 1.1rem; font: inherit; border: 1px solid var(--strong); border-radius: .3rem; cursor: pointer;
  background: var(--strong); color: var(--on-strong) }
button.plain { background: none; color: var(--strong) }
.scroll { overflow-x: auto }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .4rem .8rem .4rem 0; border-bottom: 1px solid var(--line) }
</style>
</head>
<body>
<header><strong>Corner shop</strong> <a href="/">Products</a> <a href="/orders">Orders</a> <a href="/pool/">Pool</a></header>
<main>
<h1>$title</h1>
$body
</main>
<footer>$footer</footer>
</body>
</html>
""")

_CARD = Template("""<article class="card">
<h2><a href="/product/$id">$name</a></h2>
<p>$about</p>
<p><span class="price">$price</span> <span class="soft">$left</span></p>
</article>""")

_PRODUCT = Template("""<p>$about</p>
<p><span class="price">$price</span> <span class="soft">$left</span></p>
<form class="card" method="post" action="/product/$id/order">
<input type="hidden" name="form" value="$form">
<label>Your name <input name="customer" required maxlength="60" autocomplete="name"></label>
<label>How many <input name="n" type="number" inputmode="numeric" min="1" max="99" value="1" required></label>
<button>Order</button>
</form>
<form method="post" action="/product/$id/restock"><p><button class="plain">Restock: 5 more</button></p></form>
<form method="post" action="/product/$id/count"><p><button class="plain">Take stock: 8 seconds</button></p></form>""")

_ORDER = Template("<tr><td>$id</td><td>$placed</td><td>$customer</td><td>$n &times; $name</td><td>$total</td></tr>")

_ORDERS = Template("""$placed<div class="scroll"><table>
<tr><th>No.</th><th>Placed</th><th>By</th><th>What</th><th>Total</th></tr>
$rows
</table></div>""")

_POOL = Template(
    "<span>Worker $pid: $in_use of $connection_count pool connections in use; checkouts so far: $checkouts.</span>"
)
_SERVERS = Template("<span>Servers: $servers.</span>")
_READ = Template("<span>Read from $server.</span>")


def frame(title: str, body: str, foot: str) -> str:
    """A whole page."""
    return _FRAME.substitute(title=escape(title), body=body, footer=foot)


def foot(stats: dict[str, Any], server: str = "") -> str:
    """What a page says of how it was made: some of ``pgdbpool.stats()``, and the server that it was read from."""
    servers = "; ".join(f"{label} {_condition(each)}" for label, each in stats["endpoints"].items())
    pool = _fill(_POOL, pid=stats["pid"], **stats["groups"]["web"])
    return "\n".join([_fill(_READ, server=server)] * bool(server) + [pool, _fill(_SERVERS, servers=servers)])


def products(rows: Iterable[Any]) -> str:
    """All products, as cards."""
    cards = "\n".join(_fill(_CARD, **_shown(row)) for row in rows)
    return f'<div class="cards">\n{cards}\n</div>'


def product(row: Any) -> str:
    """One product with its two forms; each time the page is made, the order form gets a number of its own."""
    return _fill(_PRODUCT, form=uuid.uuid4(), **_shown(row))


def orders(rows: Iterable[Any], placed: str = "") -> str:
    """The table of orders; ``placed`` is the number of the one that the visitor has just placed."""
    thanks = f'<p class="card">Thank you. Your order has number {escape(placed)}.</p>' if placed.isdecimal() else ""
    lines = "\n".join(_fill(_ORDER, **{**row, "total": _money(row["total"])}) for row in map(dict, rows))
    return _ORDERS.substitute(placed=thanks, rows=lines or '<tr><td colspan="5">None yet.</td></tr>')


def note(text: str, link: str = "/", label: str = "Back to the products") -> str:
    """A sentence and a way on."""
    return f'<p>{escape(text)}</p>\n<p><a href="{escape(link)}">{escape(label)}</a></p>'


def _condition(server: dict[str, Any]) -> str:
    """Its role and state; of a standby that answers also how far it is behind."""
    condition = f"{server['role']} {server['state']}"
    if condition != "standby up":
        return condition
    lag = server["lag_seconds"]
    return f"{condition}, lag unknown" if lag is None else f"{condition}, {lag:.1f} s behind"


def _shown(row: Any) -> dict[str, Any]:
    left = f"{row['n']} in stock" if row["n"] else "sold out"
    return {**dict(row), "price": _money(row["price"]), "left": left}


def _money(amount: Any) -> str:
    return f"EUR {amount:.2f}"


def _fill(template: Template, **values: Any) -> str:
    return template.substitute({name: escape(str(value)) for name, value in values.items()})
