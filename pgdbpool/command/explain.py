"""``pgdbpool explain``: what a configuration amounts to."""

from __future__ import annotations

import json
from argparse import Namespace

from pgdbpool.command.loading import load
from pgdbpool.config import parse
from pgdbpool.report import plan


def explain(chosen: Namespace) -> int:
    options = parse(load(chosen.config))
    if chosen.json:
        print(json.dumps(plan.plan(options, chosen.workers), indent=2))
    else:
        print(plan.explain(options, chosen.workers))
    return 0
