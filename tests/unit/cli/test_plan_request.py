"""What ``plan`` is asked becomes a plan, or an error that says what was expected and what is near."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.folders import write_folder
from tests.support.ggufs import write_chat_model
from tests.unit.planning.test_this_machine import measured_home
from undercroft.cli.plan_money import explanation
from undercroft.cli.plan_request import Asked, Surroundings, engine_for, plan_for, quantization_for
from undercroft.core.errors import InvalidError, NotFoundError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import PlanningSettings, Settings
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.assumptions import Assumptions, listed

DEVICES = load_devices()


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(Home(tmp_path / "home"), Settings(), None)


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        ({"device": "rtx4091"}, NotFoundError, "nvidia-rtx-4090"),
        ({"quantization": "Q8_1"}, InvalidError, "'Q8_0'"),
        ({"quantization": "Q4_K_M", "engine": "vllm"}, InvalidError, "AWQ"),
        ({"engine": "lama.cpp"}, InvalidError, "'llama.cpp'"),
        ({"engine": "llama.cpp", "device": "google-tpu-v5e"}, InvalidError, "vllm"),
        ({"assumed": ("kwhprice=1",)}, InvalidError, "'kwh_price'"),
        ({"assumed": ("years=0",)}, InvalidError, "0.5 to 20"),
        ({"cache_type": "q8"}, InvalidError, "'q8_0'"),
        ({"cache_type": "fp8"}, InvalidError, "q8_0"),
        ({"context": 100_000}, InvalidError, "32,768"),
        ({"context": 600, "prompt": 590}, InvalidError, "846 tokens"),
        ({"use": "profit"}, InvalidError, "commercial"),
        ({"model": "minilm-l6", "answer": 5}, InvalidError, "generates nothing"),
        ({"count": 2}, InvalidError, "--device"),
        ({"count": 2, "device": "apple-m4-max"}, InvalidError, "--machines"),
        ({"count": 9, "device": "nvidia-l4"}, InvalidError, "1 to 8"),
        ({"model": "./nothing.gguf"}, NotFoundError, "nothing.gguf"),
        ({"model": "qwen2.5-70b"}, NotFoundError, "qwen2.5-72b"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    around: Surroundings, asked: dict[str, Any], kind: type[UndercroftError], words: str
) -> None:
    """Each wrong option by itself, with what was expected or is near, and something to do."""
    with pytest.raises(kind) as refused:
        plan_for(Asked(**{"model": "qwen2.5-7b", **asked}), around)
    assert words in str(refused.value)
    assert refused.value.hint


def test_a_request_is_as_a_server_would_serve_it(around: Surroundings) -> None:
    """The context is the model's own up to 8,192, or the setting; a short context shortens the typical request."""
    plan = plan_for(Asked("qwen2.5-7b", device="nvidia-l4"), around).plan
    assert (plan.workload.context_tokens, plan.workload.prompt_tokens, plan.workload.answer_tokens) == (8192, 512, 256)
    short = plan_for(Asked("qwen2.5-7b", device="nvidia-l4", context=300), around).plan.workload
    assert (short.prompt_tokens, short.answer_tokens) == (200, 100)
    encoder = plan_for(Asked("minilm-l6", device="nvidia-l4"), around).plan
    assert (encoder.workload.context_tokens, encoder.workload.is_embedding) == (512, True)


def test_quantizations_are_read_as_people_write_them() -> None:
    """Small letters, hyphens, none at all, and other names of the same."""
    assert [quantization_for(text, "llama.cpp") for text in ("q4_k_m", "Q4-K-M", "q4km", "fp16", "q6_k")] == [
        "Q4_K_M",
        "Q4_K_M",
        "Q4_K_M",
        "F16",
        "Q6_K",
    ]
    assert [quantization_for(text, "vllm") for text in ("bf16", "fp8", "w4a16-g64")] == ["BF16", "FP8", "W4A16_G64"]
    assert [quantization_for(text, "onnxruntime") for text in ("f32", "fp16", "int8")] == ["FP32", "F16", "INT8"]


def test_a_compressed_model_is_planned_as_it_is_stored(around: Surroundings, tmp_path: Path) -> None:
    """For vLLM, which takes its files as they are; another quantization may be asked for."""
    group = {"weights": {"type": "int", "num_bits": 4, "group_size": 64}, "input_activations": None}
    stored = {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}
    folder = str(write_folder(tmp_path / "small", intermediate_size=192, quantization_config=stored))
    plan = plan_for(Asked(folder, device="nvidia-l4", engine="vllm"), around).plan
    assert (plan.workload.quantization, plan.choices[-1].quantization) == ("W4A16_G64", "W4A16_G64")
    other = plan_for(Asked(folder, device="nvidia-l4", engine="vllm", quantization="bf16"), around).plan
    assert other.workload.quantization == "BF16"


def test_the_engine_is_one_that_runs_there() -> None:
    """llama.cpp where it runs, else what does; here nothing is known to fail."""
    assert engine_for(None, DEVICES["nvidia-l4"]) == "llama.cpp"
    assert engine_for(None, DEVICES["intel-gaudi-3"]) == "vllm"
    assert engine_for(None, DEVICES["amd-xdna2-npu"]) == "onnxruntime"
    assert engine_for("vllm", None) == "vllm"


def test_every_assumption_is_a_setting() -> None:
    """[planning] has the names of the assumptions, so that one explanation holds for both."""
    assert list(PlanningSettings.model_fields) == [name for name, _, _, _ in listed(Assumptions())]


def test_this_machine_costs_what_running_it_costs(around: Surroundings) -> None:
    """What is there already is not bought; with a price it is."""
    here = plan_for(Asked("smollm2-135m"), around).plan
    bought = plan_for(Asked("smollm2-135m", assumed=("host-price=1000",)), around).plan
    assert here.cost is not None
    assert here.cost.bill is not None
    assert bought.cost is not None
    assert (here.cost.price, here.cost.bill.purchase, bought.cost.price) == (0, 0, 1000)
    assert any("--assume host-price" in note for note in here.notes)


def test_every_licence_of_a_folder_is_judged(around: Surroundings, tmp_path: Path) -> None:
    """What header, card and text of a licence say counts together, as it does when the model is pulled."""
    write_chat_model(tmp_path / "m.gguf", licence="apache-2.0")
    (tmp_path / "README.md").write_text("---\nlicense: gemma\n---\n", encoding="utf-8")
    found = plan_for(Asked(str(tmp_path), use="commercial"), around).plan.subject.licence
    assert found is not None
    assert (found.outcome, found.licence) == ("needs-acceptance", "gemma AND apache-2.0")
    assert found.to_accept == ("gemma",)
    (tmp_path / "LICENSE").write_text("Mistral AI Research License", encoding="utf-8")
    refused = plan_for(Asked(str(tmp_path), use="commercial"), around).plan.subject.licence
    assert refused is not None
    assert (refused.outcome, refused.to_accept) == ("refused-use", ())


def test_a_plan_is_faster_where_more_bandwidth_was_measured(tmp_path: Path) -> None:
    """The figure reaches the speed of a plan, the note that it was guessed goes, and the explanation names its date."""
    slow, fast = (tmp_path / name for name in ("slow", "fast"))
    plans = []
    for folder, bandwidth in ((slow, 4e9), (fast, 8e9)):
        folder.mkdir()
        home, database = measured_home(folder, bandwidth)
        plans.append(plan_for(Asked("qwen2.5-1.5b"), Surroundings(home, Settings(), database)).plan)
    assert plans[0].speed is not None
    assert plans[1].speed is not None
    assert plans[1].speed.decode.value > 1.5 * plans[0].speed.decode.value
    assert not any("guessed" in note for note in plans[0].notes)
    assert any("4.0 GB/s: measured here" in line for line in explanation(plans[0]))


def test_an_offer_takes_the_place_of_a_price_that_nobody_published(around: Surroundings) -> None:
    """Without a list price the notes say how to give one; with it owning is priced and the note is gone."""
    unpriced = plan_for(Asked("qwen2.5-7b", device="nvidia-a10"), around).plan
    priced = plan_for(Asked("qwen2.5-7b", device="nvidia-a10", assumed=("machine-price=41000",)), around).plan
    assert unpriced.cost is not None
    assert priced.cost is not None
    assert (unpriced.cost.price, priced.cost.price) == (None, 41_000)
    assert any("--assume machine-price=N" in note for note in unpriced.notes)
    assert not any("machine-price=N" in note for note in priced.notes)


def test_what_is_only_rented_is_not_bought(around: Surroundings) -> None:
    """The price of an hour is not taken for that of the thing: owning is not priced, renting is."""
    plan = plan_for(Asked("llama-3.1-8b", device="google-tpu-v5e"), around).plan
    assert plan.cost is not None
    assert (plan.cost.price, plan.cost.bill) == (None, None)
    assert plan.cost.rent_month == pytest.approx(1.2 * 730.5 + 180)
    assert any("rented only" in note for note in plan.notes)
    assert not any("Counted with a" in note for note in plan.notes)


def test_a_device_without_a_public_price_says_why(around: Surroundings) -> None:
    """The reason of the catalogue stands among the notes."""
    notes = plan_for(Asked("llama-3.1-8b", device="amd-mi210"), around).plan.notes
    assert any("It has no public list price (AMD publishes none" in note for note in notes)
