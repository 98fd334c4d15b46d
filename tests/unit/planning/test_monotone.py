"""What more of something never makes better or worse: power of the site, years, memory."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.planning.published import QWEN_7B
from undercroft.planning.assumptions import Assumptions
from undercroft.planning.cost import Machines, cost_of
from undercroft.planning.fitting import Verdict, fit_of
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.speed import Pace
from undercroft.planning.targets import Pool, Rate, Target

PACE = Pace(decode=50, decode_user=25, decode_all=100, prefill=1000, first_token=0.6)
WORKLOAD = Workload(quantization="Q4_K_M", slots=4, prompt_tokens=500, answer_tokens=250)
RATE = Rate(100e9, 80e9, 120e9, "as given")
ORDER = [Verdict.FITS, Verdict.OFFLOAD, Verdict.NO]


def month(assumed: Assumptions) -> float:
    bill = cost_of(Machines(2, 4800, 400, 100), PACE, WORKLOAD, 50, assumed).bill
    assert bill is not None
    return bill.total


@given(pue=st.floats(1.0, 4.0), years=st.floats(0.5, 10.0), more=st.floats(0.0, 1.0))
def test_a_hungrier_site_is_dearer_and_longer_use_cheaper(pue: float, years: float, more: float) -> None:
    """A month never gets cheaper by losses of the site, and never dearer by years of use."""
    base = Assumptions(pue=pue, years=years)
    assert month(replace(base, pue=pue + more)) >= month(base) * (1 - 1e-9)
    assert month(replace(base, years=years + more)) <= month(base) * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(gib=st.integers(2, 24), more=st.integers(0, 24), cards=st.integers(1, 3), context=st.sampled_from([2048, 16384]))
def test_more_memory_never_worsens_the_verdict(gib: int, more: int, cards: int, context: int) -> None:
    """Cards with more memory hold at least as much of a model."""

    def verdict(size: int) -> int:
        host = Pool("host", "host", "cpu", 2**35, 2**35, RATE, {"fp32": RATE})
        pools = tuple(Pool(f"gpu{i}", "card", "gpu", size, size, RATE, {"fp32": RATE}) for i in range(cards))
        target = Target("machine", host, pools, RATE)
        work = Workload(quantization="Q4_K_M", context_tokens=context)
        return ORDER.index(fit_of(forecast_memory(QWEN_7B, work, target), target, QWEN_7B.layers).verdict)

    assert verdict((gib + more) * 2**30) <= verdict(gib * 2**30)
