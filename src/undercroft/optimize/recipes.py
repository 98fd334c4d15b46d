"""Recipes: what a new model is made of, and how, as one frozen value: a YAML file kept in git, or options."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from undercroft.core.errors import InvalidError
from undercroft.core.forms import wrong_form
from undercroft.core.ids import LONGEST_NAME
from undercroft.core.yaml_places import read_with_places
from undercroft.optimize.compression.schemes import CompressedScheme
from undercroft.optimize.compression.settings import Calibration, problem_of_others, problem_of_settings
from undercroft.optimize.conversion.settings import Convert
from undercroft.optimize.distillation.settings import Distill
from undercroft.optimize.evaluation.gate_rules import NO_RULE, GateRules
from undercroft.optimize.onnx.schemes import OnnxScheme, problem_of_onnx
from undercroft.optimize.pruning.settings import Prune
from undercroft.optimize.quantization.schemes import SCHEMES, Scheme, scheme_named
from undercroft.optimize.recipe_fields import Digest, Name, Part
from undercroft.optimize.recipe_problems import Step, field_at, problems_in
from undercroft.optimize.scheme_names import find_scheme, known, nearest
from undercroft.optimize.students.settings import Student
from undercroft.optimize.suites.chosen import digest_folder
from undercroft.optimize.suites.settings import Suites
from undercroft.optimize.training.settings import Finetune
from undercroft.registry.releases.files import read_file
from undercroft.storage.blobs import digest_file

OPTIONS = "the options"
_OPTIONS_HINT = "undercroft optimize -h lists the commands, each has its own -h"
_HINT = "correct the file; its form is in docs/guide/optimize.md"

# What a search does by itself, and what reads no GGUF.
_NOT_IN_VARIANTS = frozenset({"convert", "quantize", "rightsize"})


def _scheme(given: object) -> str:
    try:
        return scheme_named(str(given)).name
    except InvalidError:
        near = difflib.get_close_matches(str(given).strip().upper(), list(SCHEMES), n=1, cutoff=0.4)
        nearest = f" (nearest is {near[0]!r})" if near else ""
        raise wrong_form(f"a scheme of llama.cpp: {', '.join(SCHEMES)}{nearest}") from None


def _any_scheme(given: object) -> str:
    try:
        return find_scheme(str(given)).name
    except InvalidError:
        near = nearest(str(given))
        raise wrong_form(f"a scheme: {known()}{f' (nearest is {near[0]!r})' if near else ''}") from None


def _kept(given: object) -> object:
    if given is None or given in ("last", "all"):
        return given
    if isinstance(given, list) and given and all(type(number) is int and number >= 1 for number in given):
        return given
    near = difflib.get_close_matches(str(given), ["last", "all"], n=1)
    nearest = f" (nearest is {near[0]!r})" if near else ""
    raise wrong_form(f"'last', 'all' or numbers of steps from 1, such as [1, 2]{nearest}")


SchemeName = Annotated[str, BeforeValidator(_scheme)]
AnySchemeName = Annotated[str, BeforeValidator(_any_scheme)]


class Importance(Part):
    """How much each input of a matrix matters: measured while the model reads texts of its user's, or before."""

    texts: Path | None = Field(None, description="A file of plain text in UTF-8: what the model will be used for.")
    texts_digest: Digest | None = Field(
        None, description="Of the file; what it is now where it is left out. Another content is refused."
    )
    file: Path | None = Field(None, description="What was measured before: a GGUF as llama-imatrix writes it.")
    file_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")

    @model_validator(mode="after")
    def _comes_from_one(self) -> Self:
        if (self.texts is None) == (self.file is None):
            raise ValueError("expected texts: FILE or file: FILE, which is a matrix that was collected before")
        return self


class Quantize(Part):
    """Fewer bits a weight: in a GGUF as llama.cpp's own quantizer chooses, in a published model as vLLM reads them."""

    scheme: AnySchemeName = Field(description="Of llama.cpp's mixes, of those for vLLM, or of those for ONNX.")
    importance: Importance | None = Field(None, description="Keep what matters to texts of your own.")
    allow_requantize: bool = Field(
        False, description="Take a model that is quantized already: rounding twice loses more than rounding once."
    )

    calibration: Calibration | None = Field(None, description="Texts of your own, for vLLM and INT8-STATIC.")
    group_size: Literal[128, 64, 32] | None = Field(
        None, description="Weights that share a scale, for W4A16; the largest that divides where it is left out."
    )
    smoothing: bool | None = Field(
        None, description="For w8a8: outliers of what is read are moved into the weights first; true where left out."
    )

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        scheme = find_scheme(self.scheme)
        if isinstance(scheme, CompressedScheme):
            problem = problem_of_settings(
                scheme,
                calibration=self.calibration,
                group_size=self.group_size,
                smoothing=self.smoothing,
                has_importance=self.importance is not None,
                allows_requantizing=self.allow_requantize,
            )
        elif isinstance(scheme, OnnxScheme):
            problem = problem_of_onnx(scheme, [name for name, value in self if name != "scheme" and value])
        else:
            problem = problem_of_others(
                scheme.name, calibration=self.calibration, group_size=self.group_size, smoothing=self.smoothing
            )
        if problem is not None:
            raise ValueError(problem)
        if isinstance(scheme, Scheme) and scheme.needs_importance and self.importance is None:
            raise ValueError(
                f"{self.scheme} is garbage without an importance matrix: expected importance: {{texts: FILE}}, as an "
                "option --importance-texts FILE"
            )
        return self

    @property
    def is_for_published(self) -> bool:
        """Whether it is of a folder of files, for vLLM or onnxruntime; else of a GGUF."""
        return isinstance(find_scheme(self.scheme), CompressedScheme | OnnxScheme)


class Variant(Part):
    """Another model to make everything of, as well: pruned, say, and taught again."""

    name: Name = Field(description="Of its own, for the report.")
    steps: Annotated[list[StepEntry], Field(min_length=1, max_length=10)] = Field(
        description="As in a recipe; every scheme of the search is tried of what they make."
    )

    @model_validator(mode="after")
    def _makes_what_can_be_quantized(self) -> Self:
        wrong = next((entry.kind for entry in self.steps if entry.kind in _NOT_IN_VARIANTS), None)
        if wrong is not None:
            raise ValueError(
                f"steps: expected steps that change the network, {wrong} is the search's own or stands alone"
            )
        if self.name.upper() in SCHEMES:
            raise ValueError(f"name: expected another name than that of a scheme, got {self.name!r}")
        return self


class Rightsize(Part):
    """The smallest model that can be made of this one and still does its work, on the machine where it has to."""

    max_quality_loss_percent: float = Field(
        gt=0, le=100, description="Points of the tasks passed; without tasks, percent that perplexity rises."
    )
    fit: str = Field(
        "here",
        min_length=1,
        max_length=80,
        description="A device or class of the catalogue, a size of memory, or here.",
    )
    min_tokens_per_second: float | None = Field(None, gt=0, description="Least speed of one answer.")
    users: int = Field(1, ge=1, le=256, description="That it answers at once.")
    context_tokens: int | None = Field(
        None, ge=64, le=10_000_000, description="Of one request; the model's own, at most 8,192, where it is left out."
    )
    schemes: Annotated[list[SchemeName], Field(min_length=1)] | None = Field(
        None, description="To try; every one where it is left out."
    )
    importance: Importance | None = Field(
        None, description="Texts of their own for the importance matrix; else every second of those of the evaluation."
    )
    allow_requantize: bool = Field(False, description="Take a model that is quantized already.")
    measure_all: bool = Field(False, description="Also measure what is larger than the pick, for the picture.")
    variants: Annotated[list[Variant], Field(max_length=8)] = Field(
        [], description="Further models to make everything of: the source after some steps."
    )

    @model_validator(mode="after")
    def _names_variants_apart(self) -> Self:
        names = [variant.name for variant in self.variants]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"variants: two are called {twice!r}")
        return self


class StepEntry(Part):
    """One step: its kind, and its settings."""

    convert: Convert | None = None
    quantize: Quantize | None = None
    rightsize: Rightsize | None = None
    student: Student | None = None
    prune: Prune | None = None
    finetune: Finetune | None = None
    distill: Distill | None = None

    @model_validator(mode="after")
    def _has_one_kind(self) -> Self:
        if len(self.model_fields_set) != 1 or self.settings is None:
            raise ValueError(f"expected one kind of step with its settings: {', '.join(KINDS)}")
        return self

    @property
    def kind(self) -> str:
        """``quantize`` …"""
        return next(iter(self.model_fields_set))

    @property
    def settings(self) -> Part | None:
        """Of the kind that it is."""
        found: Part | None = getattr(self, self.kind, None)
        return found


class Evaluation(Part):
    """What the new model is measured by, beside its parent, before it has its name."""

    tasks: Path | None = Field(None, description="Questions with checks: JSON lines, or a probe file.")
    tasks_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    texts: Path | None = Field(None, description="Texts of your own: plain, or JSON lines.")
    texts_digest: Digest | None = Field(None, description="Of that file; what it is now where it is left out.")
    suites: Suites | None = Field(None, description="Standard suites of lm-eval.")

    @model_validator(mode="after")
    def _measures_something(self) -> Self:
        if self.tasks is None and self.texts is None and self.suites is None:
            raise ValueError("expected tasks: FILE, texts: FILE or suites with their folder and names")
        return self


class Recipe(Part):
    """A new model: of which, under which name, by which steps."""

    source: Name = Field(alias="from", description="A model of the registry.")
    to: Name = Field(description="The name of the new model.")
    steps: Annotated[list[StepEntry], Field(min_length=1, max_length=20)]
    evaluation: Evaluation | None = None
    gate: GateRules | None = None
    keep: Annotated[Literal["last", "all"] | list[int] | None, BeforeValidator(_kept)] = Field(
        None, description="Which steps' models get a name, too: last (none but the result), all, or their numbers."
    )
    seed: int = Field(0, ge=0, le=2**32 - 1, description="Of everything that is random.")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if self.source == self.to:
            raise ValueError(f"to: expected another name than that of the model it is made from, got {self.to!r}")
        return self

    @model_validator(mode="after")
    def _keeps_what_there_is(self) -> Self:
        if not isinstance(self.keep, list):
            return self
        wrong = next((number for number in self.keep if number >= len(self.steps)), None)
        if wrong is not None:
            raise ValueError(
                f"keep: expected numbers of steps before the last, which is kept anyhow: below {len(self.steps)}, "
                f"got {wrong}"
            )
        half = next((number for number in self.keep if self._is_half_done(number)), None)
        if half is not None:
            raise ValueError(
                f"keep: what step {half} makes is of no use before the next one has taught it: expected {half + 1} or "
                "a later step"
            )
        return self

    @model_validator(mode="after")
    def _measures_what_it_judges(self) -> Self:
        if self.gate is not None and self.evaluation is None:
            raise ValueError("gate: expected evaluation beside it, with tasks or texts to judge by")
        if self.gate is not None and not self.gate.asks:
            raise ValueError(f"gate: {NO_RULE}")
        return self

    @model_validator(mode="after")
    def _converts_alone(self) -> Self:
        if all(entry.convert is None for entry in self.steps):
            return self
        if len(self.steps) > 1:
            raise ValueError("steps: expected a step that converts to be the only one; what follows reads its model")
        if self.evaluation is not None:
            raise ValueError(
                "evaluation: a step that converts compares its result with the source by itself; expected it in the "
                "recipe of what follows"
            )
        return self

    @model_validator(mode="after")
    def _rightsizes_alone(self) -> Self:
        if all(entry.rightsize is None for entry in self.steps):
            return self
        if len(self.steps) > 1:
            raise ValueError("steps: expected a step that rightsizes to be the only one; it tries the others by itself")
        if self.evaluation is None:
            raise ValueError("steps[1].rightsize: expected evaluation beside it, with tasks or texts to judge by")
        if self.evaluation.suites is not None:
            raise ValueError(
                "evaluation.suites: a search asks tasks and texts only; ask suites of its result: "
                "undercroft optimize evaluate"
            )
        search = self.steps[0].rightsize
        for number, variant in enumerate(search.variants if search is not None else (), 1):
            try:
                Recipe.model_validate({"from": self.source, "to": self.to, "steps": variant.steps})
            except ValidationError as error:
                problems = "; ".join(item["msg"].removeprefix("Value error, ") for item in error.errors())
                raise ValueError(f"steps[1].rightsize.variants[{number}].{problems}") from error
        return self

    @model_validator(mode="after")
    def _repairs_what_is_sparse(self) -> Self:
        for number, entry in enumerate(self.steps, 1):
            follows = self.steps[number].distill if number < len(self.steps) else None
            if entry.prune is not None and entry.prune.sparsity is not None and follows is None:
                raise ValueError(
                    f"steps[{number}].prune.sparsity: expected a step that distills right after it (--repair), for "
                    "zeros put in at once cost more than anybody would accept"
                )
        return self

    @model_validator(mode="after")
    def _teaches_what_is_new(self) -> Self:
        numbers = [number for number, entry in enumerate(self.steps, 1) if entry.student is not None]
        if not numbers:
            return self
        if numbers != [1]:
            raise ValueError(
                f"steps[{numbers[-1]}].student: expected it to be the first step, and the only one of its kind"
            )
        if len(self.steps) == 1 or self.steps[1].distill is None:
            raise ValueError(
                "steps[1].student: expected a step that distills right after it, for what is new has learnt nothing yet"
            )
        return self

    @model_validator(mode="after")
    def _has_a_teacher(self) -> Self:
        first = self.steps[0].distill
        if first is None or first.served is not None:
            return self
        if first.teacher is None:
            raise ValueError(
                "steps[1].distill.teacher: expected a model that teaches; only after a step that prunes, or makes a "
                "new student, the model itself can"
            )
        if first.teacher == self.source:
            raise ValueError(
                "steps[1].distill.teacher: expected another model than the student; only after a step that prunes, or "
                "makes a new student, the model itself can teach"
            )
        return self

    @model_validator(mode="after")
    def _compresses_alone(self) -> Self:
        names = [entry.quantize.scheme for entry in self.steps if entry.quantize and entry.quantize.is_for_published]
        if not names:
            return self
        if len(self.steps) > 1:
            raise ValueError(f"steps: expected {names[0]} to be made by the only step, for all others read a GGUF")
        if self.evaluation is not None:
            raise ValueError(
                f"evaluation: a step that quantizes to {names[0]} compares its result with the source by itself, "
                "and what is evaluated here is a GGUF; expected none"
            )
        return self

    @model_validator(mode="after")
    def _makes_a_model(self) -> Self:
        adapters = [n for n, entry in enumerate(self.steps, 1) if entry.finetune and not entry.finetune.makes_model]
        if adapters and len(self.steps) > 1:
            raise ValueError(
                f"steps[{adapters[0]}].finetune: makes an adapter, which no other step reads; expected merge: true, or "
                "no other step"
            )
        if adapters and self.evaluation is not None:
            raise ValueError("evaluation: an adapter is no model by itself; expected merge: true in the step, or none")
        return self

    @model_validator(mode="after")
    def _quantizes_last(self) -> Self:
        early = [number for number, entry in enumerate(self.steps[:-1], 1) if entry.quantize is not None]
        if early:
            raise ValueError(
                f"steps[{early[0]}].quantize: expected it to be the last step, for what comes after it would read what "
                "it has thrown away"
            )
        return self

    @property
    def kind(self) -> str:
        """What its steps do: ``quantize``, or several joined by ``+``."""
        return "+".join(entry.kind for entry in self.steps)

    @property
    def kept(self) -> dict[int, str]:
        """Steps before the last whose models get a name, too, by number from 1 → that name.

        Zeros that are not repaired yet, and a student that has learnt nothing, are never kept.
        """
        if self.keep is None or self.keep == "last":
            return {}
        numbers = range(1, len(self.steps)) if self.keep == "all" else sorted(set(self.keep))
        return {number: self._name_of(number) for number in numbers if not self._is_half_done(number)}

    def _name_of(self, number: int) -> str:
        end = f"-{number}-{self.steps[number - 1].kind}"
        return f"{self.to[: LONGEST_NAME - len(end)].rstrip('-._')}{end}"

    def _is_half_done(self, number: int) -> bool:
        entry = self.steps[number - 1]
        return entry.student is not None or (entry.prune is not None and entry.prune.sparsity is not None)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: every setting, also those that were left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @classmethod
    def from_dict(cls, data: Any) -> Recipe:
        """Reads what `to_dict` gave."""
        return cls.model_validate(data)


Variant.model_rebuild()
KINDS = tuple(StepEntry.model_fields)


def load_recipe(path: Path) -> Recipe:
    """The recipe of a file; files that it names are looked for beside it.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-recipe``: every problem with its line.
    """
    try:
        document, places = read_with_places(read_file(path))
    except ValueError as error:
        raise _bad(str(path), [str(error)]) from error
    return _read(document, path.absolute().parent, str(path), lambda place: f"line {places.line_of(place)}: ")


def make_recipe(values: dict[str, Any]) -> Recipe:
    """A recipe of options instead of a file; files are looked for where the command was given.

    Args:
        values: As a file's document.

    Raises:
        InvalidError: ``bad-recipe``.
    """
    return _read(values, Path.cwd(), OPTIONS, lambda place: "")


def _read(document: Any, folder: Path, what: str, place_of: Callable[[Sequence[Step]], str]) -> Recipe:
    if document is None:
        raise _bad(what, ["line 1: expected a recipe with from, to and steps, found nothing"])
    try:
        recipe = Recipe.model_validate(document)
    except ValidationError as error:
        raise _bad(what, problems_in(Recipe, error, place_of)) from error
    found = {place: folder / path.expanduser() for place, path in _files(recipe)}
    missing = [place for place, path in found.items() if not (path.is_dir() if _is_folder(place) else path.is_file())]
    if missing:
        raise _bad(
            what,
            [
                f"{place_of(place)}{field_at(place)}{_not_there(found[place], is_folder=_is_folder(place))}"
                for place in missing
            ],
        )
    return _with_files(recipe, found)


def _not_there(path: Path, *, is_folder: bool) -> str:
    wanted, other = ("folder", "file") if is_folder else ("file", "folder or a device")
    if path.exists():
        return f"{str(path)!r} is a {other}, expected a {wanted}"
    return f"there is no {wanted} {str(path)!r}"


def _is_folder(place: Sequence[Step]) -> bool:
    return place[-1] == "folder"


def _files(recipe: Recipe) -> Iterator[tuple[tuple[Step, ...], Path]]:
    yield from _files_of_steps(recipe.steps)
    if recipe.evaluation is not None:
        for name, path in (("tasks", recipe.evaluation.tasks), ("texts", recipe.evaluation.texts)):
            if path is not None:
                yield ("evaluation", name), path
        if recipe.evaluation.suites is not None:
            yield ("evaluation", "suites", "folder"), recipe.evaluation.suites.folder


def _files_of_steps(steps: Sequence[StepEntry]) -> Iterator[tuple[tuple[Step, ...], Path]]:
    for number, entry in enumerate(steps):
        for index, variant in enumerate(entry.rightsize.variants if entry.rightsize is not None else ()):
            for place, path in _files_of_steps(variant.steps):
                yield ("steps", number, "rightsize", "variants", index, *place), path
        if entry.quantize is not None and entry.quantize.calibration is not None:
            yield ("steps", number, "quantize", "calibration", "texts"), entry.quantize.calibration.texts
        for kind, settings in (("quantize", entry.quantize), ("rightsize", entry.rightsize)):
            importance = settings.importance if settings is not None else None
            for name, named in (("texts", importance.texts), ("file", importance.file)) if importance else ():
                if named is not None:
                    yield ("steps", number, kind, "importance", name), named
        if entry.prune is not None:
            yield ("steps", number, "prune", "texts"), entry.prune.texts
        if entry.finetune is not None:
            for inside, named in entry.finetune.files.items():
                yield ("steps", number, "finetune", *inside), named
        if entry.distill is not None:
            for inside, named in entry.distill.files.items():
                yield ("steps", number, "distill", *inside), named


def _with_files(recipe: Recipe, files: Mapping[tuple[Step, ...], Path]) -> Recipe:
    """The recipe with absolute paths and digests, so that another process finds the same files, or says so."""
    data = recipe.model_dump(by_alias=True, exclude_unset=True)
    for place, path in files.items():
        part: Any = data
        for step in place[:-1]:
            part = part[step]
        part[place[-1]] = path
        if place[-1] != "key_file":  # a secret, and its digest says something of it
            digest = digest_folder(path) if _is_folder(place) else digest_file(path)
            part.setdefault(f"{place[-1]}_digest", digest)
    return Recipe.model_validate(data)


def _bad(what: str, problems: Sequence[str]) -> InvalidError:
    listed = "\n".join(f"  - {problem}" for problem in problems[:50])
    if what == OPTIONS:
        return InvalidError("bad-recipe", f"{what} have problems:\n{listed}", hint=_OPTIONS_HINT)
    return InvalidError("bad-recipe", f"{what} has problems:\n{listed}", hint=_HINT)
