"""Facts of licences: golden ones, how licences are recognised, and how a user's own are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import licence_of_text, load_licences, together
from undercroft.core.errors import InvalidError, NotFoundError

LICENCES = load_licences()
MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("                Apache License\n          Version 2.0, January 2004", "apache-2.0"),
        (f"MIT License\n\nCopyright (c) 2026 X\n\n{MIT}", "mit"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version", "llama3.2"),
        ("META LLAMA 3 COMMUNITY LICENSE AGREEMENT", "llama3"),
        ("# Gemma Terms of Use\n\nLast modified", "gemma"),
        ("# Gemma Terms of Use\n\nbeside the Apache License, Version 2.0", "gemma"),
        ("Tongyi Qianwen RESEARCH LICENSE AGREEMENT", "tongyi-qianwen-research"),
        ("Tongyi Qianwen LICENSE AGREEMENT\n\nTongyi Qianwen Release Date: August 3, 2023", "tongyi-qianwen"),
        ("Qwen RESEARCH LICENSE AGREEMENT", "qwen-research"),
        ("Qwen LICENSE AGREEMENT Release Date: September 19, 2024", "qwen"),
        ("# Mistral AI Research License\nIf You want to use", "mrl"),
        ("The ChatGLM3-6B License\n\n1. Definitions", "chatglm3"),
        ("GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007", "gpl-3.0"),
        ("Creative Commons Attribution-NonCommercial 4.0 International", "cc-by-nc-4.0"),
        ("Creative Commons Attribution 4.0 International Public License", "cc-by-4.0"),
        ("You may use this if you are nice.", None),
        ("", None),
    ],
)
def test_licence_of_text(text: str, licence: str | None) -> None:
    """A well-known licence is known by its own words, another one is not guessed."""
    assert licence_of_text(text) == licence


@pytest.mark.parametrize(
    ("written", "licence"),
    [
        ("apache-2.0", "apache-2.0"),
        ("Apache License, Version 2.0", "apache-2.0"),
        ("MIT", "mit"),
        ("Llama3.2", "llama3.2"),
        ("tongyi-qianwen-research", "tongyi-qianwen-research"),
        ("tongyi-qianwen", "tongyi-qianwen"),
        ("qwen", "qwen"),
        ("nvidia-open-model-license", "nvidia-open-model"),
        ("GPL-3.0-or-later", "gpl-3.0"),
    ],
)
def test_what_hubs_and_cards_write_is_one_of_ours(written: str, licence: str) -> None:
    """Upper case, spaces and the hub's further names lead to the same facts."""
    assert LICENCES.find(written).id == licence


@pytest.mark.parametrize("written", ["", "unknown", "other", "None", "custom", "my-own", "llama", "apache-3"])
def test_nothing_is_guessed(written: str) -> None:
    """What names no licence, or one without facts, is no licence of ours."""
    assert LICENCES.get(written) is None


@pytest.mark.parametrize(
    ("sources", "licence"),
    [
        ([], None),
        ([None, "unknown", "other"], None),
        (["apache-2.0", "Apache License 2.0", None], "apache-2.0"),
        (["apache-2.0", "cc-by-nc-4.0"], "apache-2.0 AND cc-by-nc-4.0"),
        (["mit AND gemma", "gemma-terms-of-use"], "mit AND gemma"),
        (["unknown", "their-own", "Their Own"], "their-own"),
    ],
)
def test_what_several_sources_say_is_kept_together(sources: list[str | None], licence: str | None) -> None:
    """The same licence under two names counts once, and no source is weighed against another."""
    assert together(sources) == licence


def test_a_licence_without_facts_is_said_to_be_so() -> None:
    """Asking for one by name ends with what to do."""
    with pytest.raises(NotFoundError, match="no facts of a licence 'my-own'"):
        LICENCES.find("my-own")


def test_facts_of_llama_3_2() -> None:
    """700 million users, the name on the product, the name of what is made of it, and Europe for the vision models."""
    licence = LICENCES.find("llama3.2")
    assert licence.users_cap == 700_000_000
    assert licence.needs_acceptance
    assert {duty.kind for duty in licence.duties} == {"naming", "derivative-naming", "attribution"}
    assert any("'Built with Llama'" in str(duty) for duty in licence.duties)
    assert any("European Union" in str(limit) for limit in licence.limits)
    assert not any("European Union" in str(limit) for limit in LICENCES.find("llama3.1").limits)


def test_facts_of_others() -> None:
    """Qwen's cap, the research licences' refusals, and outputs that may not train others under Llama 3."""
    assert LICENCES.find("qwen").users_cap == LICENCES.find("tongyi-qianwen").users_cap == 100_000_000
    assert any("improve another large language model" in str(limit) for limit in LICENCES.find("tongyi-qianwen").limits)
    assert not LICENCES.find("qwen").limits
    assert LICENCES.find("qwen-research").grants["commercial"] == "refused"
    assert LICENCES.find("mrl").grants["internal"] == "refused"
    assert LICENCES.find("cc-by-nc-4.0").grants == {
        "commercial": "refused", "internal": "conditional", "research": "allowed", "personal": "allowed",
    }  # fmt: skip
    assert any("improve another large language model" in str(limit) for limit in LICENCES.find("llama3").limits)
    assert not LICENCES.find("mit").needs_acceptance


@pytest.mark.parametrize("licence_id", [licence.id for licence in LICENCES.all()])
def test_every_fact_has_a_place(licence_id: str) -> None:
    """A cap, a limit and a duty name the section where they stand, and every purpose has an answer."""
    licence = LICENCES.find(licence_id)
    assert licence.version
    assert licence.users_cap is None or licence.users_cap_section
    assert "refused" not in licence.grants.values() or licence.limits


def test_every_model_of_the_catalogue_has_a_licence_with_facts() -> None:
    """No entry names a licence that `licence show` does not know."""
    assert {model.name for model in load_catalogue().models if LICENCES.get(model.licence) is None} == set()


def test_a_user_adds_a_licence(tmp_path: Path) -> None:
    """An organisation states the facts of a contract of its own, and may sharpen ours."""
    (tmp_path / "licences.yaml").write_text(
        "house:\n  name: House Contract\n  url: https://example.org/c\n"
        "  grants: {commercial: allowed, internal: allowed, research: allowed, personal: allowed}\n"
        "mit:\n  name: MIT, as our lawyers read it\n  url: https://example.org/m\n"
        "  grants: {commercial: conditional, internal: allowed, research: allowed, personal: allowed}\n",
        encoding="utf-8",
    )
    licences = load_licences(tmp_path)
    assert licences.find("house").name == "House Contract"
    assert licences.find("mit").grants["commercial"] == "conditional"
    assert licences.find("apache-2.0") == LICENCES.find("apache-2.0")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("House: {name: x}", "House: expected an id of lower-case letters"),
        ("house: 1", "house: expected a mapping"),
        (
            "house: {name: x, url: ftp://x, grants: {}}",
            "house: url: expected an address such as https://example.org/licence, got",
        ),
        (
            "house: {name: x, url: https://x, grants: {commercial: perhaps}}",
            "house: grants.commercial: expected 'allowed', 'conditional' or 'refused', got 'perhaps'",
        ),
        (
            "house: {name: x, url: https://x, grants: {profit: allowed}}",
            "grants.profit: expected 'commercial', 'internal'",
        ),
        ("house: {name: x, url: https://x, grants: {commercial: allowed}}", "house: grants.personal: is missing"),
        ("house: {name: x, url: https://x, grants: {}, users_cap: 0}", "house: users_cap: expected at least 1, got 0"),
        ("house: {name: x, url: https://x, grants: {}, limits: [{what: x}]}", "house: limits.0.section: is missing"),
        ("house: {name: x, url: https://x, grants: {}, duties: 3}", "house: duties: expected a list, got 3"),
        ("house: {name: x, url: https://x, grants: {}, wings: 2}", "house: wings: there is no such field"),
    ],
)
def test_a_bad_licence_is_named_with_its_field(tmp_path: Path, text: str, problem: str) -> None:
    """The error says which licence and field, and what was expected."""
    (tmp_path / "licences.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidError) as caught:
        load_licences(tmp_path)
    assert problem in caught.value.message
    assert str(tmp_path / "licences.yaml") in caught.value.message
    assert "docs/guide/licences.md" in str(caught.value.hint)
    assert "Input" not in caught.value.message
