"""``make soak MINUTES=30``: a random fault every two seconds, and nothing lost, nothing left, nothing grown."""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter

from tests.soak.judged import BOUNDS, Found, judged
from tests.soak.soak import soaked

__all__ = ["main"]


def main() -> int:
    options = _options()
    print(f"seed {options.seed}, {options.minutes:g} minutes", flush=True)
    try:
        found = soaked(options.minutes * 60, options.seed, lambda line: print(line, flush=True), options.every)
    except KeyboardInterrupt:
        print("\ninterrupted")
        return 130
    problems = judged(found)
    print(_told(found, verbose=options.verbose))
    print("\n".join(f"NOT SO: {each}" for each in problems) or "all is as it should be")
    return bool(problems)


def _told(found: Found, *, verbose: bool) -> str:
    facts, first, last = found.facts, found.first, found.last
    names = Counter(each.name for each in found.struck)
    quarter = f"{facts['growth']:+.1f} after the first quarter (≤ {BOUNDS.growth:g})"
    lines = {
        "faults": ", ".join(f"{number} {name}" for name, number in sorted(names.items())),
        "requests": f"{facts['requests']}: {facts['counts']}",
        "longest": f"{facts['longest request']:.2f} s for a request, {facts['longest without success']:.2f} without success",
        "ledger": str(facts["ledger"]),
        "GIL": f"held for {facts['GIL']:.3f} s at most",
        "memory": f"{first.memory:.1f} → {last.memory:.1f} MB, {quarter}; objects {found.objects[0]} → {found.objects[1]}",
        "left": f"descriptors {first.descriptors} → {last.descriptors}, threads {first.threads} → {last.threads}, "
        f"sessions {first.sessions} → {last.sessions}, capacity {found.capacity[0]}/{found.capacity[1]}",
    }
    told = [f"{name:<10}{text}" for name, text in lines.items()]
    told += [f"          {number} × {error}" for error, number in facts["errors"]]
    if verbose:
        told += [f"{each.began - first.at:8.1f} s {each.name}: {each.what}" for each in found.struck]
    return "\n".join(told)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats the faults")
    parser.add_argument("--every", type=float, default=30.0, metavar="SECONDS", help="between two lines")
    parser.add_argument("--verbose", action="store_true", help="each fault at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
