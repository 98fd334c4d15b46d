"""Model cards: read, never guessed."""

from __future__ import annotations

import pytest

from undercroft.registry.model_card import ModelCard, read_card


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


def test_several_licences_of_one_card_all_hold() -> None:
    """A list does not say which part has which licence, so every one of it counts."""
    assert read_card("---\nlicense:\n- apache-2.0\n- CC-BY-NC-4.0\n---").licence == "apache-2.0 AND cc-by-nc-4.0"
    assert read_card("---\nlicense: [mit, other]\nlicense_name: own\n---").licence == "mit AND own"
    assert read_card("---\nlicense: [mit, mit]\nlicense_name: own\n---").licence == "mit"


@pytest.mark.parametrize(
    "line", ["license: a" + " " * 300_000 + "b", "-" + " " * 300_000 + "b", " " * 1_000_000 + "- b"]
)
def test_a_hostile_line_costs_its_length(line: str) -> None:
    """A card with endless blanks is read at once, where looking for their end from each of them takes hours."""
    assert read_card(f"---\nlicense: mit\n{line}\n---").licence in ("mit", "a", "mit AND b")


def test_card_is_somebody_elses_text() -> None:
    """What is shown of a card is short and printable."""
    card = read_card("---\nlicense: a\x1b[2Jb" + "c" * 500 + "\n---")
    assert card.licence is not None
    assert card.licence.isprintable()
    assert len(card.licence) <= 100
