"""What a plan costs: by hand, and what must always hold."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.errors import InvalidError
from undercroft.planning.assumptions import Assumptions, changed, cloud_price, listed, with_cloud
from undercroft.planning.cost import (
    DAYS_PER_MONTH,
    HOURS_PER_MONTH,
    Machines,
    cloud_price_per_token,
    cost_of,
    owned_month,
)
from undercroft.planning.forecasts import Workload
from undercroft.planning.speed import Pace

PACE = Pace(decode=50, decode_user=25, decode_all=100, prefill=1000, first_token=0.6)
WORKLOAD = Workload(quantization="Q4_K_M", slots=4, prompt_tokens=500, answer_tokens=250)
ONE = Machines(count=1, price_usd=4800, watts=400, idle_watts=100, rent_usd_per_hour=1.0)
ASSUMED = Assumptions(years=4, residual=0.0, kwh_price=0.25, pue=1.5, upkeep_hours=2, wage=50, upkeep_share=0.0)


def test_a_bill_by_hand() -> None:
    """4,800 over 48 months is 100; a request takes 3 s; 12,000 a day would be 10 h, so 28,800 are the capacity."""
    users = 100
    found = cost_of(ONE, PACE, WORKLOAD, users, ASSUMED)
    requests = 100 * 40 * 22 / DAYS_PER_MONTH
    busy = requests / (86400 / 3.0)
    watts = 100 + 300 * busy
    assert found.bill is not None
    assert found.bill.purchase == pytest.approx(100)
    assert found.bill.electricity == pytest.approx(watts / 1000 * HOURS_PER_MONTH * 0.25)
    assert found.bill.cooling == pytest.approx(found.bill.electricity / 2)
    assert (found.bill.work, found.bill.parts) == (100, 0)
    assert found.busy_share == pytest.approx(busy)
    assert found.tokens_per_day == pytest.approx(requests * 750)
    assert found.cloud_month == pytest.approx(requests * DAYS_PER_MONTH * (500 * 0.2 + 250 * 0.6) / 1e6)
    assert found.rent_month == pytest.approx(HOURS_PER_MONTH + 100)
    assert found.per_million == pytest.approx(found.bill.total / (found.tokens_per_day * DAYS_PER_MONTH) * 1e6)


def test_at_break_even_owning_and_the_cloud_cost_the_same() -> None:
    """The load that is named gives the same month's bill on both sides."""
    assumed = replace(ASSUMED, cloud_input=2.0, cloud_output=6.0)
    found = cost_of(ONE, PACE, WORKLOAD, 100, assumed)
    assert found.even_tokens_per_day is not None
    owned = owned_month(ONE, found.even_tokens_per_day, found, assumed)
    in_cloud = found.even_tokens_per_day * DAYS_PER_MONTH * cloud_price_per_token(WORKLOAD, assumed)
    assert owned == pytest.approx(in_cloud)


def test_renting_is_paid_back_by_what_it_costs_more_than_running() -> None:
    """4,800 against a rent of 830 a month and running costs of its own."""
    found = cost_of(ONE, PACE, WORKLOAD, 10, ASSUMED)
    assert found.bill is not None
    assert found.rent_month is not None
    assert found.even_rent_months == pytest.approx(4800 / (found.rent_month - found.bill.running))


def test_a_cheap_cloud_is_never_beaten() -> None:
    """Where electricity alone costs more than the cloud, there is no break-even."""
    found = cost_of(ONE, PACE, WORKLOAD, 10, replace(ASSUMED, cloud_input=0.001, cloud_output=0.001))
    assert found.even_tokens_per_day is None
    assert found.even_cloud_months is None


def test_without_a_price_nothing_is_invented() -> None:
    """A device without a list price has no bill, and still a capacity and a cloud price."""
    found = cost_of(replace(ONE, price_usd=None), PACE, WORKLOAD, 10, ASSUMED)
    assert found.bill is None
    assert found.per_million is None
    assert found.even_cloud_months is None
    assert found.cloud_month > 0


def test_another_currency_multiplies_prices_only() -> None:
    """Prices of devices are dollars; wages, electricity and the cloud that were given are in the currency already."""
    dollars = cost_of(ONE, PACE, WORKLOAD, 10, ASSUMED)
    other = cost_of(ONE, PACE, WORKLOAD, 10, replace(ASSUMED, currency="THB", dollar_rate=33.0))
    assert other.price == pytest.approx(4800 * 33)
    assert other.bill is not None
    assert dollars.bill is not None
    assert other.bill.electricity == dollars.bill.electricity


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kwh", "expected name=value"),
        ("khw=0.2", "nearest is 'kwh'"),
        ("kwh=cheap", "expected a number"),
        ("pue=0.5", "expected 1 to 5"),
        ("years=nan", "expected 0.5 to 20"),
        ("currency=E U R", "up to 8 letters"),
    ],
)
def test_a_wrong_assumption_is_refused_with_what_was_expected(text: str, words: str) -> None:
    """Name, form, number and range each have their sentence."""
    with pytest.raises(InvalidError, match=words):
        changed(Assumptions(), [text])


def test_a_changed_assumption_is_shown_as_given() -> None:
    """Every assumption is listed with meaning and source; a changed one says so."""
    assumed = changed(Assumptions(), ["kwh=0.21", "upkeep-hours=1", "currency=eur"])
    rows = {name: (value, source) for name, value, _, source in listed(assumed)}
    assert rows["kwh_price"] == ("0.21", "given")
    assert rows["currency"] == ("EUR", "given")
    assert rows["pue"][1].startswith("Uptime")
    assert all(meaning and source for _, _, meaning, source in listed(assumed))


def test_a_price_of_the_dollar_turns_defaults_into_the_currency() -> None:
    """At 33 baht a dollar nobody's wage stays 45 baht an hour; what was given in baht stays, in any order."""
    assumed = changed(changed(Assumptions(), ["wage=400"]), ["currency=thb", "rate=33"])
    assert (assumed.wage, assumed.kwh_price) == (400, pytest.approx(6.6))
    assert assumed.cloud_output == pytest.approx(0.60 * 33)
    rows = {name: source for name, _, _, source in listed(assumed)}
    assert rows["wage"] == "given"
    assert rows["kwh_price"].endswith("in USD, times 33")
    assert changed(assumed, ["rate=35"]).kwh_price == pytest.approx(7)


@pytest.mark.parametrize(
    ("active", "is_embedding", "prompt", "source"),
    [(8e9, False, 0.20, "Llama 3.1 8B"), (70e9, False, 0.80, "Llama 3.3 70B"), (3e8, True, 0.02, "embedding")],
)
def test_the_cloud_asks_more_for_a_larger_model(active: float, is_embedding: bool, prompt: float, source: str) -> None:
    """A 70B is not compared with the price of an 8B, nor embeddings with that of a chat; the source says so."""
    found = with_cloud(changed(Assumptions(), ["rate=2"]), cloud_price(active, is_embedding=is_embedding))
    assert found.cloud_input == pytest.approx(prompt * 2)
    sources = {name: text for name, _, _, text in listed(found)}
    assert source in sources["cloud_input"]
    assert source in sources["cloud_output"]


@pytest.mark.parametrize("wanted", [["cloud_input=0.2"], ["cloud_output=5"], ["cloud_input=0"]])
def test_a_cloud_price_that_was_given_stays(wanted: list[str]) -> None:
    """Whatever the size of the model, also where it is the default's, or nothing."""
    assumed = changed(Assumptions(), wanted)
    assert with_cloud(assumed, cloud_price(70e9, is_embedding=False)) == assumed


def test_a_host_that_is_there_already_costs_nothing() -> None:
    """`--assume host-price=0` is a price of nothing; without it the default host's counts."""
    assert changed(Assumptions(), ["host-price=0"]).host_usd == 0
    assert changed(Assumptions(), ["host-price=800"]).host_usd == 800
    assert Assumptions().host_usd is None


MONEY = st.floats(0.0, 10.0)


@given(kwh=MONEY, more=MONEY, users=st.integers(0, 5000), machines=st.integers(1, 40))
def test_cost_grows_with_its_causes(kwh: float, more: float, users: int, machines: int) -> None:
    """Dearer electricity, more machines and more users never make a month cheaper."""
    cheap, dear = replace(ASSUMED, kwh_price=kwh), replace(ASSUMED, kwh_price=kwh + more)

    def total(count: int, people: int, assumed: Assumptions) -> float:
        bill = cost_of(replace(ONE, count=count), PACE, WORKLOAD, people, assumed).bill
        assert bill is not None
        return bill.total * 1.000001

    assert total(machines, users, dear) >= total(machines, users, cheap) / 1.000001
    assert total(machines + 1, users, cheap) >= total(machines, users, cheap) / 1.000001
    assert total(machines, users + 1, cheap) >= total(machines, users, cheap) / 1.000001
