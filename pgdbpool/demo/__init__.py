"""The embedded PostgreSQL (``cluster``), and what ``pgdbpool demo`` does with it (``launch``).

The shop that the demo serves is ``examples/shop``; an installed wheel carries it as ``pgdbpool.demo.shop``. In a
checkout that is not installed the folder is found where it stands.
"""

from __future__ import annotations

from pathlib import Path

_EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

# An installed wheel has the shop beside this file, and no test measures one
if not (Path(__file__).parent / "shop").exists() and (_EXAMPLES / "shop" / "app.py").is_file():  # pragma: no branch
    __path__.append(str(_EXAMPLES))
