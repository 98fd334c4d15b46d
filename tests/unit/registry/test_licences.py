"""Licences and model cards: read, never guessed."""

from __future__ import annotations

import pytest

from undercroft.registry.licences import licence_of_text
from undercroft.registry.model_card import ModelCard, read_card

MIT = "Permission is hereby granted, free of charge, to any person obtaining a copy\nof this software"


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("                Apache License\n          Version 2.0, January 2004", "apache-2.0"),
        (f"MIT License\n\nCopyright (c) 2026 X\n\n{MIT}", "mit"),
        ("LLAMA 3.2 COMMUNITY LICENSE AGREEMENT\nLlama 3.2 Version", "llama3.2"),
        ("# Gemma Terms of Use\n\nLast modified", "gemma"),
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


def test_card() -> None:
    """Keys in each of the ways in which cards write them."""
    text = (
        "---\nlicense: Apache-2.0  # as the base\nlanguage:\n- en\n- 'th'\nbase_model: [org/a, \"org/b\"]\n"
        "pipeline_tag: text-generation\ntags:\n- x\n---\nlicense: mit\n"
    )
    assert read_card(text) == ModelCard("apache-2.0", ("en", "th"), ("org/a", "org/b"), "text-generation")


@pytest.mark.parametrize("text", ["", "# Title\nlicense: mit", "---\n", "---\nlicense:\n---", "---\n- - -\n: :\n---"])
def test_card_that_says_nothing(text: str) -> None:
    """A card without front matter, or with an empty one, says nothing."""
    assert read_card(text) == ModelCard()


def test_licence_of_its_own() -> None:
    """The hub's `other` is replaced by the name that the card gives."""
    assert read_card("---\nlicense: other\nlicense_name: My-Licence\n---").licence == "my-licence"
    assert read_card("---\nlicense: other\n---").licence is None


def test_card_is_somebody_elses_text() -> None:
    """What is shown of a card is short and printable."""
    card = read_card("---\nlicense: a\x1b[2Jb" + "c" * 500 + "\n---")
    assert card.licence is not None
    assert card.licence.isprintable()
    assert len(card.licence) <= 100
