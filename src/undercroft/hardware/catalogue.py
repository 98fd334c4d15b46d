"""The catalogue of devices: read from YAML, completed by the user's own, checked; and which device a name means."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.hardware.catalogue_entries import Entry, problems_of
from undercroft.hardware.devices import Device, Kind

_BUILT_IN = Path(__file__).parent / "catalogue"
_CLASSES = Path(__file__).parent / "catalogue_classes"
_USER_SOURCE = "the devices.yaml of this home"
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C one reads ten times as fast, where it is built
_NEAR_SHOWN = 6
_MEMORY_SUFFIX = re.compile(r"[- ][0-9]+ ?gb$")
_FIGURES = ("memory", "bandwidth", "tflops", "watts", "reported")

# Words that make another device of a name that is else the same: a text without them does not match a name with them.
_DISTINGUISHING = frozenset(
    ("ti", "super", "laptop", "mobile", "max-q", "d", "ada", "xt", "xtx", "pro", "max", "ultra", "nvl", "mig", "gre")
)


def load_devices(home: Path | None = None) -> dict[str, Device]:
    """Every device that is known, by id.

    Args:
        home: Root of a home; its ``devices.yaml`` and ``devices/*.yaml`` add devices and correct ours field by field.

    Raises:
        InvalidError: A file of the user's cannot be read or says nonsense; the message names entry and field.
    """
    devices = _built_in()
    return {**devices, **_from_user(home)} if home is not None else dict(devices)


def find_device(known: Mapping[str, Device], name: str) -> Device:
    """A device by its id, with or without its vendor, or by its name as its maker writes it: ``rtx 4090``, ``RTX4090``.

    The size of its memory may be left out where that names one device: ``raspberry-pi-5``. A class of machines is found
    by its id: ``edge-8gb``.

    Raises:
        NotFoundError: ``no-such-device``; the message names the ids that are near.
    """
    found = known.get(name) or machine_classes().get(name.strip().lower())
    if found is not None:
        return found
    wanted = _squeezed(name)
    for is_meant in (
        lambda text: _squeezed(text) == wanted,
        lambda text: _squeezed(_MEMORY_SUFFIX.sub("", text)) == wanted,
    ):
        named = [
            one for one in known.values() if any(map(is_meant, (one.id, one.id.partition("-")[2], one.name.lower())))
        ]
        if len(named) == 1:
            return named[0]
        if named:
            raise NotFoundError(
                "no-such-device",
                f"{name[:80]!r} is several devices: {', '.join(sorted(one.id for one in named))}; expected one of them",
                hint=f"undercroft plan devices {named[0].id}",
            )
    near = near_devices({**known, **machine_classes()}, name.strip().lower())
    raise NotFoundError(
        "no-such-device",
        f"the catalogue has no device {name[:80]!r}" + (f"; near it: {', '.join(near)}" if near else ""),
        hint="undercroft plan devices",
    )


def _squeezed(text: str) -> str:
    return re.sub(r"[^a-z0-9+]", "", text.lower())


def near_devices(known: Mapping[str, Device], name: str) -> list[str]:
    """Ids that somebody may have meant: those that hold all words of the text, else those that are written alike."""
    words = re.findall(r"[a-z]+|[0-9]+", name.lower())
    holding = [id for id in known if words and all(word in id for word in words)]
    short = {id.partition("-")[2]: id for id in known}
    alike = difflib.get_close_matches(name.lower(), [*known, *short], n=_NEAR_SHOWN, cutoff=0.5)
    return list(dict.fromkeys([*holding, *(short.get(match, match) for match in alike)]))[:_NEAR_SHOWN]


def match_device(
    name: str, devices: Mapping[str, Device], *, kinds: Iterable[Kind], memory_bytes: int | None = None
) -> str | None:
    """The id of the device that a driver's or the kernel's name means; None where no one device fits best.

    Args:
        name: ``NVIDIA A100-SXM4-80GB``, ``Intel(R) Xeon(R) Platinum 8480+`` …
        devices: The catalogue.
        kinds: Of these only.
        memory_bytes: That the driver reports: of several devices of one name, the one whose memory is nearest counts;
            one whose memory differs by more than 15 % does not.
    """
    words = set(_words(name))
    wanted = frozenset(kinds)
    scored = [
        (score, -_memory_difference(device, memory_bytes), device.id)
        for device in devices.values()
        if device.kind in wanted
        and (score := max((_score(_words(text), words) for text in device.match), default=0)) > 0
        and _memory_difference(device, memory_bytes) <= 0.15
    ]
    best = sorted(scored, reverse=True)
    if not best or (len(best) > 1 and best[0][:2] == best[1][:2]):
        return None
    return best[0][2]


def _words(text: str) -> list[str]:
    cleaned = re.sub(r"\((r|tm|c)\)", " ", text.lower())
    return [word for word in re.split(r"[^a-z0-9+.]+", cleaned) if word]


def _score(text: list[str], name: set[str]) -> int:
    """How many words of a match text a name holds; 0 unless all of them, and no word that makes another device."""
    if not set(text) <= name or (name - set(text)) & _DISTINGUISHING:
        return 0
    return len(text)


def _memory_difference(device: Device, memory_bytes: int | None) -> float:
    own = device.reported_bytes or device.memory_bytes
    return abs(memory_bytes - own) / own if memory_bytes and own else 0.0


@cache
def machine_classes() -> Mapping[str, Device]:
    """What many machines have in common, by id, to plan for before one of them is chosen; none of them is for sale."""
    return _devices_in(_CLASSES)


@cache
def _built_in() -> dict[str, Device]:
    return _devices_in(_BUILT_IN)


def _devices_in(folder: Path) -> dict[str, Device]:
    return {
        id: _checked(path, id, raw).to_device(id)
        for path in sorted(folder.glob("*.yaml"))
        for id, raw in _read(path).items()
    }


@cache
def _built_in_raw() -> dict[str, dict[str, Any]]:
    return {id: raw for path in sorted(_BUILT_IN.glob("*.yaml")) for id, raw in _read(path).items()}


def _from_user(home: Path) -> dict[str, Device]:
    merged: dict[str, dict[str, Any]] = {}
    origin: dict[str, Path] = {}
    for path in (*sorted((home / "devices").glob("*.yaml")), home / "devices.yaml"):
        if not path.is_file():
            continue
        for id, raw in _read(path).items():
            merged[id] = merge_entry(merged.get(id) or _built_in_raw().get(id, {}), raw)
            origin[id] = path
    return {id: _checked(origin[id], id, raw).to_device(id) for id, raw in merged.items()}


def merge_entry(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """One entry over another: fields are replaced, maps (``tflops``, ``engines``) completed.

    A figure that the upper one changes without naming its source is from the user.
    """
    merged = dict(below)
    for field, value in above.items():
        old = merged.get(field)
        if isinstance(old, Mapping) and isinstance(value, Mapping) and field not in ("price", "rent"):
            merged[field] = {**old, **value}
        else:
            merged[field] = value
    given = above.get("sources")
    named = _split_sources(given) if isinstance(given, Mapping) else {}
    sources = {**_split_sources(below.get("sources") or {}), **named}
    sources.update({field: _USER_SOURCE for field in _FIGURES if field in above and field not in named})
    merged["sources"] = sources
    return merged


def _split_sources(sources: Mapping[Any, Any]) -> dict[str, Any]:
    """``memory, bandwidth: text`` as one line a field."""
    return {field.strip(): text for fields, text in sources.items() for field in str(fields).split(",")}


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise InvalidError(
            "bad-device",
            f"cannot read the device catalogue {path}: {reason}",
            hint="write it as UTF-8 text that you may read; docs/guide/hardware.md says what it holds",
        ) from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InvalidError("bad-device", f"{path}: expected a map of device ids to devices", hint="see guide: hardware")
    for id, raw in content.items():
        if not isinstance(raw, dict):
            raise InvalidError(
                "bad-device",
                f"{path}: device {id!r}: expected a map of fields, got {str(raw)[:80]!r}",
                hint="docs/guide/hardware.md says what each field holds",
            )
    return {str(id): {**raw, "sources": _split_sources(raw.get("sources") or {})} for id, raw in content.items()}


def _checked(path: Path, id: str, raw: Mapping[str, Any]) -> Entry:
    found = problems_of(id, raw)
    if isinstance(found, Entry):
        return found
    raise InvalidError(
        "bad-device",
        f"{path}: device {id!r}: " + "; ".join(found),
        hint="correct the file; docs/guide/hardware.md says what each field holds",
    )
