from __future__ import annotations

import json
import math

import pytest
from benchmarks.quality import forms_table
from benchmarks.reporting import Report, Value, divided, median, percentile, subtracted

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


def test_a_table_of_its_own_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as of forms: size, quality with its interval, speed, memory."""
    row: dict[str, Value] = {"form": "Q4_0", "bytes": 2306848, "score": 0.6556, "score_lower": 0.62}
    row |= {"score_upper": 0.69, "tokens_per_second": 812.4, "memory_bytes": 3 * 2**20}
    likeness: dict[str, Value] = {"form": "int8", "bytes": 59308583, "cosine": 0.9921, "cosine_lower": 0.99}
    likeness |= {"cosine_upper": 0.995, "sentences_per_second": None, "memory_bytes": None}
    made = report()
    made.tables.append(forms_table([row, likeness]))
    made.finish(as_json=False)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "Q4_0 2,306,848 0.6556 (0.6200 to 0.6900) 812 tokens 3" in said
    assert "int8 59,308,583 0.9921 (0.9900 to 0.9950) not measured not measured" in said


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
