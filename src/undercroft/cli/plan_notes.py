"""What a buyer should know beside the figures of a plan: maturity, guesses, defaults that were taken. Pure."""

from __future__ import annotations

from undercroft.hardware.devices import Device
from undercroft.planning.fitting import Verdict
from undercroft.planning.plan import Plan
from undercroft.planning.targets_of import SERVER, WORKSTATION, is_computer
from undercroft.registry.shape_reading import Subject

_MATURITY = {
    "well-trodden": "is a well-trodden pair",
    "works": "works; fewer people run it",
    "young": "is a young pair: expect rough edges and try it before you buy",
}


def notes_of(plan: Plan, found: Subject, device: Device | None, *, has_gpu_engine: bool) -> tuple[str, ...]:
    """A sentence each.

    Args:
        plan: As made.
        found: The model as it was found.
        device: Of the catalogue; None for this machine.
        has_gpu_engine: Whether the engine of this machine can use accelerators.
    """
    notes = _of_device(plan, device) if device is not None else _of_machine(plan, has_gpu_engine=has_gpu_engine)
    notes += _of_model(plan, found)
    if plan.assumptions.currency != "USD" and plan.assumptions.dollar_rate == 1:
        notes.append(
            f"A dollar counts as 1 {plan.assumptions.currency}; with its price: --assume dollar_rate=N. Cloud prices "
            "are taken as they stand, too."
        )
    if plan.fit.verdict is Verdict.OFFLOAD:
        notes.append(
            f"{plan.fit.gpu_layers} of {plan.subject.shape.layers + 1} layers are on the accelerator, the others on "
            "the processor, which decides the speed."
        )
    return tuple(notes)


def _of_device(plan: Plan, device: Device) -> list[str]:
    engine = plan.workload.engine
    notes = [
        f"{engine} on {device.name} {_MATURITY.get(device.engines.get(engine, ''), 'is a pair nobody told us of')}."
    ]
    if device.remark:
        notes.append(device.remark)
    if device.memory_bytes == 0:
        notes.append(f"It uses the memory of its host, taken to be {WORKSTATION.memory_bytes // 1024**3} GiB.")
    host = next((one for one in (WORKSTATION, SERVER) if one.name == plan.site.target.host.name), None)
    if host is not None and not is_computer(device) and _is_sold(device):
        given = plan.assumptions.host_usd
        price = host.price_usd if given is None else given
        notes.append(
            f"Counted with a {host.name}, {price:,.0f} USD without the card and {host.watts:.0f} W; change its price "
            "with --assume host-price=N."
        )
    notes.append(_of_price(plan, device))
    return notes


def _is_sold(device: Device) -> bool:
    """Whether one can own it; what is only rented comes with its computer."""
    return device.price is None or device.purchase is not None


def _of_price(plan: Plan, device: Device) -> str:
    asked = device.purchase
    if plan.assumptions.is_given("machine_price"):
        return "The price of a machine is the one that was given."
    if asked is not None:
        return f"Price of the {asked.what}: {asked.usd:,.0f} USD, {asked.year}."
    if device.price is not None:
        return "It is rented only, so owning is not priced."
    found = f"It has no public list price ({device.unpriced})" if device.unpriced else "No list price of it was found"
    return f"{found}, so owning is not priced; with yours: --assume machine-price=N, or devices.yaml in the home."


def _of_machine(plan: Plan, *, has_gpu_engine: bool) -> list[str]:
    target = plan.site.target
    free, total = target.host.available_bytes / 1024**3, target.host.total_bytes / 1024**3
    notes = [f"Of the {total:.1f} GiB of main memory, the {free:.1f} GiB that are free now count."]
    if target.accelerators and not has_gpu_engine and plan.workload.engine == "llama.cpp":
        notes.insert(
            0,
            "The engine that comes with Undercroft computes on the processor; for the accelerator, set "
            "engines.llama_server to a llama-server that was built for it.",
        )
    if "guessed" in target.host.bandwidth.source:
        notes.append(
            "The memory bandwidth is guessed from the processor's cores; for a narrower range: undercroft hardware "
            "measure"
        )
    if not (plan.assumptions.host_price or plan.assumptions.machine_price):
        notes.append("This machine is there already, so no price counts; with one: --assume host-price=N.")
    notes.append(f"Its power is taken to be {target.watts:,.0f} W at full load, {target.idle_watts:,.0f} W idle.")
    return notes


def _of_model(plan: Plan, found: Subject) -> list[str]:
    notes = []
    if found.shape.is_guessed:
        notes.append(
            f"Its kind, {found.shape.architecture}, is not one that we know: counted as a network of Llama's kind. "
            "Whether an engine runs it is for the engine's own list to say; a GGUF of it is counted tensor by tensor."
        )
    stored = found.stored_type if found.shape.tensors else ""
    if stored and not plan.subject.stored:
        notes.append(
            f"The file itself is {stored}; the figures are of the same network as it would be quantized from the "
            "original."
        )
    if found.stored_type and not found.shape.tensors and plan.workload.engine == "llama.cpp":
        notes.append(
            f"The files are {found.stored_type} for other engines: llama.cpp needs a GGUF of it; vLLM takes them as "
            "they are: --engine vllm."
        )
    if found.entry is not None and found.entry.remark:
        notes.append(found.entry.remark)
    longest = plan.subject.shape.context_tokens
    if longest and plan.workload.context_tokens < longest:
        notes.append(
            f"Planned with {plan.workload.context_tokens:,} tokens of context for each user; the model was made for up "
            f"to {longest:,}: --context N."
        )
    return notes
