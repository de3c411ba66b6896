"""What README.md shows, pasted and run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgdbpool.demo.cluster import Cluster

from ..conftest import eventually
from ..servers import _free_port
from ..several import Replicas

README = Path(__file__).parents[2] / "README.md"


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """A server as the README takes it for granted: reached by PGPORT, with its superuser's password."""
    with Cluster() as cluster:
        cluster.sql("ALTER ROLE postgres PASSWORD 'secret'")
        cluster.sql(
            "CREATE TABLE product (id int PRIMARY KEY, name text, price numeric); INSERT INTO product VALUES (42, 'ink', 5);"
            "CREATE TABLE stock (product int, n int); INSERT INTO stock VALUES (42, 3);"
            "CREATE TABLE orders (product int); CREATE TABLE event AS SELECT generate_series(1, 7000) AS n;"
            "CREATE TABLE account (id int PRIMARY KEY, balance int); INSERT INTO account VALUES (1, 100), (2, 0)"
        )
        yield {**os.environ, "PGPORT": str(cluster.port)}


def test_the_first_block_serves(environment: dict[str, str], tmp_path: Path) -> None:
    """The first block is a ``wsgi.py`` that gunicorn serves as its first line says."""
    (tmp_path / "wsgi.py").write_text(blocks()[0])
    command = blocks()[0].splitlines()[0].split("gunicorn ", 1)[1].split()
    port = _free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", *command], cwd=tmp_path, env=environment
    ) as process:
        try:
            assert eventually(lambda: fetched(port).startswith("PostgreSQL"), 10)
        finally:
            process.terminate()


def fetched(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""


def test_the_uses_run(environment: dict[str, str], tmp_path: Path) -> None:
    """The block of uses runs behind the first one's ``init``, and does what it says."""
    init = blocks()[0].split("def application")[0]
    end = """
assert pgdbpool.query("SELECT n FROM stock").scalar() == 2
assert pgdbpool.query("SELECT count(*) FROM orders").scalar() == 1
assert pgdbpool.query("SELECT balance FROM account ORDER BY id").fetchall() == [(90,), (10,)]
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore::ResourceWarning", "-c", init + blocks()[1] + end],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "product.tsv").read_text().startswith("42\tink")


def test_a_list_of_hosts_is_all_it_takes(module_replicas: Replicas, tmp_path: Path) -> None:
    """The block of several servers, with the first one's application, reads from standbys what it has written."""
    module_replicas.primary.sql(
        "ALTER ROLE web PASSWORD 'secret'; CREATE TABLE web.product AS SELECT 42 AS id, 'ink' AS name, 5 AS price;"
        "ALTER TABLE web.product OWNER TO web"
    )
    module_replicas.caught_up()
    program = "def application" + blocks()[0].split("def application")[1] + blocks()[2]
    for number, server in enumerate(module_replicas.servers, 1):
        program = program.replace(f'"host": "db{number}"', f'"host": "127.0.0.1", "port": {server.port}')
    end = """
found = set()
while found != {(True, 6)}:  # as soon as the standbys are reached and the names are known
    found = {tuple(pgdbpool.query("SELECT pg_is_in_recovery(), price FROM product").one()) for _ in range(9)}
    assert {price for _, price in found} == {6}
print(application({}, lambda status, headers: print(status)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program + end],
        cwd=tmp_path,
        env={**os.environ, "COOKIE_SECRET": "of this test"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("200 OK\n[b'PostgreSQL ")
