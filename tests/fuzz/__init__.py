"""Fuzzing with hypothesis: how many examples there are, and where chance comes from.

In ``make test`` they are few and the same in each run. With ``FUZZ=long`` they are many and others each time; a test that
fails then shows its seed, and ``PGDBPOOL_SEED`` repeats it.
"""

from __future__ import annotations

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.configuration import set_hypothesis_home_dir

pytest.register_assert_rewrite(*(f"{__name__}.{module}" for module in ("holdings", "machine", "model")))

LONG = os.environ.get("FUZZ") == "long"
SEED = int(os.environ.get("PGDBPOOL_SEED") or random.SystemRandom().randrange(10**9))

# Its tables of characters have to be somewhere; outside of the folder that the run's own files are looked for in.
_home = tempfile.mkdtemp(prefix="pgdbpool-fuzz-")
set_hypothesis_home_dir(_home)
atexit.register(shutil.rmtree, _home, ignore_errors=True)


def limits(short: int, long: int, **more: Any) -> settings:
    """So many examples, in ``make test`` and with ``FUZZ=long``."""
    return settings(
        max_examples=long if LONG else short,
        derandomize=not LONG,
        database=None,
        deadline=None,  # the machine may be busy
        print_blob=LONG,
        suppress_health_check=list(HealthCheck),
        **{"phases": (Phase.generate, Phase.shrink), **more},
    )


def fuzz(short: int, long: int) -> Callable[[Any], Any]:
    """For a test with ``@given``: ``limits``, and with ``FUZZ=long`` the seed."""
    return lambda test: limits(short, long)(seeded(test))


def seeded(test: Any) -> Any:
    """The test, or the maker of machines, which shows its seed where it fails; as it is where nothing is random."""
    if not LONG:
        return test
    print(f"PGDBPOOL_SEED={SEED}")  # noqa: T201 (pytest shows it where the test fails)
    return seed(SEED)(test)
