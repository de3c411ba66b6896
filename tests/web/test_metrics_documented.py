"""``doc/metrics.md``: its table is what ``/metrics`` has; what Prometheus' own tool says of all of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families as plain

from pgdbpool.wsgi import status_app
from tests.servers import eventually
from tests.several import Replicas, is_known
from tests.web.test_metrics import alone
from tests.web.test_status import NOBODY, get

DOC = Path(__file__).resolve().parents[2] / "doc"
PAGE = (DOC / "metrics.md").read_text(encoding="utf-8")
RULES, CONFIG = (
    next(text for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.S) if text.startswith(start))
    for start in ("groups:", "scrape_configs:")
)
SHORT = {"pool": "db_client_connection_pool_name", "server": "server_address"}


@pytest.fixture(scope="session")
def promtool() -> Callable[..., None]:
    """Runs Prometheus' tool, which may find nothing to complain of."""
    path = shutil.which("promtool")
    if path is None:
        words = "no promtool in PATH: it is in Debian's package prometheus"
        pytest.fail(words) if os.environ.get("PGDBPOOL_TEST_PROMTOOL") == "required" else pytest.skip(words)

    def run(*arguments: str, given: bytes = b"") -> None:
        done = subprocess.run([path, *arguments], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout.decode()
        assert given == b"" or done.stdout == b""

    return run


@pytest.fixture
def app(replicas: Replicas, make_pool: Callable[..., Any]) -> Any:
    """Of a pool whose every figure is known."""
    pool = make_pool(alone(replicas.config({"connection_count": 2, "target": "prefer-standby"})))
    assert eventually(lambda: is_known(pool), 15.0)
    pool.query("SELECT 1")
    return status_app(pool)


def test_the_table(app: Any) -> None:
    """It names every metric with its type and its labels, and no other."""
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.M)
    documented = {
        name: (kind, {SHORT.get(label.strip("` "), label.strip("` ")) for label in labels.split(",")} - {""})
        for name, kind, labels in rows
    }
    families = {each.name + "_total" * (each.type == "counter"): each for each in plain(get(app, "/metrics").text)}
    assert documented == {
        name: (each.type, {label for sample in each.samples for label in sample.labels} - {"le"})
        for name, each in families.items()
    }


def test_the_way_to_mount_it() -> None:
    """The application of doc/status.md shows the status below its path, and leaves the rest to the shop."""
    [code] = re.findall(r"```python\n(.*?)```", (DOC / "status.md").read_text(encoding="utf-8"), re.S)

    def shop(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "4")])
        return [b"shop"]

    names: dict[str, Any] = {"shop": shop}
    exec(code, names)
    application = names["application"]
    assert [get(application, path, mount="").body for path in ("/", "/pools", "/pool.css")] == [b"shop"] * 3
    assert get(application, "/pool", mount="").headers["Location"] == "pool/"
    assert get(application, "/pool/", mount="").body == get(NOBODY, "/").body
    assert get(application, "/pool/healthz", mount="").status == 200


def test_the_rules_name_what_is_there(app: Any) -> None:
    """Every metric and label in the rules is one that ``/metrics`` has."""
    text = get(app, "/metrics").text
    assert (names := set(re.findall(r"\b(?:pgdbpool|db_client)_\w+", RULES)))
    known = {sample.name for family in plain(text) for sample in family.samples}
    labels = {label for family in plain(text) for sample in family.samples for label in sample.labels}
    assert names - known - labels == set()


# -- by Prometheus' own tool ------------------------------------------------------------------------------------------


def test_its_linter(app: Any, promtool: Callable[..., None]) -> None:
    """``promtool check metrics`` has nothing to say of it, neither with nor without a pool."""
    for shown in (app, NOBODY):
        promtool("check", "metrics", given=get(shown, "/metrics").body)


def test_the_configuration(promtool: Callable[..., None], tmp_path: Path) -> None:
    """Prometheus takes the page's scrape configuration with its rules."""
    (tmp_path / "prometheus.yml").write_text(CONFIG)
    (tmp_path / "pgdbpool.rules.yml").write_text(RULES)
    promtool("check", "config", str(tmp_path / "prometheus.yml"))
    promtool("check", "rules", str(tmp_path / "pgdbpool.rules.yml"))


POOL, DB1, DB2 = (
    f'{{{label},instance="web1",job="shop"}}'
    for label in ('db_client_connection_pool_name="web"', 'server_address="db1"', 'server_address="db2"')
)


def of(series: str, **labels: str) -> str:
    """With further labels."""
    return series.replace("{", "{" + "".join(f'{name}="{value}",' for name, value in labels.items()))


WAIT = "db_client_connection_wait_time_seconds_bucket" + POOL
USED = "db_client_connection_count" + of(POOL, server_address="db1", db_client_connection_state="used")
CALM = {
    'pgdbpool_ready{instance="web1",job="shop"}': "1x30",
    'pgdbpool_workers_summed{instance="web1",job="shop"}': "1x30",
    f"pgdbpool_servable{POOL}": "1x30",
    f"db_client_connection_timeouts_total{POOL}": "3x30",
    f"pgdbpool_longest_held_seconds{POOL}": "0.5x30",
    **{of(WAIT, le=bound): "0+100x30" for bound in ("0.05", "0.1", "0.5", "+Inf")},
    USED: "3x30",
    "db_client_connection_max" + of(POOL, server_address="db1"): "8x30",
    f"pgdbpool_connect_errors_total{DB2}": "7x30",
    f"pgdbpool_server_lag_seconds{DB2}": "0.1x30",
    **{f"pgdbpool_server_up{each}": "1x30" for each in (DB1, DB2)},
    "pgdbpool_server_role" + of(DB1, role="primary"): "1x30",
    "pgdbpool_server_role" + of(DB2, role="primary"): "0x30",
    **{"pgdbpool_server_state" + of(DB2, state=state): "0x30" for state in ("down", "failed", "silent", "fenced")},
}
TROUBLE = {
    "NotReady": {'pgdbpool_ready{instance="web1",job="shop"}': "0x30"},
    "GroupNotServed": {f"pgdbpool_servable{POOL}": "0x30"},
    "NoPrimary": {f"pgdbpool_server_up{DB1}": "0x30"},
    "ServerAway": {"pgdbpool_server_state" + of(DB2, state="down"): "1x30"},
    "ServerNotOurs": {"pgdbpool_server_state" + of(DB2, state="fenced"): "1x30"},
    "Timeouts": {f"db_client_connection_timeouts_total{POOL}": "3+1x30"},
    "Waits": {of(WAIT, le=bound): "0+90x30" for bound in ("0.05", "0.1")},
    "Saturated": {USED: "8x30"},
    "HeldLong": {f"pgdbpool_longest_held_seconds{POOL}": "90x30"},
    "ConnectErrors": {f"pgdbpool_connect_errors_total{DB2}": "7+10x30"},
    "Lag": {f"pgdbpool_server_lag_seconds{DB2}": "45x30"},
    "WorkersNotSummed": {'pgdbpool_workers_summed{instance="web1",job="shop"}': "0x30"},
}


def test_each_alert_fires_for_its_trouble_alone(promtool: Callable[..., None], tmp_path: Path) -> None:
    """Simulated by Prometheus: a quarter of an hour of each trouble fires its alert and no other; calm fires none."""
    assert {f"Pgdbpool{name}" for name in TROUBLE} == set(re.findall(r"alert: (\w+)", RULES))
    tests = [_simulated({}, []), *(_simulated(series, [f"Pgdbpool{name}"]) for name, series in TROUBLE.items())]
    (tmp_path / "pgdbpool.rules.yml").write_text(RULES)
    (tmp_path / "tests.yml").write_text(json.dumps({"rule_files": ["pgdbpool.rules.yml"], "tests": tests}))
    promtool("test", "rules", str(tmp_path / "tests.yml"))


def _simulated(trouble: dict[str, str], alerts: list[str]) -> dict[str, Any]:
    """A test for promtool, which reads YAML: JSON is that too."""
    firing = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in alerts]
    question = 'count by (alertname) (ALERTS{alertstate="firing"})'
    return {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in {**CALM, **trouble}.items()],
        "promql_expr_test": [{"expr": question, "eval_time": "15m", "exp_samples": firing}],
    }
