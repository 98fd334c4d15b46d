from __future__ import annotations

import json
import math

import pytest
from benchmarks.reporting import Report, divided, median, percentile, subtracted

MACHINE: dict[str, str | int] = {"cpu": "a cpu", "cores": 2, "kernel": "6.1", "python": "3.11.2"}


def report() -> Report:
    return Report("a title", machine=dict(MACHINE))


def test_status_is_zero_only_where_all_aims_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """One aim that does not hold makes the exit status 1."""
    good = report()
    good.at_most("cpu_us", 100.0, 120)
    good.at_least("ratio", 0.99, 0.98)
    assert good.finish(as_json=False) == 0
    good.at_most("p50_ms", 0.36, 0.35)
    assert good.finish(as_json=False) == 1
    assert "NO" in capsys.readouterr().out


@pytest.mark.parametrize("measured", [None, math.nan, math.inf])
def test_an_aim_that_was_not_measured_does_not_hold(measured: float | None) -> None:
    """Nothing measured is no success."""
    made = report()
    made.at_least("litellm_cpu_ratio", measured, 75)
    assert not made.holds


def test_a_report_without_aims_does_not_hold() -> None:
    """A benchmark that claims nothing has shown nothing."""
    assert not report().holds


def test_limits_themselves_hold() -> None:
    """An aim holds at its limit, and says it as it was measured."""
    made = report()
    made.at_most("a", 35.0, 35)
    made.at_least("b", 0.98, 0.98)
    assert [(aim.aim, aim.measured, aim.holds) for aim in made.aims] == [("<= 35", 35.0, True), (">= 0.98", 0.98, True)]


def test_json_is_one_object_on_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line has exactly the five parts, and no number that JSON does not know."""
    made = report()
    made.figures["cpu_us_per_request"] = 61.5
    made.figures["broken"] = math.nan
    made.peers["haproxy"] = {"cpu_us_per_request": 14.0}
    made.missing("litellm", "pip could not reach an index")
    made.ratios["ours_to_haproxy"] = 4.39
    made.at_most("cpu_us_per_request", 61.5, 120)
    assert made.finish(as_json=True) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last) == {"figures", "peers", "ratios", "machine", "aims"}
    assert last["figures"] == {"cpu_us_per_request": 61.5, "broken": None}
    assert last["peers"]["litellm"] == {"missing": "pip could not reach an index"}
    assert last["aims"] == [{"name": "cpu_us_per_request", "aim": "<= 120", "measured": 61.5, "holds": True}]


def test_table_shows_figures_beside_peers(capsys: pytest.CaptureFixture[str]) -> None:
    """A figure that ours and a peer have stands in one row."""
    made = report()
    made.figures["p50_ms"] = 0.21
    made.peers["haproxy"] = {"p50_ms": 0.1}
    made.finish(as_json=False)
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("p50_ms"))
    assert row.split() == ["p50_ms", "0.21", "0.1"]


def test_percentile_is_a_value_that_was_measured() -> None:
    """No interpolation: p99 of a hundred values is the ninety-ninth."""
    values = [float(number) for number in range(100, 0, -1)]
    assert percentile(values, 0.99) == 99.0
    assert percentile(values, 0.5) == 50.0
    assert percentile([3.0], 0.99) == 3.0
    assert percentile([], 0.5) is None


def test_arithmetic_with_what_was_not_measured_is_not_measured() -> None:
    """None goes through ratios and differences."""
    assert divided(6.0, 3.0) == 2.0
    assert divided(None, 3.0) is None
    assert divided(6.0, None) is None
    assert divided(6.0, 0.0) is None
    assert subtracted(3.0, 1.0) == 2.0
    assert subtracted(None, 1.0) is None
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median([]) is None
