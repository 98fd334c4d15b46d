"""Recipes: what a file may say, and what is said of one that says something else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.optimize.recipes import Recipe, load_recipe, make_recipe
from undercroft.optimize.scheme_names import known

DIGEST = "sha256:" + hashlib.sha256(b"what it is for").hexdigest()
GOOD = """\
from: tiny
to: tiny-small
steps:
  - quantize:
      scheme: q4_k_m
      importance: {texts: texts.txt}
evaluation: {texts: texts.txt}
gate: {max_kl: 0.1, languages: {th: {min_score: 0.8}}}
seed: 7
"""


def written(folder: Path, text: str) -> Path:
    (folder / "texts.txt").write_text("what it is for", encoding="utf-8")
    path = folder / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidError) as caught:
        load_recipe(written(folder, text))
    assert caught.value.code == "bad-recipe"
    return [line.removeprefix("  - ") for line in caught.value.message.splitlines()[1:]]


def one_step(step: str) -> str:
    return f"from: a\nto: b\nsteps:\n  - {step}\n"


def test_a_recipe_becomes_one_value(tmp_path: Path) -> None:
    """Names of types in any case, files beside the recipe's own, settings that were left out with their default."""
    recipe = load_recipe(written(tmp_path, GOOD))
    assert recipe.to_dict() == {
        "from": "tiny",
        "to": "tiny-small",
        "steps": [
            {
                "quantize": {
                    "scheme": "Q4_K_M",
                    "importance": {"texts": str(tmp_path / "texts.txt"), "texts_digest": DIGEST},
                    "allow_requantize": False,
                }
            }
        ],
        "evaluation": {"texts": str(tmp_path / "texts.txt"), "texts_digest": DIGEST},
        "gate": {"max_kl": 0.1, "languages": {"th": {"min_score": 0.8}}, "undecided": "fail"},
        "seed": 7,
    }
    assert recipe.kind == "quantize"
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_every_problem_is_named_with_its_line(tmp_path: Path) -> None:
    """Several mistakes are told at once, each with line, field and the nearest right word."""
    text = GOOD.replace("scheme: q4_k_m", "scheme: Q4_KM").replace("importance", "importanse").replace("seed", "sead")
    assert problems(tmp_path, text) == [
        f"line 5: steps[1].quantize.scheme: expected a scheme: {known()} (nearest is 'Q4_K_M'), got 'Q4_KM'",
        "line 6: steps[1].quantize.importanse: there is no such field; nearest is 'importance'",
        "line 9: sead: there is no such field; nearest is 'seed'",
    ]


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ("quantise: {scheme: Q8_0}", "steps[1].quantise: there is no such step, expected one of convert, quantize"),
        ("prunes: {}", "steps[1].prunes: there is no such step, expected one of convert, quantize"),
        ("quantize", "steps[1]: expected a mapping, got 'quantize'"),
        ("quantize:", "steps[1]: expected one kind of step with its settings: convert, quantize"),
        ("{}", "steps[1]: expected one kind of step with its settings: convert, quantize"),
        ("quantize: {}", "steps[1].quantize.scheme: is missing"),
        ("quantize: {scheme: 4}", "steps[1].quantize.scheme: expected a scheme: for a GGUF one of F32"),
        ("quantize: {scheme: Q8_0, bits: 3}", "steps[1].quantize.bits: there is no such field, expected one of scheme"),
        ("quantize: {scheme: IQ2_XS}", "steps[1].quantize: IQ2_XS is garbage without an importance matrix: expected"),
        ("quantize: {scheme: Q8_0, importance: {texts: no.txt}}", "steps[1].quantize.importance.texts: there is no"),
        ("quantize: {scheme: Q8_0, importance: {texts: /}}", "steps[1].quantize.importance.texts: '/' is a folder"),
        ("quantize: {scheme: Q8_0, importance: {texts: 3}}", "steps[1].quantize.importance.texts: expected a path"),
    ],
)
def test_a_wrong_step_is_refused(tmp_path: Path, step: str, problem: str) -> None:
    """Unknown kinds, unknown and missing settings, impossible values, files that are not there."""
    (found,) = problems(tmp_path, one_step(step))
    assert found.startswith(f"line 4: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1: expected a recipe with from, to and steps, found nothing"),
        ("- a", "line 1: expected a mapping, got ['a']"),
        ("from: a\nto: b\nsteps: []\n", "line 3: steps: expected at least 1 of them, got []"),
        ("from: a\nfrom: b\n", "line 2: from stands twice"),
        ("from: [\n", "line 2: it is not YAML: "),
        (one_step("quantize: {scheme: Q8_0}").replace("to: b", "to: a"), "line 2: to: expected another name"),
        (one_step("quantize: {scheme: Q8_0}").replace("to: b", "to: A B"), "line 2: to: expected a name of a-z"),
        (one_step("quantize: {scheme: Q8_0}") + "seed: 1.5\n", "line 5: seed: expected a whole number, got 1.5"),
        (one_step("quantize: {scheme: Q8_0}") + "gate: {max_kl: 1}\n", "line 5: gate: expected evaluation beside it"),
        (
            one_step("quantize: {scheme: Q8_0}") + "evaluation: {tasks: a.jsonl}\ngate: {undecided: pass}\n",
            "line 6: gate: expected at least one rule",
        ),
        (one_step("quantize: {scheme: Q8_0}") + "evaluation: {}\n", "line 5: evaluation: expected tasks: FILE, texts"),
        (
            one_step("quantize: {scheme: Q8_0}") + "gate: {languages: {th: {min_skore: 1}}}\n",
            "line 5: gate.languages.th.min_skore: there is no such rule; nearest is 'min_score'",
        ),
        (one_step("quantize: {scheme: Q8_0}") + "gate: {max_kl: .nan}\n", "line 5: gate.max_kl: expected a finite"),
        (one_step("quantize: {scheme: Q8_0}") + "gate: {min_score: 80}\n", "line 5: gate.min_score: expected at most"),
        (
            one_step("quantize: {scheme: Q8_0}") + "  - quantize: {scheme: Q4_0}\n",
            "line 4: steps[1].quantize: expected it to be the last step",
        ),
        (
            one_step("quantize: {scheme: Q8_0}") + "keep: al\n",
            "line 5: keep: expected 'last', 'all' or numbers of steps from 1, such as [1, 2] (nearest is 'all')",
        ),
        (one_step("quantize: {scheme: Q8_0}") + "keep: [0]\n", "line 5: keep: expected 'last', 'all' or numbers"),
        (
            one_step("quantize: {scheme: Q8_0}") + "keep: [1]\n",
            "line 5: keep: expected numbers of steps before the last",
        ),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """What is no recipe is refused with the place and what was expected there."""
    (found,) = problems(tmp_path, text)
    assert found.startswith(problem)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Its path is named."""
    with pytest.raises(NotFoundError, match="there is no file"):
        load_recipe(tmp_path / "none.yaml")


def test_options_are_checked_as_a_file_is(tmp_path: Path) -> None:
    """The same words, without a line."""
    with pytest.raises(InvalidError) as caught:
        make_recipe({"from": "a", "to": "b", "steps": [{"quantize": {"scheme": "Q9"}}]})
    assert "  - steps[1].quantize.scheme: expected a scheme: for a GGUF one of F32" in caught.value.message
    assert caught.value.hint == "undercroft optimize -h lists the commands, each has its own -h"


CALIBRATED = "calibration: {texts: texts.txt}"


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ("scheme: gptq-w4a16", "gptq-w4a16 rounds by what texts excite in the model, and ours would not be yours"),
        ("scheme: awq-w4a16", "without texts there are fp8, mxfp4a16, nvfp4a16"),
        ("scheme: w8a8", "or smoothing: false, --no-smoothing, which rounds the weights as they are"),
        (f"scheme: w8a8, {CALIBRATED}, group_size: 64", "w8a8 has one scale a row: expected no group_size"),
        ("scheme: mxfp4a16, group_size: 32", "mxfp4a16 always has groups of 32: expected no group_size"),
        ("scheme: fp8, smoothing: true", "smoothing is for w8a8 only, not for fp8"),
        ("scheme: fp8, importance: {texts: texts.txt}", "an importance matrix is for schemes of llama.cpp"),
        ("scheme: fp8, allow_requantize: true", "fp8 takes models as they were published only"),
        (f"scheme: Q4_K_M, {CALIBRATED}", "calibration is for published models (gptq-w4a16, awq-w4a16, w8a8"),
        ("scheme: Q4_K_M, group_size: 64", "group_size is for published models"),
        (f"scheme: gptq, {CALIBRATED}, group_size: 48", "group_size: expected 128, 64 or 32, got 48"),
        ("scheme: gptq, calibration: {texts: no.txt}", "calibration.texts: there is no file"),
        ("scheme: gptq, calibration: {texts: texts.txt, samples: 0}", "calibration.samples: expected at least 1"),
        ("scheme: gptq, calibration: {texts: texts.txt, sample: 3}", "calibration.sample: there is no such field"),
    ],
)
def test_what_a_scheme_for_published_models_may_have(tmp_path: Path, settings: str, problem: str) -> None:
    """Texts where it reads some, groups where it has a choice, and nothing of the other kind of scheme."""
    (found,) = problems(tmp_path, one_step(f"quantize: {{{settings}}}"))
    assert problem in found


def test_a_published_model_is_compressed_by_the_only_step(tmp_path: Path) -> None:
    """What others would read is a GGUF, and the step compares by itself."""
    step = "quantize: {scheme: W8A8, smoothing: false}"
    assert load_recipe(written(tmp_path, one_step(step))).to_dict()["steps"][0] == {
        "quantize": {"scheme": "w8a8", "allow_requantize": False, "smoothing": False}
    }
    (found,) = problems(tmp_path, one_step(step) + "evaluation: {texts: texts.txt}\n")
    assert "quantizes to w8a8 compares its result with the source by itself" in found
    (found,) = problems(tmp_path, one_step(step) + "  - quantize: {scheme: Q8_0}\n")
    assert "steps: expected w8a8 to be made by the only step" in found


@pytest.mark.parametrize(
    ("form", "kept", "told"),
    [
        ("gguf", "int8", "expected f32 or f16 or bf16 or q8_0 for gguf, got int8"),
        ("onnx", "bf16", "expected f32 or int8 or int4 for onnx, got bf16"),
        ("litert", "f16", "expected f32 or int8 for litert, got f16"),
        ("executorch", "q8_0", "expected f32 or int8 for executorch, got q8_0"),
    ],
)
def test_a_format_has_its_types(form: str, kept: str, told: str) -> None:
    """What a format cannot keep weights in is refused with what it can."""
    with pytest.raises(InvalidError, match=told):
        make_recipe({"from": "a", "to": "b", "steps": [{"convert": {"to": form, "type": kept}}]})
    assert make_recipe({"from": "a", "to": "b", "steps": [{"convert": {"to": form, "type": "f32"}}]}).kind == "convert"


def test_a_conversion_stands_alone(tmp_path: Path) -> None:
    """Nothing follows a step that converts in the same recipe, and it compares by itself."""
    convert = {"convert": {"to": "gguf"}}
    alone = make_recipe({"from": "a", "to": "b", "steps": [convert]})
    assert (alone.kind, alone.to_dict()["steps"]) == ("convert", [{"convert": {"to": "gguf"}}])
    with pytest.raises(InvalidError, match="converts to be the only one"):
        make_recipe({"from": "a", "to": "b", "steps": [convert, {"quantize": {"scheme": "Q8_0"}}]})
    texts = tmp_path / "texts.txt"
    texts.write_text("x", encoding="utf-8")
    with pytest.raises(InvalidError, match="compares its result with the source by itself"):
        make_recipe({"from": "a", "to": "b", "steps": [convert], "evaluation": {"texts": texts}})
    with pytest.raises(InvalidError, match="'tensorrt', got 'pickle'"):
        make_recipe({"from": "a", "to": "b", "steps": [{"convert": {"to": "pickle"}}]})


JUDGED = "evaluation: {texts: texts.txt}\n"
RIGHTSIZED = "rightsize: {max_quality_loss_percent: 1, "


@pytest.mark.parametrize(
    ("step", "more", "problem"),
    [
        (
            "quantize: {scheme: Q8_0}",
            "evaluate: {}\n",
            "line 5: evaluate: there is no such field; nearest is 'evaluation'",
        ),
        (
            "quantize: {scheme: Q8_0}",
            "evaluation: {task: x}\n",
            "evaluation.task: there is no such field; nearest is 'tas",
        ),
        (
            "quantize: {scheme: Q8_0}",
            JUDGED + "gate: {max_lk: 1}\n",
            "gate.max_lk: there is no such rule; nearest is 'max_kl'",
        ),
        (
            "quantize: {scheme: Q8_0, allow_requantise: true}",
            "",
            "allow_requantise: there is no such field; nearest is 'allow_req",
        ),
        (
            "quantize: {scheme: Q8_0, importance: {text: x}}",
            "",
            "importance.text: there is no such field; nearest is 'texts'",
        ),
        (
            "quantize: {scheme: gptq, calibration: {texts: texts.txt, sampels: 3}}",
            "",
            "sampels: there is no such field; nearest is 'samp",
        ),
        ("convert: {to: gguf, tipe: f16}", "", "convert.tipe: there is no such field; nearest is 'type'"),
        (
            "convert: {to: ggfu}",
            "",
            "convert.to: expected 'gguf', 'onnx', 'executorch', 'litert', 'triton' or 'tensorrt' (nearest is 'gguf')",
        ),
        (
            "convert: {to: gguf, type: fp16}",
            "",
            "convert.type: expected 'f32', 'f16', 'bf16', 'q8_0', 'int8' or 'int4' (nearest is 'f16')",
        ),
        ("prune: {texts: texts.txt, depht: 1}", "", "prune.depht: there is no such field; nearest is 'depth'"),
        ("prune: {texts: texts.txt, width: {fnn: 1}}", "", "prune.width.fnn: there is no such field; nearest is 'ffn'"),
        ("finetune: {data: texts.txt, epoch: 3}", "", "finetune.epoch: there is no such field; nearest is 'epochs'"),
        ("finetune: {data: texts.txt, method: qlroa}", "", "'lora', 'qlora', 'full' or 'dpo' (nearest is 'qlora')"),
        (
            "finetune: {data: texts.txt, rehearse: {question: x}}",
            "",
            "rehearse.question: there is no such field; nearest is 'questions'",
        ),
        ("distill: {data: texts.txt, teachr: x}", "", "distill.teachr: there is no such field; nearest is 'teacher'"),
        (
            "distill: {data: texts.txt, method: logit}",
            "",
            "distill.method: expected 'logits' or 'answers' (nearest is 'logits')",
        ),
        ("distill: {data: texts.txt, served: {uri: x}}", "", "served.uri: there is no such field; nearest is 'url'"),
        (RIGHTSIZED + "fitt: x}", JUDGED, "rightsize.fitt: there is no such field; nearest is 'fit'"),
        (RIGHTSIZED + "schemes: [Q4_KM]}", JUDGED, "rightsize.schemes[1]: expected a scheme of llama.cpp: "),
        (RIGHTSIZED + "variants: [{nam: v}]}", JUDGED, "variants[1].nam: there is no such field; nearest is 'name'"),
        (
            RIGHTSIZED + "variants: [{name: v, steps: [{prun: {}}]}]}",
            JUDGED,
            "steps[1].prun: there is no such field; nearest is 'prune'",
        ),
    ],
)
def test_a_word_that_nobody_knows_is_told_with_the_nearest(tmp_path: Path, step: str, more: str, problem: str) -> None:
    """At every level of a recipe, with its line."""
    found = problems(tmp_path, one_step(step) + more)
    (said,) = [one for one in found if problem in one]
    assert said.startswith(("line 4: ", "line 5: ", "line 6: "))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("from: &a x\nto: *a\nsteps: []\n", "line 2: aliases such as *name cannot be used here"),
        (one_step("quantize: {scheme: Q8_0, scheme: Q4_0}"), "line 4: scheme stands twice"),
        (one_step("quantize: {scheme: Q8_0}") + "---\nfrom: c\n", "line 6: expected one document, here begins another"),
        (
            one_step("quantize: !!python/object:os.system {}"),
            "line 4: it is not YAML: could not determine a constructor",
        ),
        (one_step("quantize: " + "[" * 60 + "]" * 60), "line 4: it is nested deeper than 40"),
        (one_step("quantize: {1: Q8_0}"), "line 4: steps[1].quantize.scheme: is missing"),
        (one_step("quantize: [Q8_0]"), "line 4: steps[1].quantize: expected a mapping, got ['Q8_0']"),
        ("from: 3\nto: [b]\nsteps: quantize\n", "line 1: from: expected a text, got 3"),
        (
            one_step("quantize: {scheme: Q8_0}") + "seed: 99999999999\n",
            "line 5: seed: expected at most 4,294,967,295, got",
        ),
        ("from: a\n\tto: b\n", "line 2: it is not YAML: found a tab character"),
        ("from: a\0b\n", "it is not YAML: "),
    ],
)
def test_what_is_no_plain_document_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """What grows, stands twice, runs code or is of another kind, before anything is made of it."""
    assert problems(tmp_path, text)[0].startswith(problem)


def test_what_is_too_large_for_a_recipe_is_not_read(tmp_path: Path) -> None:
    """Ten megabytes of a comment before a good recipe."""
    with pytest.raises(InvalidError, match="file-too-large"):
        load_recipe(written(tmp_path, "# " + "x" * 10_000_000 + "\n" + one_step("quantize: {scheme: Q8_0}")))


def test_suites_are_a_folder_and_names(tmp_path: Path) -> None:
    """The folder is looked for beside the recipe and its content is noted; what is wrong is said."""
    (tmp_path / "suites").mkdir()
    suites = "evaluation:\n  suites: {folder: suites, names: [arc_easy]}\n"
    quantize = one_step("quantize: {scheme: Q8_0}")
    evaluation = load_recipe(written(tmp_path, quantize + suites)).evaluation
    assert evaluation is not None
    assert evaluation.suites is not None
    assert evaluation.suites.folder == tmp_path / "suites"
    assert evaluation.suites.folder_digest is not None
    (gone,) = problems(tmp_path, quantize + suites.replace("folder: suites", "folder: gone"))
    assert "evaluation.suites.folder: there is no folder" in gone
    (alone,) = problems(tmp_path, one_step("rightsize: {max_quality_loss_percent: 1}") + suites)
    assert "a search asks tasks and texts only" in alone
