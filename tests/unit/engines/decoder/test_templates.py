"""Tests of `undercroft.engines.decoder.templates`."""

from __future__ import annotations

import pytest

from undercroft.core.errors import InvalidError
from undercroft.engines.decoder.templates import ChatTemplate

MESSAGES = [{"role": "user", "content": "Hello"}]


def test_renders_as_transformers_does() -> None:
    """Blocks leave no line behind, special tokens are known, and the model's turn is opened."""
    text = (
        "{{ bos_token }}{% for m in messages %}\n{{ m.role }}: {{ m['content'] }}\n{% endfor %}\n"
        "{% if add_generation_prompt %}assistant:{% endif %}"
    )
    assert ChatTemplate(text, {"bos_token": "<s>"}).render(MESSAGES) == "<s>user: Hello\nassistant:"


def test_the_models_own_words_may_be_marked() -> None:
    """A tag that trainers put in changes nothing."""
    assert ChatTemplate("{% generation %}x{% endgeneration %}", {}).render(MESSAGES) == "x"


@pytest.mark.parametrize(
    "text",
    ["{{ raise_exception('roles must alternate') }}", "{{ messages.append(1) }}", "{{ messages[5].content.x }}"],
)
def test_a_conversation_that_it_does_not_take_is_refused(text: str) -> None:
    """By the template's own word, or since the sandbox forbids it, or something is missing."""
    with pytest.raises(InvalidError) as refused:
        ChatTemplate(text, {}).render(MESSAGES)
    assert refused.value.code == "bad-request"


def test_reaching_out_of_the_sandbox_is_refused() -> None:
    """Python's insides are not to be had."""
    with pytest.raises(InvalidError):
        ChatTemplate("{{ ''.__class__.__mro__[1].__subclasses__() }}", {}).render(MESSAGES)


def test_what_does_not_compile_is_refused() -> None:
    """Before the first request."""
    with pytest.raises(InvalidError):
        ChatTemplate("{% for %}", {})
