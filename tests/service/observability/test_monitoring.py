"""What is deployed for Prometheus and Grafana fits the metrics that there are. tests/e2e/test_metrics.py asks it of a
real Prometheus."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped] # no stubs here
from congrad_service.queue.registry import Role
from congrad_worker.activity import Activity
from congrad_worker.tasks import metrics
from congrad_worker.tasks.store import Store
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.parser import text_string_to_metric_families
from support.dashboard import DASHBOARD, DEPLOY, PROMETHEUS, panels, queries, rules
from support.hands import do_all
from support.serving import ANNOUNCEMENT, service, submit

PROMTOOL = shutil.which("promtool")

ENDINGS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}

OBSERVABILITY = DEPLOY.parent / "docs" / "observability.md"


def promtool(*arguments: str, cwd: Path) -> str:
    done = subprocess.run([str(PROMTOOL), *arguments], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def of_service(redis_url: str, store: Store) -> Iterator[Metric]:
    async def scrape() -> str:
        async with service(redis_url) as client:
            await submit(client, ["de"])
            await asyncio.to_thread(do_all, store)
            return (await client.get("/metrics")).text

    store.redis.config_set("maxmemory", 2**30)
    try:
        yield from text_string_to_metric_families(asyncio.run(scrape()))
    finally:
        store.redis.config_set("maxmemory", 0)


def of_worker() -> Iterator[Metric]:
    """With those of a GPU; where there is none, these are names without a value."""
    registry = CollectorRegistry()
    on_gpu = ANNOUNCEMENT.model_copy(update={"device": "cuda:0"})
    registry.register(metrics.REGISTRY)
    registry.register(metrics.WorkerCollector(Role.GRADIENTS, Activity(), lambda: on_gpu, lambda: False))
    yield from registry.collect()


@pytest.fixture
def names(redis_url: str, store: Store) -> set[str]:
    """The names of all series, and `up`, which Prometheus itself makes."""
    families = [*of_service(redis_url, store), *of_worker()]
    return {"up"} | {family.name + ending for family in families for ending in ENDINGS[family.type]}


def test_queries_and_rules_name_only_metrics_that_there_are(names: set[str]) -> None:
    expressions = [expression for _, expression in queries("1m")] + [rule["expr"] for rule in rules()]
    for expression in expressions:
        named = set(re.findall(r"\b(?:congrad|process)_\w+", expression)) | set(re.findall(r"\bup\b", expression))
        assert named, expression
        assert named <= names, expression


def test_every_metric_of_ours_is_shown_or_watched_and_described(names: set[str]) -> None:
    used = " ".join([expression for _, expression in queries("1m")] + [rule["expr"] for rule in rules()])
    page = OBSERVABILITY.read_text(encoding="utf-8")
    for name in names:
        if name.startswith("congrad_"):
            base = re.sub("_(bucket|count|sum)$", "", name)
            assert base in used, name
            assert f"`{base}`" in page, name


def test_every_alert_has_a_paragraph_on_what_to_do() -> None:
    page = OBSERVABILITY.read_text(encoding="utf-8")
    for rule in rules():
        assert f"\n### {rule['alert']}\n" in page
        assert rule["annotations"]["runbook"] == f"docs/observability.md#{rule['alert'].lower()}"


def test_every_alert_is_tested_both_ways() -> None:
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text(encoding="utf-8"))["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    every = {rule["alert"] for rule in rules()}
    assert {case["alertname"] for case in cases if "exp_alerts" in case} == every
    assert {case["alertname"] for case in cases if "exp_alerts" not in case} == every


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in panels():
        assert panel["title"]
        assert panel["description"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
    provisioned = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text("utf-8"))
    (source,) = provisioned["datasources"]
    (variable,) = dashboard["templating"]["list"]
    assert (variable["name"], variable["query"]) == ("datasource", source["type"])


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_promtool_takes_the_rules_the_configuration_and_every_query(tmp_path: Path) -> None:
    for file in PROMETHEUS.glob("*.yml"):
        shutil.copy(file, tmp_path)
    (tmp_path / "token").write_text("token")
    assert f"{len(rules())} rules found" in promtool("check", "rules", "rules.yml", cwd=tmp_path)
    promtool("check", "config", "prometheus.yml", cwd=tmp_path)
    recorded = [{"record": f"query:{i}", "expr": expr} for i, (_, expr) in enumerate(queries("1m"))]
    (tmp_path / "queries.yml").write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}))
    assert f"{len(recorded)} rules found" in promtool("check", "rules", "queries.yml", cwd=tmp_path)


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", "rules_test.yml", cwd=PROMETHEUS)
