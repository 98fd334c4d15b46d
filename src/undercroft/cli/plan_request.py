"""What ``undercroft plan`` was asked, looked up and put together: home, model, machine, licence, then the plan."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import Use
from undercroft.catalog.verdicts import Verdict as LicenceVerdict
from undercroft.catalog.verdicts import judge_written
from undercroft.cli.opening import settings_of
from undercroft.cli.plan_notes import notes_of
from undercroft.cli.use import declared_use
from undercroft.core.environment import home_path
from undercroft.core.errors import InvalidError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.hardware.catalogue import find_device, load_devices
from undercroft.hardware.detection import detect
from undercroft.hardware.devices import Device
from undercroft.planning.assumptions import Assumptions, changed
from undercroft.planning.calibration import Corrections
from undercroft.planning.forecasts import Workload
from undercroft.planning.plan import Plan, Site, Subject, make_plan
from undercroft.planning.quality import OTHER_ENGINES
from undercroft.planning.quantization import MIXES
from undercroft.planning.targets import Target
from undercroft.planning.targets_of import is_computer, target_of_device
from undercroft.planning.this_machine import target_here
from undercroft.registry.licences import find_acceptances
from undercroft.registry.shape_reading import Subject as Found
from undercroft.registry.shape_reading import find_subject
from undercroft.serving.accuracy import read_corrections
from undercroft.storage.database import Database

# What `optimize quantize` makes for vLLM; a model that is one of these is planned as it is.
_COMPRESSED = ("W4A16", "W4A16_G64", "W4A16_G32", "W8A8", "MXFP4A16", "NVFP4A16")
# Engines that plans are made for, in the order in which one is chosen for a device, with what they can store.
QUANTIZATIONS: Mapping[str, tuple[str, ...]] = {
    "llama.cpp": tuple(MIXES),
    "vllm": (*OTHER_ENGINES["vllm"], "F16", "F32", "INT8", "GPTQ", "INT4", *_COMPRESSED),
    "onnxruntime": (*OTHER_ENGINES["onnxruntime"], "F16", "INT4"),
}
_SYNONYMS = (
    *(("FP16", "F16"), ("FP32", "F32"), ("F32", "FP32"), ("Q4_K", "Q4_K_M"), ("Q5_K", "Q5_K_M"), ("Q3_K", "Q3_K_M")),
    *(("Q6_K_M", "Q6_K"), ("MXFP4", "MXFP4A16"), ("NVFP4", "NVFP4A16")),
)
_CACHE_TYPES: Mapping[str, tuple[str, ...]] = {
    "llama.cpp": ("f16", "bf16", "f32", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"),
    "vllm": ("f16", "bf16", "fp8"),
    "onnxruntime": ("f16", "f32"),
}
_HERE = ("this machine", "this-machine", "this", "here")
# What a server gives a request where nobody says otherwise; see the setting engines.context_tokens.
_USUAL_CONTEXT_TOKENS = 8192


@dataclass(frozen=True, slots=True)
class Asked:
    """The options as they were given; None where one was not.

    Args:
        model: Catalogue name, registered model, file, folder or ``hf://`` reference.
        device: Of the catalogue; None is this machine.
        count: Of it in one machine.
        machines: Equal ones.
        context: Tokens of one request.
        users: At the same time.
        quantization: To plan for; None takes the best that fits.
        engine: None takes the one that runs best on the device.
        cache_type: Of keys and values.
        prompt: Tokens of a typical request.
        answer: Tokens of a typical request.
        use: Declared.
        assumed: ``name=value`` each.
    """

    model: str
    device: str | None = None
    count: int | None = None
    machines: int = 1
    context: int | None = None
    users: int = 1
    quantization: str | None = None
    engine: str | None = None
    cache_type: str = "f16"
    prompt: int | None = None
    answer: int | None = None
    use: str | None = None
    assumed: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is on this machine already.

    Args:
        home: Whether or not it exists.
        settings: In force.
        database: Of the home; None where there is none: looking makes none.
    """

    home: Home
    settings: Settings
    database: Database | None


@dataclass(frozen=True, slots=True)
class Made:
    """A plan with what it was made of.

    Args:
        plan: The plan.
        found: The model.
        device: Of the catalogue; None for this machine.
    """

    plan: Plan
    found: Found
    device: Device | None


def surroundings() -> Surroundings:
    """Home, settings and database as they are."""
    home = Home(home_path())
    database = Database(home.database_file) if home.database_file.exists() else None
    return Surroundings(home, settings_of(home), database)


def assumptions_of(settings: Settings, wanted: Sequence[str]) -> Assumptions:
    """Defaults, then the settings, then what was given.

    Raises:
        InvalidError: ``bad-assumption``.
    """
    given = settings.planning.model_dump(exclude_none=True)
    return changed(changed(Assumptions(), [f"{name}={value}" for name, value in given.items()]), wanted)


def plan_for(asked: Asked, around: Surroundings) -> Made:
    """Looks everything up and plans.

    Raises:
        InvalidError: An option is out of range or unknown, with the nearest name.
        NotFoundError: There is no such model or device.
        RefusedError: A hub does not give the model.
        UnavailableError: A hub does not answer.
    """
    assumed = assumptions_of(around.settings, asked.assumed)
    use = declared_use(around.home, asked.use)
    found = find_subject(asked.model, home=around.home, settings=around.settings.registry, database=around.database)
    is_here = asked.device is None or asked.device.strip().lower() in _HERE
    device = None if is_here else find_device(load_devices(around.home.root), asked.device or "")
    engine = engine_for(asked.engine, device)
    subject = _subject(found, asked, engine, licence_verdict(found.licence, use, around))
    target = _target(asked, device, around, assumed)
    rent = device.rent.usd * (asked.count or 1) if device is not None and device.rent is not None else None
    plan = make_plan(
        subject,
        Site(target, asked.machines, rent),
        workload_for(asked, found, engine, around.settings.engines.context_tokens),
        users=asked.users,
        assumed=assumed,
        learnt=_learnt(around.database),
    )
    notes = notes_of(plan, found, device, has_gpu_engine=around.settings.engines.llama_server is not None)
    accepted = _acceptance(around.database, subject.licence)
    return Made(replace(plan, notes=(*notes, *accepted)), found, device)


def engine_for(wanted: str | None, device: Device | None) -> str:
    """The engine to plan for.

    Args:
        wanted: As given; None takes the first that runs on the device.
        device: None for this machine, on which nothing is known to fail.

    Raises:
        InvalidError: ``unknown-engine``, or ``engine-does-not-run`` on the device.
    """
    if wanted is not None and wanted not in QUANTIZATIONS:
        raise InvalidError(
            "unknown-engine",
            f"plans are made for {', '.join(QUANTIZATIONS)}, not for {wanted[:40]!r}{_nearest(wanted, QUANTIZATIONS)}",
            hint=f"undercroft plan MODEL --engine {next(iter(QUANTIZATIONS))}",
        )
    if device is None:
        return wanted or next(iter(QUANTIZATIONS))
    running = [engine for engine, how in device.engines.items() if how != "none"]
    known = [engine for engine in QUANTIZATIONS if engine in running]
    if wanted is not None and wanted in known:
        return wanted
    if wanted is None and known:
        return known[0]
    raise InvalidError(
        "engine-does-not-run",
        f"{wanted or 'no engine that plans are made for'} {'does not run' if wanted else 'runs'} on {device.name}; "
        f"what does: {', '.join(running) or 'nothing that we know'}",
        hint=f"undercroft plan devices {device.id}",
    )


def quantization_for(text: str, engine: str) -> str:
    """A quantization of an engine as its own writes it.

    Raises:
        InvalidError: ``unknown-quantization``, with the nearest.
    """
    known = QUANTIZATIONS[engine]
    name = text.strip().upper().replace("-", "_")
    names = [name, *(meant for written, meant in _SYNONYMS if written == name)]
    alike = {one.replace("_", ""): one for one in known}
    found = next((alike[one.replace("_", "")] for one in names if one.replace("_", "") in alike), None)
    if found is not None:
        return found
    raise InvalidError(
        "unknown-quantization",
        f"{engine} has no quantization {text[:40]!r}{_nearest(name, known)}; known are {', '.join(known)}",
        hint="undercroft plan MODEL shows all that could be taken",
    )


def cache_type_for(text: str, engine: str) -> str:
    """A type of keys and values that an engine has.

    Raises:
        InvalidError: ``bad-cache-type``, with the nearest.
    """
    name, known = text.strip().lower(), _CACHE_TYPES[engine]
    if name in known:
        return name
    raise InvalidError(
        "bad-cache-type",
        f"{engine} keeps keys and values as {', '.join(known)}, not as {text[:40]!r}{_nearest(name, known)}",
        hint=f"undercroft plan MODEL --cache-type {known[0]}",
    )


def workload_for(asked: Asked, found: Found, engine: str, usual_context: int) -> Workload:
    """How the model is run: as a server would serve it where nothing else was asked.

    Args:
        asked: Options.
        found: The model.
        engine: As chosen.
        usual_context: The setting; 0 is the model's own, at most 8,192.

    Raises:
        InvalidError: ``bad-plan``, ``unknown-quantization`` or ``bad-cache-type``.
    """
    longest = found.shape.context_tokens
    context = asked.context
    if context is None:
        context = min(usual_context or _USUAL_CONTEXT_TOKENS, longest or _USUAL_CONTEXT_TOKENS)
    is_embedding = found.shape.is_encoder or (found.entry is not None and found.entry.task != "chat")
    if is_embedding and asked.answer is not None:
        raise InvalidError(
            "bad-plan", f"{found.name} generates nothing, so an answer has no tokens", hint="leave --answer-tokens out"
        )
    prompt, answer = _request(asked, context, is_embedding=is_embedding)
    is_compressed = engine == "vllm" and found.stored_type in (*_COMPRESSED, "FP8")
    quantization = asked.quantization or (found.stored_type if is_compressed else "")
    return Workload(
        engine=engine,
        quantization=quantization_for(quantization, engine) if quantization else "",
        context_tokens=context,
        cache_type=cache_type_for(asked.cache_type, engine),
        prompt_tokens=prompt,
        answer_tokens=answer,
        is_embedding=is_embedding,
    )


def _request(asked: Asked, context: int, *, is_embedding: bool) -> tuple[int, int]:
    """Tokens of a typical request; where nobody says otherwise it is as long as the context allows."""
    usual = Workload()
    prompt = asked.prompt if asked.prompt is not None else usual.prompt_tokens
    answer = 0 if is_embedding else asked.answer if asked.answer is not None else usual.answer_tokens
    if prompt + answer <= context:
        return prompt, answer
    if asked.prompt is None and asked.answer is None:
        prompt = context if is_embedding else max(1, context * 2 // 3)
        return prompt, max(0, context - prompt)
    raise InvalidError(
        "bad-plan",
        f"prompt and answer take {prompt + answer:,} tokens, the context of a request has {context:,}",
        hint="give a longer --context, or fewer --prompt-tokens or --answer-tokens",
    )


def licence_verdict(written: str, use: Use, around: Surroundings) -> LicenceVerdict:
    """Whether a licence, as a model names it, covers the declared use."""
    return judge_written(load_licences(around.home.catalogue), written, use)


def _subject(found: Found, asked: Asked, engine: str, licence: LicenceVerdict) -> Subject:
    """A file is planned as it is; in another quantization, or for another engine, as its network converted."""
    stored = found.stored_type if found.shape.tensors else ""
    is_as_stored = stored and engine == "llama.cpp" and (asked.quantization or stored).upper() == stored.upper()
    if is_as_stored:
        return Subject(found.name, found.shape, stored, licence)
    return Subject(found.name, replace(found.shape, tensors=()), "", licence)


def _target(asked: Asked, device: Device | None, around: Surroundings, assumed: Assumptions) -> Target:
    if device is not None:
        if asked.count is not None and asked.count > 1 and is_computer(device):
            target_of_device(device, asked.count)  # refuses, and says what to give instead
        return target_of_device(device, asked.count or 1, host_price_usd=assumed.host_usd)
    if asked.count is not None:
        raise InvalidError(
            "bad-count", "--count is of a device, and this machine is planned for", hint="give --device, too"
        )
    machine = detect(around.home.root)
    if around.database is None:
        target = target_here(machine, None, around.home.root)
    else:
        with around.database.read() as connection:
            target = target_here(machine, connection, around.home.root)
    # It is there already: nothing is bought, unless somebody says what it cost.
    return replace(target, price_usd=assumed.host_price)


def _learnt(database: Database | None) -> Corrections:
    if database is None:
        return Corrections()
    with database.read() as connection:
        return read_corrections(connection)


def _acceptance(database: Database | None, verdict: LicenceVerdict | None) -> tuple[str, ...]:
    if database is None or verdict is None or verdict.outcome == "allowed":
        return ()
    with database.read() as connection:
        found = find_acceptances(connection, verdict)
    return tuple(f"The licence {a.licence} was accepted for {a.use} by {a.actor} on {a.at[:10]}." for a in found)


def _nearest(name: str, known: Sequence[str] | Mapping[str, object]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"; nearest is {near[0]!r}" if near else ""
