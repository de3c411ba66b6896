"""The smallest example."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pgdbpool.demo.cluster import Cluster

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

PROGRAM = """
from wsgiref.util import setup_testing_defaults
from first import application
environ = {}
setup_testing_defaults(environ)
print(b"".join(application(environ, lambda status, headers: print(status))).decode())
"""


def test_the_first_example_runs() -> None:
    """``examples/first.py`` as it stands answers from the database that it names."""
    with Cluster() as cluster:
        cluster.create_role("web", "secret")
        cluster.create_database("shop", "web")
        path = os.pathsep.join([str(EXAMPLES), str(EXAMPLES.parent)])
        environment = {**os.environ, "PGPORT": str(cluster.port), "PYTHONPATH": path}
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True)

    assert done.stderr == ""
    assert done.stdout.startswith("200 OK\nshop, ")
