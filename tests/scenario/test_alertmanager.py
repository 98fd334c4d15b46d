"""A real Prometheus Alertmanager, where the Debian package is installed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.server import free_port, wait_for
from undercroft.core.clock import utc_now
from undercroft.core.settings import AlertSettings
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.alerting import send_test, tell_alertmanager
from undercroft.watch.incidents.incidents import Incident
from undercroft.watch.sinks.contract import Result

_PROGRAM = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    if _PROGRAM is None:
        pytest.skip("no Alertmanager is installed (Debian: prometheus-alertmanager)")
    (tmp_path / "am.yml").write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n", encoding="utf-8")
    port = free_port()
    process = subprocess.Popen(
        [
            _PROGRAM,
            f"--config.file={tmp_path / 'am.yml'}",
            f"--storage.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ],
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"

    def is_ready() -> bool:
        try:
            return requests.get(f"{address}/-/ready", timeout=5).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(is_ready, "Alertmanager")
        yield address
    finally:
        process.terminate()
        process.wait()


def test_alertmanager_has_what_is_open_and_drops_what_is_over(url: str, tmp_path: Path) -> None:
    """By its own list: labels to route by, the command in an annotation; told twice is one alert; so is a test."""
    (tmp_path / "url").write_text(url, encoding="utf-8")
    settings = AlertSettings(alertmanager_url_file=tmp_path / "url", site="cellar-1", language="th")
    now = utc_now()
    since = now - timedelta(minutes=3)
    one = Incident(7, Kind.DISK_LOW, "home", Severity.WARNING, since, since, "", {"free": "1.2 GiB"})

    def listed() -> dict[str, Any]:
        found = requests.get(f"{url}/api/v2/alerts", timeout=5).json()
        return {alert["labels"]["alertname"]: alert for alert in found}

    for _ in range(2):
        assert tell_alertmanager(settings, [one], now).result is Result.SENT
    wait_for(lambda: "UndercroftDiskLow" in listed(), "the alert to be listed")
    alert = listed()["UndercroftDiskLow"]
    assert alert["labels"]["severity"] == "warning"
    assert "undercroft doctor" in alert["annotations"]["commands"]
    over = Incident(7, Kind.DISK_LOW, "home", Severity.WARNING, since, since, "", {}, resolved_at=now)
    assert tell_alertmanager(settings, [over], now).result is Result.SENT
    wait_for(lambda: "UndercroftDiskLow" not in listed(), "the alert to end")
    assert send_test(settings, ["alertmanager"], utc_now())["alertmanager"].result is Result.SENT
    wait_for(lambda: "UndercroftTest" in listed(), "the test to be listed")
