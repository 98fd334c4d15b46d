"""Plans: verdicts with missing bytes, the quantization that is taken, how far it goes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.planning.published import LLAMA_8B, MINI_LM, QWEN_7B
from undercroft.core.errors import InvalidError
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.assumptions import Assumptions, changed
from undercroft.planning.cost import HOURS_PER_MONTH
from undercroft.planning.fitting import Verdict, fit_of
from undercroft.planning.forecasts import MemoryForecast, Term, Workload
from undercroft.planning.plan import Plan, Site, Subject, make_plan
from undercroft.planning.quality import QUALITIES
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.targets_of import is_computer, target_of_device

RATE = Rate(100e9, 80e9, 120e9, "as given")
DEVICES = load_devices()


def target(host_bytes: int, *card_bytes: int, kind: str = "gpu") -> Target:
    host = Pool("host", "host", "cpu", host_bytes, host_bytes, RATE, {"fp32": RATE})
    cards = tuple(Pool(f"gpu{i}", "card", kind, size, size, RATE, {"fp32": RATE}) for i, size in enumerate(card_bytes))
    return Target("machine", host, cards, RATE)


def term(name: str, pool: str, size: int, *, is_file: bool = False) -> Term:
    return Term(name, pool, size, is_file, "counted", "here")  # type: ignore[arg-type]


def planned(device: str, shape: object = QWEN_7B, users: int = 1, machines: int = 1, **work: object) -> Plan:
    subject = Subject("model", shape)  # type: ignore[arg-type]
    site = Site(target_of_device(DEVICES[device]), machines)
    return make_plan(subject, site, Workload(**work), users=users)  # type: ignore[arg-type]


def test_what_is_missing_is_said_in_bytes() -> None:
    """A pool with 100 bytes that needs 130 misses 30, and the plan does not fit."""
    memory = MemoryForecast((term("weights", "gpu0", 130), term("runtime", "host", 10)), 33)
    fit = fit_of(memory, target(50, 100), layers=32)
    assert (fit.verdict, fit.missing_bytes) == (Verdict.NO, 30)
    assert [pool.missing_bytes for pool in fit.pools] == [0, 30]


def test_layers_on_the_processor_are_called_offload() -> None:
    """All of 32 layers and the output on cards fit whole; fewer are offload; without cards there is nothing to say."""
    memory = MemoryForecast((term("weights", "gpu0", 10),), 33)
    assert fit_of(memory, target(50, 100), 32).verdict is Verdict.FITS
    assert fit_of(replace(memory, gpu_layers=32), target(50, 100), 32).verdict is Verdict.OFFLOAD
    assert fit_of(replace(memory, gpu_layers=0), target(50), 32).verdict is Verdict.FITS


def test_memory_that_is_shared_is_counted_once_and_together() -> None:
    """A computer whose processor and graphics share 100 bytes cannot give 60 to each."""
    memory = MemoryForecast((term("weights", "gpu0", 60), term("compute buffers", "host", 60)), 33)
    fit = fit_of(memory, target(100, 100, kind="unified"), 32)
    assert (fit.verdict, fit.missing_bytes, len(fit.pools)) == (Verdict.NO, 20, 1)


def test_pages_of_rearranged_matrices_do_not_count_twice() -> None:
    """A file of 100 bytes of which 70 were rearranged takes 100, not 170."""
    terms = (term("weights", "host", 100, is_file=True), term("repacked weights", "host", 70))
    fit = fit_of(MemoryForecast(terms, 0), target(120), 32)
    assert (fit.verdict, fit.pools[0].needed_bytes) == (Verdict.FITS, 100)
    assert sum(t.size_bytes for t in fit.pools[0].terms) == 100


def test_the_best_quantization_that_fits_is_taken() -> None:
    """24 GB hold Qwen 2.5 7B in Q8_0, 8 GB of a Jetson hold Llama 3.1 8B in Q5_K_M; F16 is only listed."""
    assert planned("nvidia-l4").workload.quantization == "Q8_0"
    small = planned("nvidia-jetson-orin-nano-8gb", LLAMA_8B)
    assert small.fit.verdict is Verdict.FITS
    assert small.workload.quantization == "Q5_K_M"
    assert [choice.quantization for choice in small.choices] == [quality.quantization for quality in QUALITIES]
    assert small.choices[0].verdict is Verdict.NO
    assert small.choices[0].missing_bytes > 0


def test_a_quantization_that_was_asked_for_is_taken_even_where_it_does_not_fit() -> None:
    """The verdict then says by how many bytes, and there is neither speed nor cost."""
    found = planned("nvidia-jetson-orin-nano-8gb", LLAMA_8B, quantization="F16")
    assert (found.fit.verdict, found.workload.quantization) == (Verdict.NO, "F16")
    assert found.fit.missing_bytes > 8e9
    assert (found.speed, found.cost, found.largest_context, found.most_users) == (None, None, 0, 0)


def test_largest_context_and_most_users_are_the_last_that_fit() -> None:
    """One step more of either does not fit any more."""
    found = planned("nvidia-rtx-3060-12gb", LLAMA_8B, quantization="Q8_0", context_tokens=4096)
    assert found.fit.verdict is Verdict.FITS
    site, subject = found.site, found.subject
    more_users = make_plan(subject, site, found.workload, users=found.most_users + 1)
    longer = make_plan(subject, site, replace(found.workload, context_tokens=found.largest_context + 256))
    assert more_users.fit.verdict is not Verdict.FITS
    assert longer.fit.verdict is not Verdict.FITS


def test_users_are_shared_out_over_machines() -> None:
    """Forty machines for two hundred users have five slots each."""
    found = planned("nvidia-jetson-orin-nano-8gb", users=200, machines=40, context_tokens=1024)
    assert found.workload.slots == 5
    assert found.cost is not None
    assert found.cost.price == pytest.approx(40 * 249)
    assert found.most_users % 40 == 0


def test_an_encoder_is_planned_without_answers() -> None:
    """An encoder has no tokens a second and a time to its answer."""
    found = planned("amd-epyc-9554", MINI_LM, context_tokens=512, prompt_tokens=128, is_embedding=True)
    assert found.speed is not None
    assert found.speed.decode.value == 0
    assert found.speed.first_token.value < 1


def test_price_and_power_of_ones_own_machine_count() -> None:
    """An offer and a measured power take the place of list and data sheet; idle is never above full load."""
    subject, site = Subject("model", QWEN_7B), Site(target_of_device(DEVICES["nvidia-a100-40gb"]))
    assert make_plan(subject, site, Workload()).cost.bill is None  # type: ignore[union-attr]
    assumed = changed(Assumptions(), ["machine-price=30000", "machine-watts=90"])
    cost = make_plan(subject, site, Workload(), assumed=assumed).cost
    assert cost is not None
    assert cost.bill is not None
    assert cost.price == 30_000
    assert cost.bill.electricity == pytest.approx(0.090 * HOURS_PER_MONTH * 0.20, rel=0.01)


def test_an_encoder_writes_nothing_whatever_was_asked() -> None:
    """A network that cannot generate is planned for texts that it reads, and priced like the cloud's embeddings."""
    found = planned("nvidia-l4", MINI_LM, context_tokens=512)
    assert found.cost is not None
    assert found.workload.is_embedding
    assert found.cost.tokens_per_day == pytest.approx(found.cost.requests_per_day * found.workload.prompt_tokens)
    assert found.assumptions.cloud_input == 0.02


@pytest.mark.parametrize(
    ("work", "users", "words"),
    [
        ({"context_tokens": 0}, 1, "context of 1 token"),
        ({"context_tokens": 200_000}, 1, "was made for 131,072"),
        ({}, 0, "1 user or more"),
    ],
)
def test_what_cannot_be_planned_is_refused(work: dict[str, int], users: int, words: str) -> None:
    """A context of nothing, one beyond the model's own, nobody to serve."""
    with pytest.raises(InvalidError, match=words):
        planned("nvidia-l4", LLAMA_8B, users=users, **work)


@pytest.mark.parametrize("device", sorted(DEVICES))
def test_every_device_of_the_catalogue_makes_a_target(device: str) -> None:
    """Memory, bandwidth and power are there, ranges hold their figure, and several of a computer are refused."""
    found = target_of_device(DEVICES[device])
    assert found.host.available_bytes > 0
    for pool in (found.host, *found.accelerators):
        assert 0 < pool.bandwidth.low <= pool.bandwidth.value <= pool.bandwidth.high
        assert pool.available_bytes <= pool.total_bytes
    assert found.watts > found.idle_watts > 0
    if is_computer(DEVICES[device]):
        with pytest.raises(InvalidError, match="--machines"):
            target_of_device(DEVICES[device], 2)
    else:
        assert len(target_of_device(DEVICES[device], 8).accelerators) == 8


@pytest.mark.parametrize(("device", "share"), [("apple-m1", 2 / 3), ("apple-m4-max", 0.75)])
def test_a_mac_gives_its_gpu_a_part_of_the_memory(device: str, share: float) -> None:
    """What macOS keeps for itself is not planned with: two thirds of 16 GiB, three quarters of 128 GiB."""
    found = target_of_device(DEVICES[device])
    assert found.accelerators[0].available_bytes == pytest.approx(found.accelerators[0].total_bytes * share)


@settings(max_examples=25, deadline=None)
@given(
    context=st.integers(256, 16000),
    more=st.integers(0, 16000),
    users=st.integers(1, 64),
    mix=st.sampled_from(["Q8_0", "Q4_K_M", "Q2_K"]),
)
def test_asking_for_more_never_fits_better(context: int, more: int, users: int, mix: str) -> None:
    """More context and more users need no less memory."""
    small = planned("nvidia-l4", quantization=mix, context_tokens=context, users=users)
    large = planned("nvidia-l4", quantization=mix, context_tokens=context + more, users=users + 1)
    order = [Verdict.FITS, Verdict.OFFLOAD, Verdict.NO]
    assert order.index(large.fit.verdict) >= order.index(small.fit.verdict)
