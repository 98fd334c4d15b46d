"""A real Prometheus and its promtool, where the Debian package is installed: they read what the product gives them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.server import Server, free_port, wait_for

DOCS = Path(__file__).parent.parent.parent / "docs"
_KEY_FILE = "/etc/prometheus/undercroft.key"
_TARGET = "127.0.0.1:8440"


def program(name: str) -> str:
    """Where it is; the test is skipped where it is not."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus)")
    return found


def promtool(*words: str | Path, given: str = "") -> str:
    """What it says where it finds nothing wrong."""
    result = subprocess.run(
        [program("promtool"), *map(str, words)], input=given, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def blocks(beginning: str) -> list[str]:
    """The YAML in the docs that begins so."""
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md"))]
    found = [block for text in texts for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    return [block for block in found if block.startswith(beginning)]


def configured(server: Server, folder: Path) -> Path:
    """The configuration and the rules of the docs in a folder, with this server's key and address."""
    (folder / "undercroft.key").write_text(server.key, encoding="ascii")
    (scrape,) = blocks("scrape_configs:")
    (rules,) = blocks("groups:")
    assert _KEY_FILE in scrape
    assert _TARGET in scrape
    scrape = scrape.replace(_KEY_FILE, str(folder / "undercroft.key")).replace(_TARGET, f"127.0.0.1:{server.port}")
    (folder / "rules.yml").write_text(rules, encoding="utf-8")
    every = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [rules.yml]\n"
    (folder / "prometheus.yml").write_text(every + scrape, encoding="utf-8")
    return folder / "prometheus.yml"


@contextmanager
def prometheus(config: Path) -> Iterator[Callable[[str], Any]]:
    """One that runs; asks it for a path of its API."""
    address = f"127.0.0.1:{free_port()}"
    data = config.with_name("data")
    process = subprocess.Popen(
        [
            program("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={data}",
            f"--web.listen-address={address}",
        ],
        stderr=subprocess.DEVNULL,
    )

    def ask(path: str) -> Any:
        try:
            answer = requests.get(f"http://{address}/api/v1/{path}", timeout=5)
            return answer.json()["data"] if answer.ok else None
        except requests.ConnectionError:
            return None

    try:
        yield ask
    finally:
        process.terminate()
        process.wait()


def test_prometheus_reads_the_door(fake_server: Callable[..., Server], tmp_path: Path) -> None:
    """promtool finds nothing wrong in the metrics after requests, nor in the configuration and the rules of the docs;
    Prometheus scrapes the door with them, its numbers are those of the door, and no rule is broken or fires."""
    program("prometheus")
    server = fake_server()
    assert [server.say("hello")[0] for _ in range(3)] == [200, 200, 200]
    assert server.say("hello", model="nobody")[0] == 404
    headers = {"Authorization": f"Bearer {server.key}"}
    metrics = requests.get(f"{server.url}/metrics", headers=headers, timeout=30).text
    assert promtool("check", "metrics", given=metrics) == ""
    config = configured(server, tmp_path)
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", config)
    promtool("check", "rules", tmp_path / "rules.yml")
    with prometheus(config) as ask:
        query = 'query?query=undercroft_requests_total{deployment="bot",status="200"}'
        found = wait_for(lambda: (ask(query) or {}).get("result"), "a first scrape")
        assert [one["value"][1] for one in found] == ["3"]

        def rules() -> list[dict[str, Any]]:
            groups = (ask("rules") or {}).get("groups", [])
            return [rule for group in groups for rule in group["rules"] if rule["health"] != "unknown"]

        assert {(rule["health"], rule["state"]) for rule in wait_for(rules, "the rules")} == {("ok", "inactive")}


def test_the_rules_of_the_docs_fire(tmp_path: Path) -> None:
    """Where nobody answers the scrape, and where a model has no replica that is ready; promtool plays the series."""
    (rules,) = blocks("groups:")
    (tmp_path / "rules.yml").write_text(rules, encoding="utf-8")
    (tmp_path / "test.yml").write_text(
        """
rule_files: [rules.yml]
tests:
  - interval: 1m
    input_series:
      - {series: 'up{job="undercroft"}', values: '1 1 0x10'}
      - {series: 'undercroft_replica_up{deployment="bot",replica="rep_1"}', values: '1 1 0x10'}
      - {series: 'undercroft_replica_up{deployment="two",replica="rep_2"}', values: '1 1 0x10'}
      - {series: 'undercroft_replica_up{deployment="two",replica="rep_3"}', values: '1x12'}
    alert_rule_test:
      - {eval_time: 1m, alertname: UndercroftDown}
      - eval_time: 8m
        alertname: UndercroftDown
        exp_alerts:
          - exp_labels: {job: undercroft, severity: critical}
            exp_annotations: {commands: "undercroft status; undercroft up"}
      - {eval_time: 1m, alertname: UndercroftNoReplica}
      - eval_time: 8m
        alertname: UndercroftNoReplica
        exp_alerts:
          - exp_labels: {deployment: bot, severity: critical}
            exp_annotations: {commands: "undercroft status; undercroft doctor"}
""",
        encoding="utf-8",
    )
    assert "SUCCESS" in promtool("test", "rules", tmp_path / "test.yml")
